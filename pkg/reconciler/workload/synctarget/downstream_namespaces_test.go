package synctarget

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// downstream Namespace is what the Namespace "shop" is in the physical cluster.
func (w *world) downstreamNamespace() []client.Object { return w.downstreamNamespaceOf("shop") }

func (w *world) downstreamNamespaceOf(namespace string) []client.Object {
	return agent.DownstreamNamespace(agent.Config{Target: w.target(), ClusterName: testCluster}, namespace)
}

// furnished tells whether the syncer has a downstream Namespace of "shop" and its rights in it.
func (w *world) furnished() bool {
	for _, object := range w.downstreamNamespace() {
		if err := w.there.raw.Get(w.t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return false
		}
	}
	return true
}

// removeDownstreamNamespace is what somebody does by hand.
func (w *world) removeDownstreamNamespace() {
	w.t.Helper()
	for _, object := range w.downstreamNamespace() {
		if err := w.there.raw.Delete(w.t.Context(), object); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestLeftoverInNamespace: what an earlier target of this name left in a Namespace does not keep it shut.
func TestLeftoverInNamespace(t *testing.T) {
	tests := map[string]struct {
		reason, held, want string
	}{
		"held by us": {"", workloadv1alpha1.SyncTargetFinalizer(testKey()), "shop Open"},
		"held by another": {"It is waited for, in this Namespace alone.", "example.com/other",
			`shop Opening: RoleBinding "shop/` + testNamespace() + `" is still being deleted: held by finalizer example.com/other; it is recreated when it is gone`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			earlier := w.target()
			earlier.UID = "earlier"
			leftover := agent.Grant(agent.Config{Target: earlier, ClusterName: testCluster}, "shop")[0]
			leftover.SetFinalizers([]string{tc.held})
			leftover.SetUID("leftover")
			w.assign("shop")
			w.create(leftover)
			w.settle()
			if got := w.namespaces(); got != tc.want {
				t.Errorf("%s\nnamespaces: %s, want %s", tc.reason, got, tc.want)
			}
			if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "True") {
				t.Errorf("%s\nDeployed = %s", tc.reason, got)
			}
			var binding rbacv1.RoleBinding
			if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(leftover), &binding); err != nil {
				t.Fatal(err)
			}
			if renewed := binding.Labels[workloadv1alpha1.LabelUID] == testUID; renewed != (tc.want == "shop Open") {
				t.Errorf("%s\nthe rights are of SyncTarget %q", tc.reason, binding.Labels[workloadv1alpha1.LabelUID])
			}
		})
	}
}

// TestTogether: as many as may be are under way at the same time, and one that fails keeps no other back.
func TestTogether(t *testing.T) {
	var names []*assignedNamespace
	for range 3 * namespaceWorkers {
		names = append(names, &assignedNamespace{})
	}
	var mu sync.Mutex
	running, done, full := 0, 0, make(chan struct{})
	release := sync.OnceFunc(func() { close(full) })
	err := forEachNamespace(names, func(n *assignedNamespace) error {
		mu.Lock()
		running++
		if running > namespaceWorkers {
			t.Errorf("%d at the same time", running)
		}
		if running == namespaceWorkers {
			release()
		}
		mu.Unlock()
		select {
		case <-full:
		case <-time.After(10 * time.Second):
			t.Error("they wait for one another")
			release()
		}
		mu.Lock()
		defer mu.Unlock()
		running--
		done++
		if n == names[0] {
			return errInjected
		}
		return nil
	})
	if err == nil || done != len(names) {
		t.Errorf("forEachNamespace() = %v after %d", err, done)
	}
}

// TestOpeningComesFirst: what works already can wait.
func TestOpeningComesFirst(t *testing.T) {
	plan := namespacePlan{items: []*assignedNamespace{
		{Name: "a", State: namespaceOpen}, {Name: "b", State: namespaceRefused}, {Name: "c", State: namespaceOpening}, {Name: "d", State: namespaceDraining},
		{Name: "e", State: namespaceWaiting},
	}}
	var got []string
	for _, n := range plan.admitted() {
		got = append(got, n.Name)
	}
	if diff := cmp.Diff([]string{"c", "a"}, got); diff != "" {
		t.Errorf("admitted: -want +got\n%s", diff)
	}
}

