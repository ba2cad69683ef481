package rejection

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestReport(t *testing.T) {
	deployment := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"generation": int64(2), "annotations": map[string]any{"workload.kcp.io/source-generation": "5"}},
		"spec":     map[string]any{"replicas": int64(2)},
		"status":   map[string]any{"observedGeneration": int64(2), "replicas": int64(2), "updatedReplicas": int64(1)},
	}}
	got := Report{Time: "t"}.WithReadiness(deployment, false)
	if got.Generation != 5 || got.Ready != "InProgress" || got.Message == "" || got.Time != "t" {
		t.Errorf("WithReadiness() = %+v", got)
	}
	if got := (Report{}).WithReadiness(deployment, true); got.Ready != "InProgress" || got.Message != "" {
		t.Errorf("where the status comes along, WithReadiness() = %+v, which changes with every Pod", got)
	}
	if diff := cmp.Diff(got, ParseReport(got.String())); diff != "" {
		t.Errorf("a report does not survive its annotation:\n%s", diff)
	}
	if got := ParseReport(`{"ready":"Current","refused":1}`); !got.IsZero() {
		t.Errorf("ParseReport() = %+v of what a user has spoilt", got)
	}
}

func TestReportEqual(t *testing.T) {
	full := func() Report {
		return Report{Generation: 1, Time: "t", Ready: "Current", Message: "m", Refused: "r", Conflict: "c", Differs: []string{"spec.a"}, Allocated: map[string]string{"spec.clusterIP": "10.0.0.1"}}
	}
	tests := map[string]struct {
		reason string
		change func(*Report)
		want   bool
	}{
		"same":       {"Two values with the same content.", func(*Report) {}, true},
		"generation": {"", func(r *Report) { r.Generation++ }, false},
		"time":       {"", func(r *Report) { r.Time = "" }, false},
		"ready":      {"", func(r *Report) { r.Ready = "" }, false},
		"message":    {"", func(r *Report) { r.Message = "" }, false},
		"refused":    {"", func(r *Report) { r.Refused = "" }, false},
		"conflict":   {"", func(r *Report) { r.Conflict = "" }, false},
		"differs":    {"", func(r *Report) { r.Differs = []string{"spec.b"} }, false},
		"allocated":  {"", func(r *Report) { r.Allocated = map[string]string{"spec.clusterIP": "10.0.0.2"} }, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			other := full()
			tc.change(&other)
			if got := full().Equal(other); got != tc.want {
				t.Errorf("%s\nEqual() = %t", tc.reason, got)
			}
			if !ParseReport(other.String()).Equal(other) {
				t.Errorf("a report that is read from its annotation is another: %s", other)
			}
			if other.IsZero() {
				t.Errorf("%s is zero", other)
			}
		})
	}
	empty := Report{Differs: []string{}, Allocated: map[string]string{}}
	if !empty.IsZero() || empty.String() != "{}" {
		t.Errorf("a report that says nothing is %s", empty)
	}
}

func TestReportSettled(t *testing.T) {
	tests := map[string]struct {
		reason   string
		report   Report
		ready    string
		deviates bool
		rejected bool
	}{
		"current":     {"", Report{Ready: "Current"}, "Current", false, false},
		"differs":     {"A copy that differs is never reported as Current.", Report{Ready: "Current", Differs: []string{"spec.a"}}, "Differs", true, false},
		"conflict":    {"Nor is one with fields of others.", Report{Ready: "Current", Conflict: "x"}, "Differs", true, true},
		"failed":      {"That it fails is more than that it differs.", Report{Ready: "Failed", Differs: []string{"spec.a"}}, "Failed", true, false},
		"in progress": {"It may still become what the object says.", Report{Ready: "InProgress", Conflict: "x"}, "InProgress", true, true},
		"refused":     {"The copy is of an earlier generation, which the report says.", Report{Ready: "Current", Refused: "x"}, "Current", false, true},
		"allocated":   {"What the cluster adds is no difference.", Report{Ready: "Current", Allocated: map[string]string{"spec.clusterIP": "10.0.0.1"}}, "Current", false, false},
		"no copy":     {"", Report{Conflict: "x"}, "", true, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.report.Settled(); got.Ready != tc.ready || got.Deviates() != tc.deviates || got.Rejected() != tc.rejected {
				t.Errorf("%s\nSettled() = %+v, which deviates: %t, is rejected: %t", tc.reason, got, got.Deviates(), got.Rejected())
			}
		})
	}
}

func TestReportWithDiffers(t *testing.T) {
	fields := func(count int, text string) (fields []string) {
		for i := range count {
			fields = append(fields, fmt.Sprintf("spec.f%03d%s", i, text))
		}
		return fields
	}
	tests := map[string]struct {
		reason string
		in     []string
		want   []string
	}{
		"none":        {"", nil, nil},
		"sorted":      {"The report does not change with the order in which a map is read.", []string{"spec.b", "spec.a", "spec.b"}, []string{"spec.a", "spec.b"}},
		"full":        {"", fields(20, ""), fields(20, "")},
		"many":        {"The list does not look complete.", fields(25, ""), append(fields(25, "")[:19], "and 6 more")},
		"long":        {"All together have 2 KiB.", fields(20, strings.Repeat("x", 191)), append(fields(10, strings.Repeat("x", 191)), "and 10 more")},
		"to the byte": {"With the last entry.", fields(20, strings.Repeat("x", 119)), append(fields(15, strings.Repeat("x", 119)), "and 5 more")},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			in := slices.Clone(tc.in)
			got := Report{}.WithDiffers(tc.in)
			if diff := cmp.Diff(tc.want, got.Differs); diff != "" {
				t.Errorf("%s\nWithDiffers(): -want +got\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(in, tc.in); diff != "" {
				t.Errorf("the argument was changed:\n%s", diff)
			}
			if diff := cmp.Diff(got.Differs, ParseReport(got.String()).Differs); diff != "" {
				t.Errorf("what is bounded is bounded again:\n%s", diff)
			}
		})
	}
	unbounded := Report{Differs: append(fields(100, ""), strings.Repeat("y", 3000))}
	if got := unbounded.String(); len(got) > 600 || !strings.Contains(got, "and 82 more") {
		t.Errorf("an annotation with all of it: %s", got)
	}
	if got := (Report{}).WithDiffers([]string{strings.Repeat("y", 3000)}).Differs; len(got) != 1 || len(got[0]) > maxField || !strings.HasPrefix(got[0], "yyy") {
		t.Errorf("one long field becomes %q", got)
	}
}
