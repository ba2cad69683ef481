package rejection

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

func TestRefusal(t *testing.T) {
	widgets := schema.GroupResource{Group: "example.com", Resource: "widgets"}
	ownership := apierrors.NewApplyConflict([]metav1.StatusCause{{Type: "FieldManagerConflict", Message: `conflict with "hpa"`, Field: ".spec.replicas"}}, `conflict with "hpa": .spec.replicas`)
	tests := map[string]struct {
		reason            string
		err               error
		refused, conflict string
		kind              Class
	}{
		"invalid":     {"It stays invalid until it changes.", apierrors.NewInvalid(schema.GroupKind{Kind: "Widget"}, "a", nil), "is invalid", "", Terminal},
		"ownership":   {"By manager and field, with the way out.", ownership, "", `"hpa": .spec.replicas. To take the fields over`, Terminal},
		"forbidden":   {"An admission plugin says no, for now.", apierrors.NewForbidden(widgets, "a", errors.New("quota")), "quota", "", Persistent},
		"webhook":     {"One that does not answer.", apierrors.NewInternalError(errors.New("failed calling webhook")), "failed calling webhook", "", Persistent},
		"no schema":   {"A server-side apply of a field that is not in the schema is answered like this.", &apierrors.StatusError{ErrStatus: metav1.Status{Code: 500, Message: ".spec.new: field not declared in schema"}}, "not declared", "", Persistent},
		"no place":    {"The counterpart is gone, and is made anew.", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "kcp-1"), "kcp-1", "", Persistent},
		"lost race":   {"A conflict of versions passes.", apierrors.NewConflict(widgets, "a", errors.New("changed")), "", "", Transient},
		"outage":      {"So does no answer.", errors.New("connection refused"), "", "", Transient},
		"busy":        {"", apierrors.NewTooManyRequests("later", 1), "", "", Transient},
		"credentials": {"They are the SyncTarget's, not the object's.", apierrors.NewUnauthorized("no"), "", "", Transient},
		"gateway":     {"", apierrors.NewGenericServerResponse(http.StatusBadGateway, "PATCH", widgets, "a", "", 0, true), "", "", Transient},
		"none":        {"", nil, "", "", Transient},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, kind := Classify(tc.err)
			if kind != tc.kind || !strings.Contains(got.Refused, tc.refused) || !strings.Contains(got.Conflict, tc.conflict) || (got.Refused != "") != (tc.refused != "") || (got.Conflict != "") != (tc.conflict != "") {
				t.Errorf("%s\nrefusal(%v) = %+v, %d", tc.reason, tc.err, got, kind)
			}
		})
	}
}

func TestReport(t *testing.T) {
	deployment := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"generation": int64(2), "annotations": map[string]any{"workload.kcp.io/source-generation": "5"}},
		"spec":     map[string]any{"replicas": int64(2)},
		"status":   map[string]any{"observedGeneration": int64(2), "replicas": int64(2), "updatedReplicas": int64(1)},
	}}
	got := Report{Time: "t"}.WithReadiness(deployment, false)
	if got.Generation != 5 || got.Ready != "InProgress" || got.Message == "" || got.Time != "t" {
		t.Errorf("of() = %+v", got)
	}
	if got := (Report{}).WithReadiness(deployment, true); got.Ready != "InProgress" || got.Message != "" {
		t.Errorf("where the status comes along, of() = %+v, which changes with every Pod", got)
	}
	if diff := cmp.Diff(got, ParseReport(got.String())); diff != "" {
		t.Errorf("a report does not survive its annotation:\n%s", diff)
	}
	if got := ParseReport("{nonsense"); got != (Report{}) {
		t.Errorf("parseReport() = %+v of what a user has spoilt", got)
	}
	if got := Clip(strings.Repeat("ä\n ", 2*maxMessage)); len(got) > maxMessage+len("…") || strings.Contains(got, "\n") || !strings.HasSuffix(got, "…") {
		t.Errorf("clip() = %d bytes: %q", len(got), got)
	}
}

// TestIsScaled: replicas that an autoscaler has set are its own, and nothing else is.
func TestIsScaled(t *testing.T) {
	conflict := func(causes ...metav1.StatusCause) error {
		return apierrors.NewApplyConflict(causes, "conflict")
	}
	cause := func(field, by string) metav1.StatusCause {
		return metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Field: field, Message: `conflict with "manager"` + by + " using apps/v1"}
	}
	const byScale = ` with subresource "scale"`
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"none":             {nil, false},
		"scaled":           {conflict(cause(".spec.replicas", byScale)), true},
		"edited":           {conflict(cause(".spec.replicas", "")), false},
		"another field":    {conflict(cause(".spec.paused", byScale)), false},
		"and more":         {conflict(cause(".spec.replicas", byScale), cause(".spec.paused", "")), false},
		"a lost race":      {apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("changed")), false},
		"another weakness": {errors.New("connection refused"), false},
	} {
		if got := IsScaleConflict(tc.err); got != tc.want {
			t.Errorf("%s: isScaled() = %t", name, got)
		}
	}
}