// TestMoreNamespacesThanAPassHasTimeFor: they are opened pass by pass, and the cluster, which answers, is not called
// unreachable for it; one that answers none of it is.
func TestMoreNamespacesThanAPassHasTimeFor(t *testing.T) {
	w := usual(t)
	w.ready()
	looks := map[string]bool{}
	for i := range 20 {
		name := fmt.Sprintf("shop-%02d", i)
		w.assign(name)
		looks[fmt.Sprintf("get Namespace %q", w.downstreamNamespaceOf(name)[0].GetName())] = true
	}
	const deployed = "True Deployed: Syncer deployment successful"
	perPass, left := 7, 0
	w.there.refuse = func(request string) error {
		if looks[request] {
			if left--; left < 0 {
				return context.DeadlineExceeded
			}
		}
		return nil
	}
	look := func(passes int, want string) {
		t.Helper()
		for pass := range passes {
			left = perPass
			if again := w.pass().RequeueAfter; pass < passes-1 && again >= time.Second {
				t.Errorf("it goes on after %s", again)
			}
			if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, want) {
				t.Fatalf("pass %d: Deployed = %s", pass, got)
			}
		}
	}
	look(3, deployed)
	if got := strings.Count(w.namespaces(), "Open"); got != 20 || strings.Contains(w.namespaces(), "Opening") {
		t.Errorf("%d are open: %s", got, w.namespaces())
	}
	left = 1000
	w.settle()
	w.wake()
	look(3, deployed) // at what is there already
	if _, fresh := w.r.installCache.byUID[testUID]; !fresh || len(w.r.installCache.inspections) != 0 {
		t.Error("that all is as it should be is not remembered")
	}
	perPass = 0
	w.wake()
	look(1, "Unknown ClusterUnreachable")
}

// obstruct has the physical cluster refuse the downstream Namespace of a Namespace.
func (w *world) obstruct(namespace string) {
	apply := fmt.Sprintf("apply Namespace %q", w.downstreamNamespaceOf(namespace)[0].GetName())
	w.there.refuse = func(request string) error {
		if request == apply {
			return apierrors.NewForbidden(corev1.Resource("namespaces"), "x", errInjected)
		}
		return nil
	}
}

// TestObstructedNamespace: what an API server has against one Namespace is told on that one, and keeps nothing else from being
// done: the others are opened, the syncer is kept as it should be. It is tried again ever more rarely, and the others are not
// looked at again for it.
func TestObstructedNamespace(t *testing.T) {
	forbidden := apierrors.NewForbidden(corev1.Resource("namespaces"), "x", errInjected)
	tests := map[string]struct {
		obstruct func(w *world)
		mend     func(w *world)
		want     string
	}{
		"in the physical cluster": {func(w *world) {
			w.obstruct("bank")
		}, func(w *world) { w.there.refuse = func(string) error { return nil } }, "is forbidden"},
		"in the workspace": {func(w *world) {
			w.kcp.refuse = func(request string) error {
				return map[bool]error{true: forbidden}[request == fmt.Sprintf("create RoleBinding %q", "bank/"+testNamespace()) || request == fmt.Sprintf("apply RoleBinding %q", "bank/"+testNamespace())]
			}
		}, func(w *world) { w.kcp.refuse = func(string) error { return nil } }, "is forbidden"},
		"by a webhook that hangs": {func(w *world) {
			w.there.hangs = func(object client.Object) bool {
				return object.GetName() == w.downstreamNamespaceOf("bank")[0].GetName()
			}
		}, func(w *world) { w.there.hangs = nil }, "a webhook there may hang"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := usual(t)
				w.ready()
				tc.obstruct(w)
				for _, name := range []string{"bank", "club", "shop"} {
					w.assign(name)
				}
				w.pass()
				w.pass()
				if got := w.namespaces(); !strings.HasPrefix(got, "bank Opening: ") || !strings.Contains(got, tc.want) || !strings.HasSuffix(got, ", club Open, shop Open") {
					t.Errorf("namespaces: %s", got)
				}
				if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
					t.Errorf("Deployed = %s", got)
				}
				if got := w.condition(workloadv1alpha1.ConditionSynced); !strings.HasPrefix(got, `False NotSynced: Namespace "bank": `) {
					t.Errorf("Synced = %s", got)
				}
				w.forget()
				if again := w.pass().RequeueAfter; again != namespaceRecheck {
					t.Errorf("RequeueAfter = %s at first", again)
				}
				others := append(w.downstreamNamespaceOf("club"), w.downstreamNamespaceOf("shop")...)
				for _, read := range slices.Concat(w.kcp.reads, w.there.reads) {
					if slices.ContainsFunc(others, func(o client.Object) bool {
						return strings.Contains(read, o.GetName()) && o.GetName() != agent.DeploymentName
					}) ||
						strings.Contains(read, "club/") || strings.Contains(read, "shop/") {
						t.Errorf("one that is open is looked at again: %s", read)
					}
				}
				w.clock.Step(5 * time.Minute)
				w.beat(w.clock.Now())
				if again := w.pass().RequeueAfter; again != refusedRecheck {
					t.Errorf("RequeueAfter = %s after some minutes", again)
				}
				tc.mend(w)
				w.pass()
				if got := w.namespaces(); got != "bank Open, club Open, shop Open" {
					t.Errorf("namespaces: %s", got)
				}
			})
		})
	}
}

