package synctarget

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// open is a target that is Ready, with a Namespace "shop" that is open.
func open(t *testing.T) *world {
	t.Helper()
	w := usual(t)
	w.ready()
	w.assign("shop")
	w.settle()
	if got := w.namespaces(); got != "shop Open" {
		t.Fatalf("namespaces: %s", got)
	}
	return w
}

// granted tells whether the syncer has its rights in a Namespace of the workspace.
func (w *world) granted(name string) bool {
	err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Namespace: name, Name: testNamespace()}, &rbacv1.RoleBinding{})
	return err == nil
}

// recordOf is the write of the condition Admitted for a Namespace.
func (w *world) recordOf(name string) string {
	return fmt.Sprintf("apply-status Assignment %q", client.ObjectKeyFromObject(assignment(name)).String())
}

func TestNamespaceIsOpenedOnceTheRightsStand(t *testing.T) {
	w := usual(t)
	w.ready()
	w.assign("shop")
	w.pass()
	if got := w.namespaces(); got != "shop Open" {
		t.Errorf("namespaces: %s", got)
	}
	rights, record := slices.Index(w.kcp.writes, fmt.Sprintf("apply RoleBinding %q", "shop/"+testNamespace())), slices.Index(w.kcp.writes, w.recordOf("shop"))
	if !w.granted("shop") || rights < 0 || record < rights {
		t.Errorf("Open is said before the rights stand: %q", w.kcp.writes)
	}
	if got := len(w.there.writes); got != 2 {
		t.Errorf("wrote downstream %q, want the downstream Namespace and its binding", w.there.writes)
	}
	w.settle()
	w.pass()
	if len(w.kcp.writes)+len(w.there.writes) != 0 {
		t.Errorf("at rest it wrote %q and %q", w.kcp.writes, w.there.writes)
	}
}

// TestNamespaceIsOpenedAfterALostWrite: what was done and could not be told, since a heartbeat came in between, is told by the
// next pass, not by the next reading of everything.
func TestNamespaceIsOpenedAfterALostWrite(t *testing.T) {
	w := usual(t)
	w.ready()
	w.assign("shop")
	lost := true
	w.kcp.refuse = func(write string) error {
		if lost && write == w.recordOf("shop") {
			return errInjected
		}
		return nil
	}
	if _, err := w.reconcile(); err == nil {
		t.Fatal("a status that is not written is an error")
	}
	lost = false
	w.pass()
	if got := w.namespaces(); got != "shop Open" {
		t.Errorf("namespaces: %s", got)
	}
}

func TestUnreachableClusterLeavesNamespaceOpening(t *testing.T) {
	w := usual(t)
	w.ready()
	w.there.refuse = func(string) error { return errInjected }
	w.assign("shop")
	_, _ = w.reconcile()
	if got := w.namespaces(); got != "shop Opening" {
		t.Errorf("namespaces: %s", got)
	}
	w.withdraw("shop")
	w.there.refuse = func(string) error { return nil }
	w.settle()
	if got := w.namespaces(); got != "" || w.granted("shop") {
		t.Errorf("what the syncer was never let into needs no draining: %s, granted = %t", got, w.granted("shop"))
	}
}

// TestOpeningEndsThoughKcpIsBusy: what the syncer was never let into is not waited for either when its rights could not be taken
// back at once.
func TestOpeningEndsThoughKcpIsBusy(t *testing.T) {
	for name, fails := range map[string]string{
		"the SyncTarget is not read": `get SyncTarget "edge-1"`,
		"the Assignment is not read": fmt.Sprintf("get Assignment %q", client.ObjectKeyFromObject(assignment("shop")).String()),
		"the rights stay":            `delete RoleBinding "shop/` + testNamespace() + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			w.there.refuse = func(string) error { return errInjected }
			w.assign("shop")
			_, _ = w.reconcile()
			w.withdraw("shop")
			w.kcp.refuse = func(request string) error {
				return map[bool]error{true: errInjected}[request == fails]
			}
			for range 2 {
				if _, err := w.reconcile(); err == nil {
					t.Fatal("it is no error")
				}
				if got := w.namespaces(); got != "shop Closing" {
					t.Errorf("namespaces: %s", got)
				}
			}
			w.kcp.refuse, w.there.refuse = func(string) error { return nil }, func(string) error { return nil }
			w.settle()
			if got := w.namespaces(); got != "" || w.granted("shop") {
				t.Errorf("namespaces: %s, granted = %t", got, w.granted("shop"))
			}
		})
	}
}

