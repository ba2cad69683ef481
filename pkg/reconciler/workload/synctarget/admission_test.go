package synctarget

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// staleAssignments is a cache that lags behind.
type staleAssignments struct {
	client.Reader
	items []workloadv1alpha1.Assignment
}

func (s staleAssignments) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if into, ok := list.(*workloadv1alpha1.AssignmentList); ok {
		into.Items = nil
		for i := range s.items {
			into.Items = append(into.Items, *s.items[i].DeepCopy())
		}
		return nil
	}
	return s.Reader.List(ctx, list, opts...)
}

// recorded describes each write of the condition Admitted of "shop": what it says, and what the syncer has at that time.
func (w *world) recorded(seen *[]string) {
	w.kcp.refuse = func(request string) error {
		if request == w.recordOf("shop") {
			*seen = append(*seen, fmt.Sprintf("was %s, rights upstream %t, downstream %t", strings.SplitN(w.record("shop"), ":", 2)[0], w.granted("shop"), w.furnished()))
		}
		return nil
	}
}

// TestOrderOfRightsAndRecord: Admitted is True only while the rights are there on both sides, and Revoked only when nothing is left.
func TestOrderOfRightsAndRecord(t *testing.T) {
	w := usual(t)
	w.ready()
	var seen []string
	w.recorded(&seen)
	w.assign("shop")
	w.settle()
	w.withdraw("shop")
	w.settle()
	w.withdrawn("shop")
	w.settle()
	want := []string{
		"was none, rights upstream true, downstream true",            // Admitted
		"was True Admitted, rights upstream true, downstream true",   // to be withdrawn
		"was True Admitted, rights upstream false, downstream false", // Revoked
	}
	if diff := cmp.Diff(want, seen); diff != "" || !strings.HasPrefix(w.record("shop"), "False Revoked") {
		t.Errorf("Admitted = %s; when it was written: -want +got\n%s", w.record("shop"), diff)
	}
	a := w.assigned("shop")
	if got := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted).ObservedGeneration; got != a.Generation {
		t.Errorf("observedGeneration = %d, want %d", got, a.Generation)
	}
}

// TestRevokedWaitsForTheCluster: where the Namespace in the physical cluster cannot be removed, the Assignment does not say that
// nothing is left. It does not say either that the syncer has rights that were taken back.
func TestRevokedWaitsForTheCluster(t *testing.T) {
	w := open(t)
	w.withdraw("shop")
	w.settle()
	w.withdrawn("shop")
	w.there.refuse = func(string) error { return errInjected }
	for range 2 {
		_, _ = w.reconcile()
		if got := w.record("shop"); got != "False Revoking: "+cleaningUpMessage || w.granted("shop") {
			t.Errorf("Admitted = %s, granted = %t", got, w.granted("shop"))
		}
	}
	w.there.refuse = func(string) error { return nil }
	w.restart()
	w.settle()
	if got := w.record("shop"); !strings.HasPrefix(got, "False Revoked") || w.furnished() {
		t.Errorf("Admitted = %s, furnished = %t when the cluster answers again", got, w.furnished())
	}
}

// TestReturnBeforeRevoked: a Namespace that is to run again gets its rights back, however far its end was.
func TestReturnBeforeRevoked(t *testing.T) {
	for name, fails := range map[string]bool{"Revoked": false, "not yet Revoked": true} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.withdraw("shop")
			w.settle()
			w.withdrawn("shop")
			w.there.refuse = func(string) error { return map[bool]error{true: errInjected}[fails] }
			_, _ = w.reconcile()
			w.decide("shop", workloadv1alpha1.IntentRun)
			w.there.refuse = func(string) error { return nil }
			w.settle()
			if got := w.namespaces(); got != "shop Open" || !w.granted("shop") || !w.furnished() {
				t.Errorf("namespaces: %s, granted = %t, furnished = %t", got, w.granted("shop"), w.furnished())
			}
		})
	}
}

// TestReturnWhileItIsCleared: the downstream Namespace of one that is to run again meanwhile stays.
func TestReturnWhileItIsCleared(t *testing.T) {
	w := open(t)
	w.withdraw("shop")
	w.settle()
	w.withdrawn("shop")
	returned := false
	w.there.refuse = func(request string) error {
		if request == `list NamespaceList ""` && !returned {
			returned = true
			w.decide("shop", workloadv1alpha1.IntentRun)
		}
		return nil
	}
	_, _ = w.reconcile()
	if !returned || !w.furnished() {
		t.Errorf("returned = %t, furnished = %t", returned, w.furnished())
	}
	w.settle()
	if got := w.namespaces(); got != "shop Open" || !w.granted("shop") || !w.furnished() {
		t.Errorf("namespaces: %s, granted = %t, furnished = %t", got, w.granted("shop"), w.furnished())
	}
}