// TestOpenedBesideAnObstructedOne: what could not be told, since the write was lost, is told by the next pass.
func TestOpenedBesideAnObstructedOne(t *testing.T) {
	w := usual(t)
	w.ready()
	w.obstruct("bank")
	lost := true
	w.kcp.refuse = func(write string) error {
		return map[bool]error{true: errInjected}[lost && strings.HasPrefix(write, "patch-status")]
	}
	w.assign("bank")
	w.assign("shop")
	if _, err := w.reconcile(); err == nil {
		t.Fatal("a status that is not written is an error")
	}
	lost = false
	w.pass()
	if got := w.namespaces(); !strings.HasSuffix(got, ", shop Open") {
		t.Errorf("namespaces: %s", got)
	}
}

// TestObstructedWithoutWatches: where nothing is watched, all is read again all the same.
func TestObstructedWithoutWatches(t *testing.T) {
	w := usual(t)
	w.ready()
	w.there.refusal = apierrors.NewForbidden(corev1.Resource("namespaces"), "", errInjected)
	w.wake()
	w.obstruct("bank")
	w.assign("bank")
	w.pass()
	if again := w.pass().RequeueAfter; again != namespaceRecheck || len(w.r.installCache.inspections) != 0 {
		t.Errorf("RequeueAfter = %s, and what was seen is remembered in %d rounds", again, len(w.r.installCache.inspections))
	}
}

// TestRestingRound: what was found right is looked at again when something may have changed, and after a while in any case.
func TestRestingRound(t *testing.T) {
	i, now := newInstallCache(), time.Unix(0, 0)
	if got := i.pause(testUID, now); got != namespaceRecheck {
		t.Errorf("rest() = %s of a target that was forgotten", got)
	}
	first := i.begin(testUID, [32]byte{}, "", false, now)
	i.forget(testUID)
	if i.begin(testUID, [32]byte{}, "", false, now) != first {
		t.Error("an inspection that takes several passes begins anew")
	}
	i.pause(testUID, now)
	second := i.begin(testUID, [32]byte{}, "", false, now)
	if second == first {
		t.Error("what may have changed is not looked at")
	}
	i.pause(testUID, now)
	if i.begin(testUID, [32]byte{}, "", false, now.Add(driftInterval-1)) != second {
		t.Error("all is looked at again")
	}
	if i.begin(testUID, [32]byte{}, "", false, now.Add(driftInterval)) == second {
		t.Error("nothing is ever looked at again")
	}
	third := i.begin(testUID, [32]byte{}, "", false, now)
	if i.pause(testUID, now); i.begin(testUID, [32]byte{}, "changed", false, now) == third {
		t.Error("what the syncer has seen to change is not looked at")
	}
}

// TestOneMoreNamespace: where all else was found right, a Namespace that is assigned costs requests for itself alone.
func TestOneMoreNamespace(t *testing.T) {
	w := open(t)
	w.assign("bank")
	w.forget()
	w.pass()
	if got := w.namespaces(); got != "bank Open, shop Open" {
		t.Fatalf("namespaces: %s", got)
	}
	for side, requests := range map[string][]string{"workspace": append(w.kcp.reads, w.kcp.writes...), "cluster": append(w.there.reads, w.there.writes...)} {
		if len(requests) > 4 {
			t.Errorf("requests to the %s: %q", side, requests)
		}
	}

	t.Log("what is taken back is made anew, also if a write of the record is lost")
	w.withdraw("bank")
	w.settle()
	w.withdrawn("bank")
	w.settle()
	w.decide("bank", workloadv1alpha1.IntentRun)
	w.settle()
	if got := w.namespaces(); got != "bank Open, shop Open" || !w.granted("bank") {
		t.Errorf("namespaces: %s, rights: %t", got, w.granted("bank"))
	}
}

