package agent

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// upToDate tells whether the last applied manifest was this one and nobody has changed what it says since.
func upToDate(live, desired *unstructured.Unstructured) bool {
	return live.GetAnnotations()[workloadv1alpha1.AnnotationAppliedHash] == desired.GetAnnotations()[workloadv1alpha1.AnnotationAppliedHash] &&
		contains(live.Object, desired.Object, "")
}

// contains tells whether everything in want stands in have too, under the name of a field. What have holds beyond that
// is a server's default or somebody else's, as long as a server-side apply would leave it.
func contains(have, want any, field string) bool {
	switch want := want.(type) {
	case map[string]any:
		have, _ := have.(map[string]any)
		return containsFields(have, want, field)
	case []any:
		have, _ := have.([]any)
		return containsElements(have, want, field)
	default:
		return have == want
	}
}

// containsFields compares maps, of which those of resources hold quantities.
func containsFields(have, want map[string]any, field string) bool {
	for key, value := range want {
		if field == "requests" || field == "limits" {
			if !sameQuantity(have[key], value) {
				return false
			}
		} else if !contains(have[key], value, key) {
			return false
		}
	}
	return true
}

// containsElements compares lists: element by element, or, where an apply merges them, in any order.
func containsElements(have, want []any, field string) bool {
	if !merges(field) {
		return slices.EqualFunc(have, want, func(h, w any) bool { return contains(h, w, "") })
	}
	return !slices.ContainsFunc(want, func(w any) bool {
		return !slices.ContainsFunc(have, func(h any) bool { return contains(h, w, "") })
	})
}

// merges names the lists of our manifests in which an apply leaves the elements of others. All other lists are one
// value: an element more, such as a subject in a binding of ours, is a difference and goes.
func merges(field string) bool {
	switch field {
	case "containers", "env", "finalizers", "imagePullSecrets", "ports", "volumeMounts", "volumes":
		return true
	}
	return false
}

// sameQuantity compares what the server may print in another form.
func sameQuantity(have, want any) bool {
	h, ok := have.(string)
	if !ok {
		return false
	}
	w, ok := want.(string)
	if !ok {
		return false
	}
	a, errA := resource.ParseQuantity(h)
	b, errB := resource.ParseQuantity(w)
	return errA == nil && errB == nil && a.Cmp(b) == 0
}