// TestRightsOfALostRecord: what was given after an Assignment was Revoked, and could not be recorded, is taken back too.
func TestRightsOfALostRecord(t *testing.T) {
	w := open(t)
	w.withdraw("shop")
	w.settle()
	w.withdrawn("shop")
	w.settle()
	w.decide("shop", workloadv1alpha1.IntentRun)
	w.kcp.refuse = func(request string) error {
		return map[bool]error{true: errInjected}[request == w.recordOf("shop")]
	}
	if _, err := w.reconcile(); err == nil || !w.granted("shop") {
		t.Fatalf("Reconcile() = %v, granted = %t", err, w.granted("shop"))
	}
	w.withdraw("shop")
	w.kcp.refuse = func(string) error { return nil }
	w.settle()
	if got := w.namespaces(); got != "" || w.granted("shop") || w.furnished() {
		t.Errorf("namespaces: %s, granted = %t, furnished = %t", got, w.granted("shop"), w.furnished())
	}
}

// TestReturnAfterALostRecord: that the rights were taken back could not be recorded. The syncer, which waits for the generation to be
// observed, is not told that it has them before it does.
func TestReturnAfterALostRecord(t *testing.T) {
	w := open(t)
	w.withdraw("shop")
	w.settle()
	w.withdrawn("shop")
	w.kcp.refuse = func(request string) error {
		return map[bool]error{true: errInjected}[request == w.recordOf("shop")]
	}
	if _, err := w.reconcile(); err == nil || w.granted("shop") {
		t.Fatalf("Reconcile() = %v, granted = %t", err, w.granted("shop"))
	}
	w.decide("shop", workloadv1alpha1.IntentRun)
	w.kcp.refuse = func(string) error { return nil }
	w.there.refuse = func(string) error { return errInjected }
	observed := func() bool {
		a := w.assigned("shop")
		return meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted).ObservedGeneration == a.Generation
	}
	if _, _ = w.reconcile(); observed() || !strings.HasPrefix(w.record("shop"), "True Admitted") {
		t.Errorf("Admitted = %s, observed = %t without the rights in the physical cluster", w.record("shop"), observed())
	}
	w.there.refuse = func(string) error { return nil }
	w.settle()
	if !observed() || !w.granted("shop") || !w.furnished() || !strings.HasPrefix(w.record("shop"), "True Admitted") {
		t.Errorf("Admitted = %s, observed = %t, granted = %t, furnished = %t", w.record("shop"), observed(), w.granted("shop"), w.furnished())
	}
}

// TestLiveAssignmentDecides: rights are taken back by what the Assignment says now, not by what the cache shows.
func TestLiveAssignmentDecides(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*world)
	}{
		"runs again": {"The scheduler has changed its mind.", func(w *world) { w.decide("shop", workloadv1alpha1.IntentRun) }},
		"another epoch": {"What was reported of an earlier one does not count.", func(w *world) {
			w.decide("shop", workloadv1alpha1.IntentRun)
			w.withdraw("shop")
		}},
		"not withdrawn": {"The syncer has taken its report back.", func(w *world) {
			w.reportOf("shop", workloadv1alpha1.ConditionWithdrawn, metav1.ConditionFalse)
		}},
		"gone": {"An Assignment that is absent takes nothing back.", func(w *world) {
			if err := w.kcp.raw.Delete(w.t.Context(), w.assigned("shop")); err != nil {
				w.t.Fatal(err)
			}
		}},
		"another of this name": {"", func(w *world) {
			if err := w.kcp.raw.Delete(w.t.Context(), w.assigned("shop")); err != nil {
				w.t.Fatal(err)
			}
			w.create(assignment("shop", func(a *workloadv1alpha1.Assignment) { a.UID = "another" }))
		}},
		"of an earlier SyncTarget": {"", func(w *world) {
			a := w.assigned("shop")
			a.Labels[workloadv1alpha1.LabelUID] = "earlier"
			if err := w.kcp.raw.Update(w.t.Context(), a); err != nil {
				w.t.Fatal(err)
			}
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.withdraw("shop")
			w.settle()
			w.withdrawn("shop")
			w.cache.reader = staleAssignments{w.kcp.raw, w.assignments()}
			tc.change(w)
			w.forget()
			_, _ = w.reconcile()
			if !w.granted("shop") || !w.furnished() {
				t.Errorf("%s\ngranted = %t, furnished = %t", tc.reason, w.granted("shop"), w.furnished())
			}
			if slices.Contains(w.kcp.writes, w.recordOf("shop")) {
				t.Errorf("%s\nwritten: %q", tc.reason, w.kcp.writes)
			}
		})
	}
}