// TestNotAdmittedWithoutRights: a Namespace is not open while kcp has not given the syncer its rights, though its downstream Namespace
// is there.
func TestNotAdmittedWithoutRights(t *testing.T) {
	w := open(t)
	w.assign("bank")
	w.kcp.refuse = func(request string) error {
		return map[bool]error{true: apierrors.NewServiceUnavailable("injected")}[request == fmt.Sprintf("apply RoleBinding %q", "bank/"+testNamespace())]
	}
	if _, err := w.reconcile(); err == nil || strings.HasPrefix(w.record("bank"), "True") {
		t.Errorf("Reconcile() = %v, Admitted = %s", err, w.record("bank"))
	}
	w.kcp.refuse = func(string) error { return nil }
	w.settle()
	if got := w.namespaces(); got != "bank Open, shop Open" || !w.granted("bank") {
		t.Errorf("namespaces: %s", got)
	}
}

// TestAdmittedWithoutStatus: a status that kcp refuses keeps no Namespace from being opened.
func TestAdmittedWithoutStatus(t *testing.T) {
	w := open(t)
	w.report(func(status *workloadv1alpha1.SyncTargetStatus) {
		status.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps", State: workloadv1alpha1.ResourceAccepted}}
	})
	w.applied("shop")
	w.settle()
	w.assign("bank")
	w.kcp.refuse = func(request string) error {
		return map[bool]error{true: apierrors.NewInternalError(errInjected)}[strings.HasPrefix(request, "patch-status SyncTarget")]
	}
	if _, err := w.reconcile(); err == nil || !strings.HasPrefix(w.record("bank"), "True") {
		t.Errorf("Reconcile() = %v, Admitted = %s", err, w.record("bank"))
	}
}

// TestChangedLabels: the labels of a Namespace reach the downstream Namespace, and no other is looked at.
func TestChangedLabels(t *testing.T) {
	w := open(t)
	w.assign("bank")
	w.settle()
	shop := namespace("shop")
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(shop), shop); err != nil {
		t.Fatal(err)
	}
	shop.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	if err := w.kcp.raw.Update(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	w.forget()
	w.pass()
	if want := []string{fmt.Sprintf("apply Namespace %q", w.downstreamNamespace()[0].GetName())}; !slices.Equal(w.there.writes, want) || len(w.there.reads) > 2 {
		t.Errorf("writes %q, want %q; reads %q", w.there.writes, want, w.there.reads)
	}
}

// TestProvenInstallation: an inspection looks at Namespaces alone only while the verdict of the full inspection holds.
func TestProvenInstallation(t *testing.T) {
	i, now, plan := newInstallCache(), time.Unix(0, 0), namespacePlan{}
	if i.begin(testUID, [32]byte{}, "", false, now).proven != nil || i.covers(testUID, plan, false) {
		t.Error("nothing was found right yet")
	}
	i.put(testUID, [32]byte{}, verdict{requeueAfter: time.Hour}, now)
	i.end(testUID)
	inspection := i.begin(testUID, [32]byte{}, "", true, now)
	if inspection.proven == nil || !i.covers(testUID, plan, false) {
		t.Error("all is looked at again")
	}
	i.pause(testUID, now)
	if i.begin(testUID, [32]byte{}, "", true, now) != inspection {
		t.Error("an inspection that waits begins anew")
	}
	if i.begin(testUID, [32]byte{}, "", false, now).proven != nil {
		t.Error("it goes on though the verdict does not hold any more")
	}
}

