package placement

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// withdrawn is a world with an Assignment that is withdrawn and says that its rights were taken back.
func withdrawn(t *testing.T) (w *world, from string) {
	t.Helper()
	w = newWorld(t, "a")
	w.settle()
	w.syncAll()
	w.settle()
	from = w.assignments()[0].Annotations[workloadv1alpha1.AnnotationSyncTarget]
	edit(w, &workloadv1alpha1.Placement{}, "shop", func(p *workloadv1alpha1.Placement) {
		p.Spec.NamespaceSelector.MatchLabels = map[string]string{"app": "other"}
	})
	w.settle()
	w.syncAll()
	w.forget()
	return w, from
}

// TestRightsOutliveNoRecord: a syncer that says itself that its rights were taken back keeps none: while they are there, so is the
// record.
func TestRightsOutliveNoRecord(t *testing.T) {
	w, from := withdrawn(t)
	rights := rightsOf(from, string(w.target(from).UID), "a")
	if err := w.kcp.raw.Create(t.Context(), rights); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.clock.Step(reportInterval)
		if result := w.pass(); result.RequeueAfter == 0 || len(w.assignments()) != 1 {
			t.Fatalf("with the rights: %q, again after %s", w.placed(), result.RequeueAfter)
		}
	}
	if err := w.kcp.raw.Delete(t.Context(), &rbacv1.RoleBinding{ObjectMeta: rights.ObjectMeta}); err != nil {
		t.Fatal(err)
	}
	w.kcp.forget()
	w.settle()
	if got := w.kcp.requests("get RoleBinding"); len(w.assignments()) != 0 || len(got) != 1 {
		t.Errorf("without the rights: %q, read %q", w.placed(), got)
	}
}

// TestBindingOfOthers: a binding of that name without our labels is not what the syncer was given, and keeps no record.
func TestBindingOfOthers(t *testing.T) {
	w, from := withdrawn(t)
	binding := rightsOf(from, string(w.target(from).UID), "a")
	delete(binding.Labels, workloadv1alpha1.LabelKey)
	if err := w.kcp.raw.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	w.clock.Step(reportInterval)
	w.settle()
	if got := w.assignments(); len(got) != 0 {
		t.Errorf("left: %q", w.placed())
	}
}

// TestRightsNotToBeRead: that nobody knows is no reason to delete the record.
func TestRightsNotToBeRead(t *testing.T) {
	w, _ := withdrawn(t)
	w.kcp.refuse = func(request string) error {
		return map[bool]error{true: errInjected}[strings.HasPrefix(request, "get RoleBinding")]
	}
	w.clock.Step(reportInterval)
	_, _ = w.reconcile() // the annotation comes first
	w.clock.Step(reportInterval)
	if _, err := w.reconcile(); err == nil || len(w.assignments()) != 1 {
		t.Errorf("Reconcile() = %v, left %q", err, w.placed())
	}
}
