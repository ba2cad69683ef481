package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestRecordVersion: the version is written when it changes, is no reason to apply the identity again, and outlives that.
func TestRecordVersion(t *testing.T) {
	c := testConfig()
	s := newServer(t)
	mustApply(t, s, Identity(c))
	namespace := byKind(t, Identity(c), "Namespace")
	other := testConfig()
	other.Target.UID = "of-another-target"
	for _, step := range []struct {
		reason  string
		config  Config
		version string
		changed bool
		want    string
	}{
		{"It is not there yet.", c, "v0.1.0", true, "v0.1.0"},
		{"It is there.", c, "v0.1.0", false, "v0.1.0"},
		{"The controller was upgraded.", c, "v0.2.0", true, "v0.2.0"},
		{"The Namespace is not this SyncTarget's.", other, "v0.3.0", false, "v0.2.0"},
	} {
		s.forget()
		changed, err := RecordVersion(t.Context(), s, step.config, step.version, workloadv1alpha1.FieldOwnerController)
		if err != nil || changed != step.changed || len(s.writes) > 0 != step.changed {
			t.Errorf("%s\nRecordVersion() = %t, %v, with the writes %q", step.reason, changed, err, s.writes)
		}
		if got := s.object(t, namespace).GetAnnotations()[workloadv1alpha1.AnnotationControllerVersion]; got != step.want {
			t.Errorf("%s\nversion %q, want %q", step.reason, got, step.want)
		}
	}
	s.forget()
	mustApply(t, s, Identity(c))
	if diff := cmp.Diff([]string(nil), s.writes); diff != "" {
		t.Errorf("the identity is written for the version: -want +got\n%s", diff)
	}
	relabeled := Identity(c)
	relabeled[0].GetLabels()["added"] = "true"
	mustApply(t, s, relabeled)
	got := s.object(t, namespace)
	if got.GetLabels()["added"] != "true" || got.GetAnnotations()[workloadv1alpha1.AnnotationControllerVersion] != "v0.2.0" {
		t.Errorf("after another apply: labels %v, annotations %v", got.GetLabels(), got.GetAnnotations())
	}
}

// TestRecordVersionWithoutNamespace: the Namespace may have been deleted meanwhile.
func TestRecordVersionWithoutNamespace(t *testing.T) {
	s := newServer(t)
	changed, err := RecordVersion(t.Context(), s, testConfig(), "v0.1.0", workloadv1alpha1.FieldOwnerController)
	if changed || err != nil || len(s.writes) > 0 {
		t.Errorf("RecordVersion() = %t, %v, with the writes %q", changed, err, s.writes)
	}
}