// TestOldCacheRecordsNothing: that the syncer was let in must not be forgotten since the cache does not show it yet: what was never
// let in is not waited for.
func TestOldCacheRecordsNothing(t *testing.T) {
	w := usual(t)
	w.ready()
	w.assign("shop")
	before := w.assignments()
	w.settle()
	w.cache.reader = staleAssignments{w.kcp.raw, before}
	w.there.refuse = func(string) error { return errInjected }
	w.wake()
	_, _ = w.reconcile()
	if got := w.record("shop"); !strings.HasPrefix(got, "True Admitted") {
		t.Errorf("Admitted = %s", got)
	}
}

// TestTwoNamespacesOfOneName: a Namespace that was created anew waits until the syncer has left the earlier one.
func TestTwoNamespacesOfOneName(t *testing.T) {
	w := open(t)
	var ns corev1.Namespace
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Name: "shop"}, &ns); err != nil {
		t.Fatal(err)
	}
	ns.UID = "anew"
	if err := w.kcp.raw.Update(t.Context(), &ns); err != nil {
		t.Fatal(err)
	}
	anew := assignment("shop", func(a *workloadv1alpha1.Assignment) {
		a.Name, a.UID, a.Spec.Namespace.UID = workloadv1alpha1.AssignmentName("anew"), "assignment-anew", "anew"
	})
	newer := func() string {
		t.Helper()
		if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(anew), anew); err != nil {
			t.Fatal(err)
		}
		found := meta.FindStatusCondition(anew.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
		return fmt.Sprintf("%s %s: %s", found.Status, found.Reason, found.Message)
	}
	w.create(anew)
	const waits = "False Admitting: the syncer has yet to leave an earlier Namespace of this name; it is opened after that"
	for _, step := range []struct {
		name    string
		act     func()
		earlier string
		newer   string
	}{
		{"created anew", func() {}, "True Admitted", waits},
		{"the earlier one is withdrawn", func() { w.withdraw("shop") }, "True Admitted", waits},
		{"and left", func() { w.withdrawn("shop") }, "False Revoked", "True Admitted: " + admittedMessage},
	} {
		step.act()
		w.settle()
		if got := w.record("shop"); !strings.HasPrefix(got, step.earlier) {
			t.Errorf("%s: Admitted of the earlier = %s", step.name, got)
		}
		if got := newer(); got != step.newer {
			t.Errorf("%s: Admitted of the newer = %s, want %s", step.name, got, step.newer)
		}
	}
	if !w.granted("shop") || !w.furnished() {
		t.Errorf("granted = %t, furnished = %t", w.granted("shop"), w.furnished())
	}
}

// TestWhatKeepsANamespaceShut: it is not opened before the workspace shows it, and says what it waits for.
func TestWhatKeepsANamespaceShut(t *testing.T) {
	tests := map[string]struct {
		arrange func(*world)
		want    string
	}{
		"not shown": {func(*world) {}, "shop Opening: the workspace does not show this Namespace to the service: it is gone, or lacks the label workload.kcp.io/visible=true"},
		"created anew": {func(w *world) {
			anew := namespace("shop")
			anew.UID = "anew"
			w.create(anew)
		}, "shop Opening: the Namespace was deleted, and another one of this name was created"},
		"being deleted": {func(w *world) {
			ns := namespace("shop")
			ns.Finalizers = []string{"example.com/contents"}
			w.create(ns)
			if err := w.kcp.raw.Delete(w.t.Context(), ns); err != nil {
				w.t.Fatal(err)
			}
		}, "shop Opening: the Namespace is being deleted"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			tc.arrange(w)
			w.create(assignment("shop"))
			w.settle()
			if got := w.namespaces(); got != tc.want || w.granted("shop") {
				t.Errorf("namespaces: %s, want %s; granted = %t", got, tc.want, w.granted("shop"))
			}
			w.withdraw("shop")
			w.settle()
			if got := w.namespaces(); got != "" {
				t.Errorf("namespaces: %s after it was withdrawn", got)
			}
		})
	}
}