// TestRightsThatStay: a Namespace whose rights cannot be taken back says so, is tried again, and keeps nothing else from being
// done.
func TestRightsThatStay(t *testing.T) {
	w := open(t)
	w.assign("bank")
	w.settle()
	refused := apierrors.NewForbidden(rbacv1.Resource("rolebindings"), "x", errInjected)
	w.kcp.refuse = func(request string) error {
		return map[bool]error{true: refused}[request == fmt.Sprintf("delete RoleBinding %q", "shop/"+testNamespace())]
	}
	w.withdraw("shop")
	w.settle()
	w.withdrawn("shop")
	w.assign("club")
	for range 3 {
		if _, err := w.reconcile(); err == nil {
			t.Error("it is not tried again")
		}
	}
	if got := w.namespaces(); !strings.HasPrefix(got, "bank Open, club Open, shop Closing: ") || !strings.Contains(got, "is forbidden") {
		t.Errorf("namespaces: %s", got)
	}
	w.kcp.refuse = func(string) error { return nil }
	w.settle()
	if got := w.namespaces(); got != "bank Open, club Open" || w.granted("shop") {
		t.Errorf("namespaces: %s", got)
	}
}

// TestNamespacesAreNotWatched: however many Namespaces are opened, the controller watches the syncer alone.
func TestNamespacesAreNotWatched(t *testing.T) {
	w := open(t)
	w.wake()
	w.settle()
	if diff := cmp.Diff([]string{`Deployment "` + testNamespace() + `/syncer"`}, w.there.watched); diff != "" {
		t.Errorf("watched: -want +got\n%s", diff)
	}
}

// TestSweep: a downstream Namespace that stands for nothing any more is cleared away: in the pass that ends its Namespace, or, if that
// failed, at the next full look.
func TestSweep(t *testing.T) {
	closed := func(t *testing.T, w *world) {
		w.withdraw("shop")
		w.settle()
		w.withdrawn("shop")
		w.settle()
		if got := w.namespaces(); got != "" {
			t.Fatalf("namespaces: %s", got)
		}
	}
	object := func(w *world, mark func(*corev1.ConfigMap)) {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.downstreamNamespace()[0].GetName(), Name: "object"}}
		mark(c)
		if err := w.there.raw.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	copied := func(c *corev1.ConfigMap) {
		c.Labels = map[string]string{workloadv1alpha1.LabelKey: testKey()}
		c.Annotations = map[string]string{workloadv1alpha1.AnnotationSourceUID: "source"}
	}
	earlier := func(w *world) {
		place := w.downstreamNamespace()[0] // the fake has kept what was in it
		place.GetLabels()[workloadv1alpha1.LabelUID] = "earlier"
		if err := w.there.raw.Create(t.Context(), place); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		reason string
		arrange
		left bool
	}{
		"left by the syncer": {"At once, without another sign.", closed, false},
		"with a copy": {"Its resource is served no more; the Namespace is closed all the same.", func(t *testing.T, w *world) {
			object(w, copied)
			closed(t, w)
		}, false},
		"with a copy, on silence": {"The Assignment is gone, which says nothing.", func(t *testing.T, w *world) {
			object(w, copied)
			if err := w.kcp.raw.Delete(t.Context(), w.assigned("shop")); err != nil {
				t.Fatal(err)
			}
			w.wake()
		}, true},
		"with a copy of an earlier SyncTarget": {"It was left running with its cluster out of reach, and is not this one's to end.", func(t *testing.T, w *world) {
			closed(t, w)
			earlier(w)
			object(w, copied)
			w.wake()
		}, true},
		"of an earlier SyncTarget": {"It holds nothing.", func(t *testing.T, w *world) {
			closed(t, w)
			earlier(w)
			w.wake()
		}, false},
		"open": {"", func(_ *testing.T, w *world) { w.wake() }, true},
		"an old cache": {"The Assignment itself says that it is open.", func(t *testing.T, w *world) {
			w.cache.reader = emptyCache{w.kcp.raw}
			w.wake()
			_, _ = w.reconcile()
			if !w.furnished() {
				t.Error("cleared away")
			}
			w.cache.reader = w.kcp.raw
		}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			tc.arrange(t, w)
			w.settle()
			if got := w.furnished(); got != tc.left {
				t.Errorf("%s\nleft = %t", tc.reason, got)
			}
		})
	}
}

