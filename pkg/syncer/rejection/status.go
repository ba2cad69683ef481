package rejection

import (
	"maps"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// StatusUp returns the status of a copy for its object, nil if there is none. The generations that were observed
// downstream become the generation of the object that was applied, so that `kubectl rollout status` works upstream.
func StatusUp(dst *unstructured.Unstructured) any {
	original, found, _ := unstructured.NestedMap(dst.Object, "status")
	if !found {
		return nil
	}
	applied, err := strconv.ParseInt(dst.GetAnnotations()[workloadv1alpha1.AnnotationSourceGeneration], 10, 64)
	if err != nil {
		return original
	}
	translate := func(in map[string]any) {
		observed, ok := in["observedGeneration"].(int64)
		switch {
		case !ok:
		case observed >= dst.GetGeneration():
			in["observedGeneration"] = applied
		default:
			in["observedGeneration"] = max(applied-1, 0)
		}
	}
	out := maps.Clone(original)
	translate(out)
	if conditions, ok := out["conditions"].([]any); ok {
		for _, condition := range conditions {
			if condition, ok := condition.(map[string]any); ok {
				translate(condition)
			}
		}
	}
	return out
}