// TestNamespaceDeletedInAFullLook: the syncer needs its rights in a Namespace that is being deleted, and they are not made anew
// there once they are gone.
func TestNamespaceDeletedInAFullLook(t *testing.T) {
	w := open(t)
	binding := `"shop/` + testNamespace() + `"`
	held := func() bool { // and not made anew
		var live rbacv1.RoleBinding
		err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: testNamespace()}, &live)
		return err == nil && live.DeletionTimestamp != nil
	}
	deleted := false
	w.kcp.refuse = func(request string) error {
		if request != "get RoleBinding "+binding || deleted {
			return nil
		}
		// While everything is looked at, its deletion begins, and kcp deletes what is in it.
		deleted = true
		var ns corev1.Namespace
		if err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Name: "shop"}, &ns); err != nil {
			t.Error(err)
		}
		ns.Finalizers = []string{"example.com/contents"}
		if err := w.kcp.raw.Update(t.Context(), &ns); err != nil {
			t.Error(err)
		}
		for _, object := range []client.Object{&ns, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: testNamespace()}}} {
			if err := w.kcp.raw.Delete(t.Context(), object); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	w.wake()
	w.pass()
	if !deleted || !held() {
		t.Fatalf("deleted = %t, held = %t", deleted, held())
	}
	w.withdraw("shop")
	w.settle()
	if got := w.namespaces(); got != "shop Closing" || !held() {
		t.Errorf("namespaces: %s, held = %t", got, held())
	}
	w.withdrawn("shop")
	w.settle()
	if got := w.namespaces(); got != "" || w.granted("shop") {
		t.Errorf("namespaces: %s, granted = %t after it was drained", got, w.granted("shop"))
	}
}

// TestRightsThatSomebodyDeletes are made anew, in a Namespace that stays.
func TestRightsThatSomebodyDeletes(t *testing.T) {
	w := open(t)
	before := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: testNamespace()}}
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(before), before); err != nil {
		t.Fatal(err)
	}
	if err := w.kcp.raw.Delete(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	w.wake()
	w.settle()
	after := &rbacv1.RoleBinding{}
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(before), after); err != nil || after.DeletionTimestamp != nil {
		t.Errorf("they are %+v, %v", after, err)
	}
}

func TestNamespaceIsClosedWhenDrained(t *testing.T) {
	w := open(t)
	w.withdraw("shop")
	w.settle()
	if got := w.namespaces(); got != "shop Closing" || !w.granted("shop") {
		t.Fatalf("namespaces: %s; granted = %t: the syncer needs its rights to leave", got, w.granted("shop"))
	}
	w.withdrawn("shop")
	w.settle()
	if got := w.namespaces(); got != "" || w.granted("shop") {
		t.Errorf("namespaces: %s; granted = %t after it was drained", got, w.granted("shop"))
	}
}

// TestClosingWithoutASyncer: what only the syncer can end says so while it is silent, and no longer.
func TestClosingWithoutASyncer(t *testing.T) {
	w := open(t)
	w.withdraw("shop")
	w.settle()
	w.clock.Step(threshold)
	w.settle()
	want := `shop Closing: the syncer, which is silent, has yet to remove the copies and to take its finalizer "` + workloadv1alpha1.SyncerFinalizer(testKey()) + `" off`
	if got := w.namespaces(); !strings.HasPrefix(got, want) {
		t.Errorf("namespaces: %s, want %s", got, want)
	}
	if got := w.condition(workloadv1alpha1.ConditionSynced); !strings.HasPrefix(got, `False NotSynced: Namespace "shop": the syncer, which is silent`) {
		t.Errorf("Synced = %s", got)
	}
	w.r.heartbeats = newHeartbeatTracker(w.clock, threshold) // as after a restart of the controller
	if w.pass(); !strings.HasPrefix(w.namespaces(), want) {
		t.Errorf("namespaces: %s after a restart", w.namespaces())
	}
	w.beat(w.clock.Now())
	w.settle()
	if got := w.namespaces(); got != "shop Closing" {
		t.Errorf("namespaces: %s after the syncer came back", got)
	}
}