// TestRevokedAfterTheNamespace: copies that the syncer could not remove go with their downstream Namespace, and are not said to be gone
// before it is.
func TestRevokedAfterTheNamespace(t *testing.T) {
	w := open(t)
	copied := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.downstreamNamespace()[0].GetName(), Name: "object",
		Labels:      map[string]string{workloadv1alpha1.LabelKey: testKey()},
		Annotations: map[string]string{workloadv1alpha1.AnnotationSourceUID: "source"},
	}}
	if err := w.there.raw.Create(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	w.there.slowNamespaces = true
	w.withdraw("shop")
	w.settle()
	w.withdrawn("shop")
	for range 5 {
		if again := w.pass().RequeueAfter; again == 0 || again > namespaceRecheck {
			t.Errorf("the next pass is after %s", again)
		}
		w.clock.Step(namespaceRecheck)
	}
	if got := w.record("shop"); got != "False Revoking: "+cleaningUpMessage {
		t.Errorf("Admitted = %s while the downstream Namespace is being deleted", got)
	}
	w.there.slowNamespaces = false
	w.there.finishNamespaces(t)
	w.settle()
	if got := w.record("shop"); got != "False Revoked: "+revokedMessage {
		t.Errorf("Admitted = %s in the end", got)
	}
}

// TestSweepIsTriedAgain: what cannot be seen now is looked at within a minute or so, and the syncer is none the worse for it.
func TestSweepIsTriedAgain(t *testing.T) {
	w := open(t)
	w.there.silent = errInjected
	w.withdraw("shop")
	w.settle()
	w.withdrawn("shop")
	again := w.pass().RequeueAfter
	if again == 0 || again > refusedRecheck || !w.furnished() {
		t.Fatalf("RequeueAfter = %s, furnished = %t", again, w.furnished())
	}
	want := "True Deployed: Syncer deployment successful; in the physical cluster the downstream Namespace of a closed Namespace may still stand: the call to the cluster failed"
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != want {
		t.Errorf("Deployed = %s, want %s", got, want)
	}
	w.settle()
	w.there.silent = nil
	w.clock.Step(refusedRecheck)
	w.settle()
	if w.furnished() {
		t.Error("the downstream Namespace stands")
	}
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != "True Deployed: Syncer deployment successful" {
		t.Errorf("Deployed = %s", got)
	}
}

// TestSweepWithoutKcp: that kcp does not say what is open is not said of the physical cluster.
func TestSweepWithoutKcp(t *testing.T) {
	w := open(t)
	w.withdraw("shop")
	w.settle()
	w.withdrawn("shop")
	before := w.condition(workloadv1alpha1.ConditionDeployed)
	w.kcp.refuse = func(request string) error {
		swept := slices.Contains(w.there.reads, `list NamespaceList ""`)
		if swept && request == `get SyncTarget "edge-1"` {
			return errInjected
		}
		return nil
	}
	if _, err := w.reconcile(); err == nil || !w.furnished() {
		t.Errorf("Reconcile() = %v, furnished = %t", err, w.furnished())
	}
	if got := w.condition(workloadv1alpha1.ConditionDeployed); got != before {
		t.Errorf("Deployed = %s", got)
	}
}

// TestLeftNamespaceIsTold: once, and why it stays.
func TestLeftNamespaceIsTold(t *testing.T) {
	for name, end := range map[string]func(*world){
		"closed": func(w *world) {
			w.withdraw("shop")
			w.settle()
			w.withdrawn("shop")
		},
		"deleted": func(w *world) {
			w.delete()
			w.pass()
			w.withdrawn("shop")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			place, rights := w.downstreamNamespace()[0], w.downstreamNamespace()[1]
			theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: place.GetName(), Name: "theirs"}}
			if err := w.there.raw.Create(t.Context(), theirs); err != nil {
				t.Fatal(err)
			}
			end(w)
			told := w.toldOfTheLeft()
			want := []string{`Normal NamespaceLeft: Namespace "` + place.GetName() + `" in the physical cluster, which stood for Namespace "shop", is left standing: ` +
				`ConfigMap "theirs" in it is not ours. Remove the Namespace by hand when nobody needs it any more`}
			if diff := cmp.Diff(want, told); diff != "" {
				t.Errorf("Events: -want +got\n%s", diff)
			}
			if err := w.there.raw.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs); err != nil {
				t.Errorf("theirs: %v", err)
			}
			if err := w.there.raw.Get(t.Context(), client.ObjectKeyFromObject(rights), rights); !apierrors.IsNotFound(err) {
				t.Errorf("our rights: %v", err)
			}
		})
	}
}