// TestAssignmentsThatDoNotCount: a tenant may write an Assignment, or its labels.
func TestAssignmentsThatDoNotCount(t *testing.T) {
	for name, change := range map[string]func(*workloadv1alpha1.Assignment){
		"in another Namespace":     func(a *workloadv1alpha1.Assignment) { a.Namespace = "shop" },
		"of an earlier SyncTarget": func(a *workloadv1alpha1.Assignment) { a.Labels[workloadv1alpha1.LabelUID] = "earlier" },
		"of another SyncTarget":    func(a *workloadv1alpha1.Assignment) { a.Labels[workloadv1alpha1.LabelKey] = "another" },
		"without labels":           func(a *workloadv1alpha1.Assignment) { a.Labels = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			w.create(namespace("shop"))
			w.create(assignment("shop", change))
			w.pass()
			if w.granted("shop") || len(w.there.writes) != 0 {
				t.Errorf("granted = %t, written downstream: %q", w.granted("shop"), w.there.writes)
			}
		})
	}
}

// TestRecordThatFails: one Assignment that cannot be written keeps no other from it.
func TestRecordThatFails(t *testing.T) {
	w := usual(t)
	w.ready()
	refused := apierrors.NewForbidden(workloadv1alpha1.SchemeGroupVersion.WithResource("assignments").GroupResource(), "x", errInjected)
	w.kcp.refuse = func(request string) error {
		return map[bool]error{true: refused}[request == w.recordOf("bank")]
	}
	for _, name := range []string{"bank", "club", "shop"} {
		w.assign(name)
	}
	if _, err := w.reconcile(); err == nil {
		t.Error("it is not tried again")
	}
	if got := w.namespaces(); got != "bank Opening, club Open, shop Open" {
		t.Errorf("namespaces: %s", got)
	}
	w.kcp.refuse = func(string) error { return nil }
	w.settle()
	if got := w.namespaces(); got != "bank Open, club Open, shop Open" {
		t.Errorf("namespaces: %s", got)
	}
}

// TestSpecOfAnAssignment: a change of it that gives and takes nothing costs one write, which says that it was seen.
func TestSpecOfAnAssignment(t *testing.T) {
	w := open(t)
	since := w.assigned("shop").Status.Conditions[0].LastTransitionTime
	w.clock.Step(threshold / 2)
	a := w.assigned("shop")
	a.Spec.Order, a.Generation = 1, a.Generation+1
	if err := w.kcp.raw.Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	w.pass()
	w.pass()
	if diff := cmp.Diff([]string{w.recordOf("shop")}, w.kcp.writes); diff != "" || len(w.there.writes) != 0 {
		t.Errorf("written: -want +got\n%s\ndownstream: %q", diff, w.there.writes)
	}
	got := w.assigned("shop").Status.Conditions[0]
	if got.ObservedGeneration != a.Generation || !got.LastTransitionTime.Equal(&since) {
		t.Errorf("the condition is %+v, want generation %d since %s", got, a.Generation, since)
	}
}

// TestOrphanedNamespace: copies of which the syncer did not know, as of a resource that the workspace serves no more, stay without our
// marks, too.
func TestOrphanedNamespace(t *testing.T) {
	w := open(t)
	left := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.downstreamNamespace()[0].GetName(), Name: "copy", UID: "copy", Labels: map[string]string{workloadv1alpha1.LabelKey: testKey()},
		Annotations: map[string]string{workloadv1alpha1.AnnotationSourceUID: "source"},
	}}
	if err := w.there.raw.Create(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	w.decide("shop", workloadv1alpha1.IntentOrphan)
	w.settle()
	w.withdrawn("shop")
	w.settle()
	if err := w.there.raw.Get(t.Context(), client.ObjectKeyFromObject(left), left); err != nil || len(left.Labels) != 0 {
		t.Errorf("the copy: %v, labels %v", err, left.Labels)
	}
	if got := w.record("shop"); !strings.HasPrefix(got, "False Revoked") || w.furnished() {
		t.Errorf("Admitted = %s; the rights downstream are there: %t", got, w.furnished())
	}
}
