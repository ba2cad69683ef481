package transform

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Propagation is how a deleted object was deleted: by the annotation workload.kcp.io/cascade, by the finalizers with which an API
// server carries `--cascade=orphan` and `--cascade=foreground`, or by those that were seen on it before; in the background otherwise.
func Propagation(deleted metav1.Object, seen metav1.DeletionPropagation) metav1.DeletionPropagation {
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationOrphan, metav1.DeletePropagationForeground, metav1.DeletePropagationBackground} {
		if strings.EqualFold(deleted.GetAnnotations()[workloadv1alpha1.AnnotationCascade], string(policy)) {
			return policy
		}
	}
	if policy := PropagationOf(deleted.GetFinalizers()); policy != "" {
		return policy
	}
	if seen != "" {
		return seen
	}
	return metav1.DeletePropagationBackground
}

// PropagationOf is the propagation that finalizers stand for, empty if they stand for none.
func PropagationOf(finalizers []string) metav1.DeletionPropagation {
	switch {
	case slices.Contains(finalizers, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(finalizers, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return ""
}