// toldOfTheLeft makes some passes and returns the Events about Namespaces that are left standing.
func (w *world) toldOfTheLeft() []string {
	w.t.Helper()
	for range 5 {
		if !w.gone() {
			w.pass()
		}
	}
	return slices.DeleteFunc(slices.Clone(w.events.events), func(e string) bool { return !strings.Contains(e, workloadv1alpha1.ReasonNamespaceLeft) })
}

// TestLeftNamespacesAreToldAtOnce: client-go's recorder folds Events that are alike. The kubeconfig's credentials
// are not told.
func TestLeftNamespacesAreToldAtOnce(t *testing.T) {
	for name, end := range map[string]func(*world){
		"closed": func(w *world) {
			w.withdraw("shop")
			w.withdraw("zoo")
			w.settle()
			w.withdrawn("shop", "zoo")
		},
		"deleted": func(w *world) {
			w.delete()
			w.pass()
			w.withdrawn("shop", "zoo")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.assign("zoo")
			w.settle()
			for _, name := range []string{"shop", "zoo"} {
				place := agent.DownstreamNamespace(agent.Config{Target: w.target(), ClusterName: testCluster}, name)[0]
				theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: place.GetName(), Name: "s3cret"}}
				if err := w.there.raw.Create(t.Context(), theirs); err != nil {
					t.Fatal(err)
				}
			}
			end(w)
			told := w.toldOfTheLeft()
			if len(told) != 1 || !strings.Contains(told[0], `for Namespace "shop"`) || !strings.Contains(told[0], `for Namespace "zoo"`) ||
				strings.Count(told[0], `ConfigMap "[redacted]" in it is not ours`) != 2 {
				t.Errorf("Events: %q", told)
			}
		})
	}
}

// TestNothingIsAskedWithoutDownstreamNamespaces: what a cluster serves takes memory to know.
func TestNothingIsAskedWithoutDownstreamNamespaces(t *testing.T) {
	w := usual(t)
	w.ready()
	w.delete()
	w.finish()
	if !w.gone() || w.there.asked != 0 {
		t.Errorf("gone = %t, asked %d times", w.gone(), w.there.asked)
	}
}

// TestSweepAfterAFalseStart: a Namespace that is closed before it was open leaves nothing.
func TestSweepAfterAFalseStart(t *testing.T) {
	w := usual(t)
	w.ready()
	w.there.refuse = func(request string) error {
		if strings.HasPrefix(request, "apply RoleBinding") {
			return errInjected
		}
		return nil
	}
	w.assign("shop")
	_, _ = w.reconcile()
	place := w.downstreamNamespace()[0]
	if err := w.there.raw.Get(t.Context(), client.ObjectKeyFromObject(place), place); err != nil || w.namespaces() != "shop Opening" {
		t.Fatalf("the downstream Namespace: %v; namespaces: %s", err, w.namespaces())
	}
	w.there.refuse = func(string) error { return nil }
	w.withdraw("shop")
	w.settle()
	err := w.there.raw.Get(t.Context(), client.ObjectKeyFromObject(place), place)
	if client.IgnoreNotFound(err) != nil || err == nil || w.namespaces() != "" {
		t.Errorf("the downstream Namespace: %v; namespaces: %s", err, w.namespaces())
	}
}

// TestClosingKeepsItsDownstreamNamespace: without it the syncer has no right to see that nothing of its own is left.
func TestClosingKeepsItsDownstreamNamespace(t *testing.T) {
	tests := map[string]struct {
		reason  string
		drained bool
	}{
		"not yet left": {"Somebody deleted it by hand.", false},
		"left":         {"It is not made anew.", true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			w.withdraw("shop")
			w.settle()
			if tc.drained {
				// The revoking hangs, so the Namespace stays in the status.
				var binding rbacv1.RoleBinding
				if err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: testNamespace()}, &binding); err != nil {
					t.Fatal(err)
				}
				binding.Finalizers = append(binding.Finalizers, "example.com/other")
				if err := w.kcp.raw.Update(t.Context(), &binding); err != nil {
					t.Fatal(err)
				}
				w.withdrawn("shop")
			}
			w.removeDownstreamNamespace()
			w.wake()
			w.settle()
			if got := w.namespaces(); !strings.HasPrefix(got, "shop Closing") {
				t.Errorf("%s\nnamespaces: %s", tc.reason, got)
			}
			if got := w.furnished(); got == tc.drained {
				t.Errorf("%s\nfurnished = %t", tc.reason, got)
			}
		})
	}
}
