package scheduler

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestReleased: an Assignment that is deleted by hand stays what it is. One is let go where nobody needs its record any more, or
// where it is in the way; then the Namespace is assigned anew to the same SyncTarget.
func TestReleased(t *testing.T) {
	deleted := func(a *workloadv1alpha1.Assignment, f *flow) { a.DeletionTimestamp = ptr.To(metav1.NewTime(f.now)) }
	for name, c := range map[string]struct {
		reason string
		change func(*flow, *workloadv1alpha1.Assignment)
		want   bool
	}{
		"untouched":       {"", func(*flow, *workloadv1alpha1.Assignment) {}, false},
		"deleted by hand": {"It is held, and what runs goes on.", func(f *flow, a *workloadv1alpha1.Assignment) { deleted(a, f) }, false},
		"with its Namespace": {"The identity is made anew.", func(f *flow, a *workloadv1alpha1.Assignment) {
			deleted(a, f)
			f.addNamespace(a.Namespace, "").Terminating = true
			f.step(releaseGrace)
		}, true},
		"with its Namespace, a moment ago": {"The workspace may be going.", func(f *flow, a *workloadv1alpha1.Assignment) {
			deleted(a, f)
			f.addNamespace(a.Namespace, "").Terminating = true
		}, false},
		"Namespace is not":    {"", func(f *flow, a *workloadv1alpha1.Assignment) { deleted(a, f); f.addNamespace(a.Namespace, "") }, false},
		"of an older target":  {"It has the name of the one that is needed.", func(_ *flow, a *workloadv1alpha1.Assignment) { a.Labels[workloadv1alpha1.LabelUID] = "older" }, true},
		"without a key label": {"", func(_ *flow, a *workloadv1alpha1.Assignment) { delete(a.Labels, workloadv1alpha1.LabelKey) }, true},
		"SyncTarget is gone":  {"Its finalizer would hold the Namespace for ever.", func(f *flow, a *workloadv1alpha1.Assignment) { deleted(a, f); delete(f.targets, "edge-1") }, true},
		"SyncTarget hidden":   {"Nobody deletes it.", func(f *flow, _ *workloadv1alpha1.Assignment) { delete(f.targets, "edge-1") }, false},
		"target being deleted": {"Its syncer has yet to leave.", func(f *flow, a *workloadv1alpha1.Assignment) {
			deleted(a, f)
			f.addNamespace(a.Namespace, "").Terminating = true
			f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.DeletionTimestamp = ptr.To(metav1.NewTime(f.now)) })
		}, false},
		"target being deleted, and revoked": {"There is nothing to wait for.", func(f *flow, a *workloadv1alpha1.Assignment) {
			deleted(a, f)
			f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.DeletionTimestamp = ptr.To(metav1.NewTime(f.now)) })
			meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{
				Type: workloadv1alpha1.ConditionAdmitted, Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonRevoked, ObservedGeneration: a.Generation,
			})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, nil)
			a := f.assignment("edge-1")
			if len(a.Finalizers) != 1 {
				t.Fatalf("finalizers %q", a.Finalizers)
			}
			c.change(f, a)
			if got := len(Plan(f.workspace()).Delete) == 1; got != c.want {
				t.Errorf("released: %t, want %t: %s", got, c.want, c.reason)
			}
		})
	}
}

// TestInvalidPlacementKeepsItsNamespaces: a slip in a selector does not hand production over to another Placement; but the
// SyncTarget can be left.
func TestInvalidPlacementKeepsItsNamespaces(t *testing.T) {
	f := newFlow(t, nil)
	f.addPlacement("other", "shop", func(p *workloadv1alpha1.PlacementSpec) {
		p.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{ClusterNames: []string{"edge-2"}}
	})
	f.settle()
	f.placements["shop"].Spec.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
	f.settle()
	f.expect("the other one would move it", "edge-1")
	if !strings.Contains(f.web.Annotation, "is invalid") {
		t.Errorf("the annotation does not tell: %s", f.web.Annotation)
	}
	f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.DeletionTimestamp = ptr.To(metav1.NewTime(f.now)) })
	if _, err := f.apply(Plan(f.workspace()), -1); err != nil {
		t.Fatal(err)
	}
	if a := f.assignment("edge-1"); a.Spec.Reason != workloadv1alpha1.AssignmentTargetDeleted {
		t.Errorf("%+v, want it withdrawn", a.Spec)
	}
}