// TestOldReportClosesNothing: what was said of the Namespace before it was opened again is no word about what is in it now.
func TestOldReportClosesNothing(t *testing.T) {
	w := open(t)
	w.withdrawn("shop")
	w.withdraw("shop")
	w.pass()
	if got := w.namespaces(); got != "shop Closing" || !w.granted("shop") {
		t.Fatalf("namespaces: %s; granted = %t", got, w.granted("shop"))
	}
	w.settle()
	if got := w.namespaces(); got != "shop Closing" || !w.granted("shop") {
		t.Errorf("namespaces: %s; granted = %t: the syncer needs its rights to leave", got, w.granted("shop"))
	}
	w.withdrawn("shop")
	w.settle()
	if got := w.namespaces(); got != "" || w.granted("shop") {
		t.Errorf("namespaces: %s; granted = %t after the syncer has left at this epoch", got, w.granted("shop"))
	}
}

func TestReopenedNamespaceKeepsItsRights(t *testing.T) {
	w := open(t)
	w.withdraw("shop")
	w.settle()
	w.decide("shop", workloadv1alpha1.IntentRun)
	w.settle()
	if got := w.namespaces(); got != "shop Open" || !w.granted("shop") {
		t.Errorf("namespaces: %s; granted = %t", got, w.granted("shop"))
	}
}

// TestNamespaceIsNotClosedOnSilence: that a Namespace is not seen is no sign that it was closed.
func TestNamespaceIsNotClosedOnSilence(t *testing.T) {
	hide := func(t *testing.T, w *world) {
		t.Helper()
		if err := w.kcp.raw.Delete(t.Context(), namespace("shop")); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		reason string
		arrange
		want string
	}{
		"cache is empty": {"The cache lags, or a watch was lost.",
			func(_ *testing.T, w *world) { w.cache.reader = emptyCache{w.kcp.raw} }, "shop Open"},
		"hidden": {"The user took the claim's label off; the syncer's rights are still there.", hide, "shop Open"},
		"gone": {"It is withdrawn by its Assignment, or not at all.", func(t *testing.T, w *world) {
			hide(t, w)
			binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: testNamespace()}}
			if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
				t.Fatal(err)
			}
			binding.Finalizers = nil
			if err := w.kcp.raw.Update(t.Context(), binding); err != nil {
				t.Fatal(err)
			}
			if err := w.kcp.raw.Delete(t.Context(), binding); err != nil {
				t.Fatal(err)
			}
		}, "shop Open"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			tc.arrange(t, w)
			w.settle()
			if got := w.namespaces(); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s\nnamespaces: %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

type arrange = func(*testing.T, *world)

// emptyCache is a cache that shows no Namespace and no Assignment.
type emptyCache struct{ client.Reader }

func (e emptyCache) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	if object.GetObjectKind().GroupVersionKind().Kind == "Namespace" {
		return notFound("namespaces", key.Name)
	}
	return e.Reader.Get(ctx, key, object, opts...)
}

func (e emptyCache) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if _, ok := list.(*workloadv1alpha1.AssignmentList); ok {
		return nil
	}
	return e.Reader.List(ctx, list, opts...)
}

// emptyNamespaces is a cache that shows no Namespace.
type emptyNamespaces struct{ client.Reader }

func (e emptyNamespaces) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	return emptyCache(e).Get(ctx, key, object, opts...)
}

func TestNamespacesThatAreRefused(t *testing.T) {
	tests := map[string]struct {
		name, want string
	}{
		"kubeconfig": {"default", `default Refused: it holds the kubeconfig of SyncTarget "edge-1", which is never synced; keep kubeconfigs in a Namespace of their own`},
		"identity":   {testNamespace(), testNamespace() + " Refused: it holds the identity of a syncer, which is never synced"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			if tc.name == "default" {
				w.create(namespace(tc.name))
			}
			w.create(assignment(tc.name))
			w.pass()
			if got := w.namespaces(); got != tc.want {
				t.Errorf("namespaces: %s, want %s", got, tc.want)
			}
			if w.granted(tc.name) {
				t.Error("the syncer was let in")
			}
			warnings := slices.DeleteFunc(slices.Clone(w.events.events), func(e string) bool { return !strings.Contains(e, workloadv1alpha1.ReasonNamespaceRefused) })
			if len(warnings) != 1 {
				t.Errorf("Events: %q", w.events.events)
			}
			w.settle()
			w.pass()
			if len(w.events.events) != 0 {
				t.Errorf("said again: %q", w.events.events)
			}
		})
	}
}

