package rejection

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestStatusUp(t *testing.T) {
	copyWith := func(generation int64, source string, status any) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"generation": generation}}}
		if source != "" {
			o.SetAnnotations(map[string]string{"workload.kcp.io/source-generation": source})
		}
		if status != nil {
			o.Object["status"] = status
		}
		return o
	}
	tests := map[string]struct {
		reason string
		dst    *unstructured.Unstructured
		want   any
	}{
		"none":         {"", copyWith(1, "1", nil), nil},
		"observed":     {"What was applied has been observed.", copyWith(7, "3", map[string]any{"observedGeneration": int64(7)}), map[string]any{"observedGeneration": int64(3)}},
		"not observed": {"Neither downstream nor, then, upstream.", copyWith(7, "3", map[string]any{"observedGeneration": int64(6)}), map[string]any{"observedGeneration": int64(2)}},
		"conditions": {"They have one of their own.", copyWith(2, "9", map[string]any{"conditions": []any{map[string]any{"type": "A", "observedGeneration": int64(2)}, "odd"}}),
			map[string]any{"conditions": []any{map[string]any{"type": "A", "observedGeneration": int64(9)}, "odd"}}},
		"no generation": {"Its objects have none upstream.", copyWith(2, "", map[string]any{"observedGeneration": int64(2)}), map[string]any{"observedGeneration": int64(2)}},
		"no field":      {"None is made up.", copyWith(2, "9", map[string]any{"phase": "Bound"}), map[string]any{"phase": "Bound"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			before := tc.dst.DeepCopy()
			if diff := cmp.Diff(tc.want, StatusUp(tc.dst)); diff != "" {
				t.Errorf("%s\nstatusUp(): -want +got\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(before, tc.dst); diff != "" {
				t.Errorf("the cached copy was changed:\n%s", diff)
			}
		})
	}
}
