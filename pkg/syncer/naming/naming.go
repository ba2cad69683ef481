// Package naming says where in the physical cluster the objects of a workspace live: under their own names, in a
// Namespace whose name follows from the SyncTarget's key and their Namespace; and what is theirs there.
package naming

import (
	"crypto/sha256"
	"math/big"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	prefix = "kcp-"
	// hashLength base36 characters are about 165 bits of the SHA-256: nobody finds two Namespaces that share a name.
	hashLength = 32
)

// Namespace is the Namespace in the physical cluster for a Namespace of the workspace: a DNS label of 36 characters,
// different for every pair of key and namespace.
func Namespace(key, namespace string) string {
	return prefix + hash(key+"/"+namespace)
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	digits := new(big.Int).SetBytes(sum[:]).Text(36)
	if missing := hashLength - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	return digits[len(digits)-hashLength:]
}

// IsManaged tells whether an object of the physical cluster is a copy that belongs to a SyncTarget. What controllers make of a
// copy may inherit its labels, as EndpointSlices do, or its annotations, as ReplicaSets do, and is none; nor is what
// somebody makes of a copy under another name, marks and all.
func IsManaged(object metav1.Object, key string) bool {
	annotations := object.GetAnnotations()
	if name, told := annotations[workloadv1alpha1.AnnotationSourceName]; told && name != object.GetName() {
		return false
	}
	return object.GetLabels()[workloadv1alpha1.LabelKey] == key && annotations[workloadv1alpha1.AnnotationSourceUID] != "" &&
		metav1.GetControllerOfNoCopy(object) == nil
}

// WithoutSyncer are the entries of managedFields without the syncer's, in the form that a patch takes, if there is one.
func WithoutSyncer(entries []metav1.ManagedFieldsEntry) (others []metav1.ManagedFieldsEntry, found bool) {
	others = slices.DeleteFunc(slices.Clone(entries), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == workloadv1alpha1.FieldOwnerSyncer })
	if found = len(others) < len(entries); len(others) == 0 {
		others = []metav1.ManagedFieldsEntry{{}} // a server takes one that is empty for none, and none for no change
	}
	return others, found
}

// IsClusterDefault tells what controllers of a cluster put into every Namespace.
func IsClusterDefault(kind, name string) bool {
	switch kind {
	case "ConfigMap":
		return name == "kube-root-ca.crt" || name == "openshift-service-ca.crt"
	case "ServiceAccount":
		return name == "default"
	}
	return false
}

// HasFinalizerOfOthers tells whether an object of the workspace has finalizers of other syncers than that of a key.
func HasFinalizerOfOthers(object metav1.Object, key string) bool {
	return slices.ContainsFunc(object.GetFinalizers(), func(f string) bool {
		return strings.HasPrefix(f, workloadv1alpha1.SyncerFinalizerPrefix) && f != workloadv1alpha1.SyncerFinalizer(key)
	})
}

// HasStatusFromSyncer tells whether a syncer has written the status of an object of the workspace.
func HasStatusFromSyncer(object metav1.Object) bool {
	return slices.ContainsFunc(object.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == workloadv1alpha1.FieldOwnerSyncer && m.Subresource == "status"
	})
}

// IsJob tells a Job, which runs once.
func IsJob(kind schema.GroupKind) bool { return kind == schema.GroupKind{Group: "batch", Kind: "Job"} }

// HasFinished tells whether an object is a Job that has ended. A Job runs once, also if its copy is deleted afterwards.
func HasFinished(object *unstructured.Unstructured) bool {
	if !IsJob(object.GroupVersionKind().GroupKind()) {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		kind := condition["type"]
		return condition["status"] == string(corev1.ConditionTrue) && (kind == string(batchv1.JobComplete) || kind == string(batchv1.JobFailed))
	})
}