// TestKubeconfigInOpenNamespaceClosesIt: a Secret that was no kubeconfig when the Namespace was opened may become one.
func TestKubeconfigInOpenNamespaceClosesIt(t *testing.T) {
	w := open(t)
	other := newTarget(func(target *workloadv1alpha1.SyncTarget) {
		target.Name, target.UID = "edge-2", "another"
		target.Spec.KubeconfigSecretRef.Namespace = "shop"
	})
	w.create(other)
	w.settle()
	if got := w.namespaces(); !strings.HasPrefix(got, `shop Open: it holds the kubeconfig of SyncTarget "edge-2"`) {
		t.Errorf("namespaces: %s", got)
	}
}

// removeSecret takes the kubeconfig away, finalizer or not.
func (w *world) removeSecret() {
	w.t.Helper()
	var secret corev1.Secret
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: "edge-1"}, &secret); err != nil {
		w.t.Fatal(err)
	}
	secret.Finalizers = nil
	if err := w.kcp.raw.Update(w.t.Context(), &secret); err != nil {
		w.t.Fatal(err)
	}
	if err := w.kcp.raw.Delete(w.t.Context(), &secret); err != nil {
		w.t.Fatal(err)
	}
}

// TestNamespaceIsClosedWhateverValidSays: the syncer lives, and a Namespace that is being deleted waits for us to let go.
func TestNamespaceIsClosedWhateverValidSays(t *testing.T) {
	tests := map[string]struct {
		reason string
		arrange
		mend func(*world)
	}{
		"no Secret": {"", func(_ *testing.T, w *world) { w.removeSecret() }, func(w *world) { w.create(newSecret()) }},
		"wrong spec": {"", func(_ *testing.T, w *world) {
			w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cells = nil })
		}, func(w *world) {
			w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cells = newTarget().Spec.Cells })
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			tc.arrange(t, w)
			w.assign("bank")
			w.withdraw("shop")
			w.settle()
			if got := w.namespaces(); got != "bank Opening, shop Closing" || w.granted("bank") {
				t.Errorf("%s\nnamespaces: %s; granted = %t: opening another needs Valid", tc.reason, got, w.granted("bank"))
			}
			w.withdrawn("shop")
			w.settle()
			if got := w.namespaces(); got != "bank Opening, shop Closing" || w.granted("shop") {
				t.Errorf("%s\nnamespaces: %s; granted = %t after it was drained", tc.reason, got, w.granted("shop"))
			}
			if got := w.record("shop"); !strings.HasPrefix(got, "False Revoking: ") || !w.furnished() {
				t.Errorf("%s\nAdmitted = %s while its Namespace in the physical cluster stands", tc.reason, got)
			}
			tc.mend(w)
			w.settle()
			if got := w.namespaces(); got != "bank Open" || w.furnished() {
				t.Errorf("%s\nnamespaces: %s; furnished = %t when all is well again", tc.reason, got, w.furnished())
			}
		})
	}
}

// TestNamespaceIsNotClosedBlindly: without the claims nothing is seen, which says nothing.
func TestNamespaceIsNotClosedBlindly(t *testing.T) {
	w := open(t)
	var binding apisv1alpha2.APIBinding
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Name: "workload.kcp.io"}, &binding); err != nil {
		t.Fatal(err)
	}
	binding.Spec.PermissionClaims = nil
	if err := w.kcp.raw.Update(t.Context(), &binding); err != nil {
		t.Fatal(err)
	}
	w.cache.reader = emptyNamespaces{w.kcp.raw}
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "get Namespace") || strings.HasPrefix(request, "get RoleBinding") {
			return notFound("things", "thing")
		}
		return nil
	}
	w.settle()
	if got := w.namespaces(); got != "shop Open" || !strings.HasPrefix(w.condition(workloadv1alpha1.ConditionValid), "False") {
		t.Errorf("namespaces: %s; Valid = %s", got, w.condition(workloadv1alpha1.ConditionValid))
	}
}
