package transform

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// maxDifferences is the most that Differences returns: enough for a message.
const maxDifferences = 20

// Matches tells whether a copy is what was applied last, and nobody has changed or removed any of it since. It is a
// hint, not a proof: only the server knows which of its lists are merged. When it is false, an apply settles it.
func Matches(live, desired *unstructured.Unstructured) bool {
	return AppliedHash(live) == AppliedHash(desired) && len(differences(live, desired, 1)) == 0
}

// Differences returns the paths of the fields that desired sets, and that live does not have or has with another
// meaning: sorted, and at most 20 of them.
func Differences(live, desired *unstructured.Unstructured) []string {
	found := sorted(differences(live, desired, 0))
	return found[:min(len(found), maxDifferences)]
}

// differences compares what was written first, since that is the same in nearly every pass, and converts to the form
// in which a server stores it only if it is not.
func differences(live, desired *unstructured.Unstructured, limit int) []string {
	if includes(live.Object, desired.Object) {
		return nil
	}
	return compare(live.Object, normalized(desired), limit)
}

// AppliedHash is the hash of what was applied, as an object carries it.
func AppliedHash(object *unstructured.Unstructured) string {
	return object.GetAnnotations()[workloadv1alpha1.AnnotationAppliedHash]
}

func sorted(paths []string) []string {
	slices.Sort(paths)
	return slices.Compact(paths)
}
