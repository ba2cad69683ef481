package transform

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Matches tells whether a copy is what was applied last, and still says what it should.
func Matches(live, desired *unstructured.Unstructured) bool {
	return AppliedHash(live) == AppliedHash(desired) && includes(live.Object, desired.Object)
}

// AppliedHash is the hash of what was applied, as an object carries it.
func AppliedHash(object *unstructured.Unstructured) string {
	return object.GetAnnotations()[workloadv1alpha1.AnnotationAppliedHash]
}

// quantities are the fields whose strings a server may print in another form.
var quantities = []string{"requests", "limits", "sizeLimit", "divisor"}

// extendable is a field in which a cluster may put entries of its own beside ours: some give every ServiceAccount the Secrets for
// their own registry.
const extendable = "imagePullSecrets"

// includes tells whether everything in want stands in have too. What have holds beyond that is a server's default or
// somebody else's, and a zero value that is left out is there all the same. It is a hint, not a proof: lists may be merged
// or not, and only the server knows; an apply settles it, so a list that holds more does not pass.
// below are the fields that the value stands in.
func includes(have, want any, below ...string) bool {
	quantity := slices.ContainsFunc(below, func(field string) bool { return slices.Contains(quantities, field) })
	grows := slices.Contains(below, extendable)
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		if !ok {
			return len(want) == 0
		}
		for key, value := range want {
			if value != nil && !includes(have[key], value, append(below[:len(below):len(below)], key)...) {
				return false
			}
		}
		return true
	case []any:
		have, ok := have.([]any)
		if !ok {
			return len(want) == 0
		}
		for i, w := range want {
			if i < len(have) && includes(have[i], w) || anyIncludes(have, w) {
				continue
			}
			return false
		}
		return len(have) <= len(want) || grows
	case string:
		return have == want || have == nil && want == "" || quantity && sameQuantity(have, want)
	case int64:
		return have == want || have == nil && want == 0 || have == float64(want)
	case float64:
		return have == want || have == nil && want == 0 || have == int64(want)
	default:
		return have == want || have == nil && want == false
	}
}

func anyIncludes(have []any, want any) bool {
	for _, h := range have {
		if includes(h, want) {
			return true
		}
	}
	return false
}

// sameQuantity compares what a server may print in another form: 1000m is 1.
func sameQuantity(have any, want string) bool {
	h, ok := have.(string)
	if !ok {
		return false
	}
	a, errA := resource.ParseQuantity(h)
	b, errB := resource.ParseQuantity(want)
	return errA == nil && errB == nil && a.Cmp(b) == 0
}
