// Package conditions sets the conditions that SyncTargets and Placements have in common.
package conditions

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// SetProgress sets one of the conditions Stalled and Reconciling, or removes both, by the conditions of these types. The first that is
// not True and that stalls the object is the reason for Stalled. Without such a one, the first that is not True, or does not speak of
// this generation, is the reason for Reconciling. By these two kstatus, and so Flux, tells an object that has failed from one that is under way; by its convention they
// are present only while they are True (https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md).
func SetProgress(conditions *[]metav1.Condition, generation int64, now metav1.Time, types []string, stalls func(metav1.Condition) bool) {
	wanted := progressOf(*conditions, generation, types, stalls)
	for _, conditionType := range []string{workloadv1alpha1.ConditionStalled, workloadv1alpha1.ConditionReconciling} {
		if conditionType != wanted.Type {
			meta.RemoveStatusCondition(conditions, conditionType)
		}
	}
	if wanted.Type == "" {
		return
	}
	wanted.Status, wanted.ObservedGeneration, wanted.LastTransitionTime = metav1.ConditionTrue, generation, now
	meta.SetStatusCondition(conditions, wanted)
}

// progressOf returns the condition that SetProgress sets, with an empty type for none.
func progressOf(conditions []metav1.Condition, generation int64, types []string, stalls func(metav1.Condition) bool) (progress metav1.Condition) {
	for _, conditionType := range types {
		cause := meta.FindStatusCondition(conditions, conditionType)
		if cause == nil {
			continue
		}
		isTrue := cause.Status == metav1.ConditionTrue
		if !isTrue && stalls(*cause) {
			return metav1.Condition{Type: workloadv1alpha1.ConditionStalled, Reason: cause.Reason, Message: cause.Message}
		}
		if progress.Type != "" || isTrue && cause.ObservedGeneration == generation {
			continue
		}
		progress = metav1.Condition{Type: workloadv1alpha1.ConditionReconciling, Reason: cause.Reason, Message: cause.Message}
		if isTrue {
			progress.Message = fmt.Sprintf("The condition %s has yet to be decided for the present spec", conditionType)
		}
	}
	return progress
}

// IsProgress reports whether a condition type only repeats another one for kstatus.
func IsProgress(conditionType string) bool {
	return conditionType == workloadv1alpha1.ConditionStalled || conditionType == workloadv1alpha1.ConditionReconciling
}
