package placement

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func (w *world) wantPlaced(reason string, want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(append([]string{}, want...), w.placed()); diff != "" {
		w.t.Errorf("%s: Assignments: -want +got\n%s", reason, diff)
	}
}

// wantNoWrites: whatever was read, nothing is written.
func (w *world) wantNoWrites(reason string) {
	w.t.Helper()
	w.kcp.mu.Lock()
	defer w.kcp.mu.Unlock()
	if len(w.kcp.writes) > 0 {
		w.t.Errorf("%s: written: %q", reason, w.kcp.writes)
	}
}

func TestSchedule(t *testing.T) {
	w := newWorld(t, "a", "default")
	w.settle()

	a := w.assignments()
	if len(a) != 1 {
		t.Fatalf("Assignments %q; Namespace \"default\" holds kubeconfigs", w.placed())
	}
	target := w.target(a[0].Annotations[workloadv1alpha1.AnnotationSyncTarget])
	key := workloadv1alpha1.Key(testCluster, target.Name)
	if a[0].Namespace != workloadv1alpha1.SyncerNamespace(target.Name, key) || a[0].Name != workloadv1alpha1.AssignmentName("uid-a") ||
		a[0].Labels[workloadv1alpha1.LabelKey] != key || a[0].Labels[workloadv1alpha1.LabelUID] != string(target.UID) {
		t.Errorf("Assignment %+v", a[0].ObjectMeta)
	}
	if got := w.condition(workloadv1alpha1.ConditionScheduled); got != "True Scheduled" {
		t.Errorf("Scheduled = %s", got)
	}
	if target.Status.Assignments == nil || target.Status.Assignments.Pending != 1 {
		t.Errorf("status.assignments of the SyncTarget: %+v", target.Status.Assignments)
	}
	if !meta.IsStatusConditionTrue(target.Status.Conditions, workloadv1alpha1.ConditionReady) {
		t.Error("the condition Ready of the SyncTarget is gone")
	}
	if got := w.namespace("a").Annotations[workloadv1alpha1.AnnotationPlacement]; !strings.Contains(got, target.Name) {
		t.Errorf("annotation %q", got)
	}
	if diff := cmp.Diff([]string{"Placement shop: Normal Scheduled", "Namespace a: Normal Scheduled"}, w.events.events); diff != "" {
		t.Errorf("Events: -want +got\n%s", diff)
	}
	if writes := w.kcp.writes; writes[0] != `patch Placement "shop"` || !strings.HasPrefix(writes[1], "create Assignment") && !strings.HasPrefix(writes[2], "create Assignment") {
		t.Errorf("the finalizer is not the first write: %q", writes)
	}

	w.syncAll()
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionAvailable); got != "True Available" {
		t.Errorf("Available = %s", got)
	}
	w.forget()
	if result := w.settle(); result.RequeueAfter != 0 {
		t.Errorf("at rest the workspace is looked at again after %s", result.RequeueAfter)
	}
	if len(w.kcp.writes)+len(w.kcp.reads) > 0 {
		t.Errorf("requests at rest: %q, %q", w.kcp.reads, w.kcp.writes)
	}
}

// TestReportsArePutOff: what tells about a workspace is written once a second at most; Assignments are not held up by that.
func TestReportsArePutOff(t *testing.T) {
	w := newWorld(t, "a")
	w.settle()
	w.clock.Step(reportInterval)
	w.forget()
	if err := w.kcp.raw.Create(t.Context(), newNamespace("b")); err != nil {
		t.Fatal(err)
	}
	w.pass()
	if got := len(w.kcp.requests("patch-status Placement")); got != 1 {
		t.Errorf("status was written %d times: %q", got, w.kcp.writes)
	}
	w.forget()
	w.clock.Step(reportInterval / 4)
	if err := w.kcp.raw.Create(t.Context(), newNamespace("c")); err != nil {
		t.Fatal(err)
	}
	result := w.pass()
	if diff := cmp.Diff(1, len(w.kcp.writes)); diff != "" || len(w.kcp.requests("create Assignment")) != 1 {
		t.Errorf("a quarter of a second later: %q", w.kcp.writes)
	}
	if result.RequeueAfter != reportInterval*3/4 {
		t.Errorf("RequeueAfter = %s", result.RequeueAfter)
	}
	if diff := cmp.Diff([]string{"Placement shop: Normal Scheduled", "Namespace c: Normal Scheduled"}, w.events.events); diff != "" {
		t.Errorf("Events: -want +got\n%s", diff)
	}
	w.clock.Step(result.RequeueAfter)
	w.pass()
	if got := w.placement().Status.Summary.Namespaces; got != 3 {
		t.Errorf("status counts %d Namespaces", got)
	}
}

// TestEventsArePutOff: what a report tells is told with it, once.
func TestEventsArePutOff(t *testing.T) {
	w := newWorld(t)
	w.settle()
	for _, name := range []string{"edge-1", "edge-2"} {
		edit(w, &workloadv1alpha1.SyncTarget{}, name, func(target *workloadv1alpha1.SyncTarget) { target.Spec.Unschedulable = true })
	}
	w.clock.Step(reportInterval)
	w.pass()
	w.forget()
	if err := w.kcp.raw.Create(t.Context(), newNamespace("a")); err != nil {
		t.Fatal(err)
	}
	w.pass()
	w.wantNoWrites("too early for a report")
	if len(w.events.events) > 0 {
		t.Errorf("Events %q", w.events.events)
	}
	w.settle()
	if diff := cmp.Diff([]string{"Placement shop: Warning FailedScheduling", "Namespace a: Warning FailedScheduling"}, w.events.events); diff != "" {
		t.Errorf("Events: -want +got\n%s", diff)
	}
}

func TestDrain(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	from, to := w.drain()
	w.settle()
	w.wantPlaced("the replacement comes first", fmt.Sprintf("a on %s: Run Scheduled", from), fmt.Sprintf("a on %s: Run Drain", to))
	w.run()
	w.wantPlaced("moved", fmt.Sprintf("a on %s: Run Drain", to))
	if got := w.target(from).Status.Drain; got == nil || got.Remaining != 0 {
		t.Errorf("status.drain = %+v", got)
	}
	edit(w, &workloadv1alpha1.SyncTarget{}, from, func(target *workloadv1alpha1.SyncTarget) { target.Spec.Drain = nil })
	w.run()
	if target := w.target(from); target.Status.Drain != nil || len(target.Status.Taints) > 0 {
		t.Errorf("after the drain: %+v, %+v", target.Status.Drain, target.Status.Taints)
	}
	w.settle()
	w.wantNoWrites("at rest")
}

// TestConflict: a lost race is no error, and the next pass decides anew.
func TestConflict(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	conflict := apierrors.NewConflict(workloadv1alpha1.SchemeGroupVersion.WithResource("assignments").GroupResource(), "a", errInjected)
	exists := apierrors.NewAlreadyExists(workloadv1alpha1.SchemeGroupVersion.WithResource("assignments").GroupResource(), "a")
	for name, refusal := range map[string]error{"create": exists, "patch": conflict, "delete": conflict} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "a")
			w.run()
			_, to := w.drain()
			refusals := 3
			w.kcp.refuse = func(request string) error {
				if strings.HasPrefix(request, name+" Assignment") && refusals > 0 {
					refusals--
					return refusal
				}
				return nil
			}
			last := time.Duration(0)
			for refusals > 0 {
				w.clock.Step(31 * time.Second)
				w.syncAll()
				before := refusals
				result, err := w.reconcile()
				if err != nil {
					t.Fatal(err)
				}
				if refusals < before && (result.RequeueAfter <= last || result.RequeueAfter > time.Second) {
					t.Errorf("RequeueAfter = %s, before %s", result.RequeueAfter, last)
				}
				if refusals < before {
					last = result.RequeueAfter
				}
			}
			w.run()
			w.wantPlaced("in the end", fmt.Sprintf("a on %s: Run Drain", to))
		})
	}
}

// TestTwoSchedulers: at a change of leader the earlier one still has a pass to make, on a cache from before.
func TestTwoSchedulers(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.pass() // the finalizer
	stale := &logicalCluster{reader: w.kcp.copyOf(t)}
	w.run()
	before := w.placed()
	earlier := w.newReconciler(stale, prometheus.NewRegistry())
	w.clock.Step(time.Minute)
	if _, err := earlier.Reconcile(t.Context(), request(testCluster)); err != nil {
		t.Error(err)
	}
	w.wantPlaced("decided twice", before...)
	if got := w.kcp.requests("create"); len(got) > 0 {
		t.Errorf("created: %q", got)
	}

	// It still sees what the user has taken back since.
	edit(w, &workloadv1alpha1.Placement{}, "shop", func(p *workloadv1alpha1.Placement) { p.Spec.NamespaceSelector.MatchLabels["app"] = "other" })
	stale.reader = w.kcp.copyOf(t)
	edit(w, &workloadv1alpha1.Placement{}, "shop", func(p *workloadv1alpha1.Placement) { p.Spec.NamespaceSelector.MatchLabels["app"] = "shop" })
	w.clock.Step(time.Minute)
	if _, err := earlier.Reconcile(t.Context(), request(testCluster)); err != nil {
		t.Error(err)
	}
	w.wantPlaced("withdrawn by what is no longer so", before...)
}

// TestCrashes: whichever write is the last of a process, and whether or not it was made, the next process completes what was begun.
func TestCrashes(t *testing.T) {
	story := func(w *world, crash func()) []string {
		w.settleThrough(crash)
		w.syncAll()
		_, to := w.drain()
		for range 4 {
			w.settleThrough(crash)
			w.syncAll()
			w.clock.Step(31 * time.Second)
		}
		w.settleThrough(crash)
		return []string{fmt.Sprintf("a on %s: Run Drain", to)}
	}
	for _, lost := range []bool{false, true} {
		for n := 1; ; n++ {
			w := newWorld(t, "a")
			w.kcp.failWrite, w.kcp.lost = n, lost
			want := story(w, w.restart)
			if len(w.kcp.writes) < n {
				if n < 15 {
					t.Errorf("only %d writes", n)
				}
				break
			}
			w.wantPlaced(fmt.Sprintf("crash at write %d %q, lost %t", n, w.kcp.writes[n-1], lost), want...)
			if got := w.condition(workloadv1alpha1.ConditionAvailable); got != "True Available" {
				t.Errorf("crash at write %d, lost %t: Available = %s", n, lost, got)
			}
		}
	}
}

// settleThrough settles, with a new process after each failure.
func (w *world) settleThrough(crash func()) {
	w.t.Helper()
	for range 30 {
		w.clock.Step(reportInterval)
		before := len(w.kcp.writes)
		if _, err := w.reconcile(); err != nil {
			if !errors.Is(err, errInjected) {
				w.t.Fatal(err)
			}
			crash()
			continue
		}
		if before == len(w.kcp.writes) {
			return
		}
	}
	w.t.Fatalf("never at rest: %q", w.kcp.writes)
}

// TestFailingWrite: it keeps no other from being made, and is told.
func TestFailingWrite(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.pass() // the finalizer
	w.clock.Step(reportInterval)
	w.forget()
	refused := workloadv1alpha1.AssignmentName("uid-b")
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "create Assignment") && strings.Contains(request, refused) {
			return errInjected
		}
		return nil
	}
	_, err := w.reconcile()
	if err == nil || !strings.Contains(err.Error(), `Namespace "b"`) {
		t.Errorf("Reconcile() = %v", err)
	}
	if got := len(w.assignments()); got != 2 {
		t.Errorf("%d Assignments: %q", got, w.kcp.writes)
	}
	for _, event := range w.events.events {
		if event == "Namespace b: Normal Scheduled" {
			t.Error("told what was not written")
		}
	}
	if len(w.events.events) != 4 || len(w.kcp.requests("patch-status Placement")) != 1 {
		t.Errorf("Events %q, writes %q", w.events.events, w.kcp.writes)
	}
	w.kcp.refuse = func(string) error { return nil }
	w.settle()
	if got := len(w.assignments()); got != 3 {
		t.Errorf("%d Assignments in the end", got)
	}
}

func TestManyFailingWrites(t *testing.T) {
	w := newWorld(t, "a", "b", "c", "d", "e", "f")
	w.pass()
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, "create") {
			return errInjected
		}
		return nil
	}
	if _, err := w.reconcile(); err == nil || !strings.HasPrefix(err.Error(), "6 writes failed, among them: ") || strings.Count(err.Error(), "creating") != maxErrors {
		t.Errorf("Reconcile() = %v", err)
	}
}

// TestClaimsNotAccepted: without them the Namespaces are not seen, which says nothing about them.
func TestClaimsNotAccepted(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	before := w.placed()
	edit(w, &apisv1alpha2.APIBinding{}, workloadv1alpha1.GroupName, func(b *apisv1alpha2.APIBinding) {
		for i := range b.Spec.PermissionClaims {
			b.Spec.PermissionClaims[i].State = apisv1alpha2.ClaimRejected
		}
	})
	w.kcp.hidden.Insert("a")
	w.settle()
	if diff := cmp.Diff([]string{`patch-status Placement "shop"`}, w.kcp.writes); diff != "" {
		t.Errorf("written: -want +got\n%s", diff)
	}
	if got := w.condition(workloadv1alpha1.ConditionScheduled); got != "Unknown ValidationFailed" {
		t.Errorf("Scheduled = %s", got)
	}
	if len(w.kcp.reads) > 0 {
		t.Errorf("read: %q", w.kcp.reads)
	}
	edit(w, &apisv1alpha2.APIBinding{}, workloadv1alpha1.GroupName, func(b *apisv1alpha2.APIBinding) { b.Spec = newBinding().Spec })
	w.kcp.hidden.Clear()
	w.settle()
	w.wantPlaced("after the claims were accepted again", before...)
	if got := w.condition(workloadv1alpha1.ConditionScheduled); got != "True Scheduled" {
		t.Errorf("Scheduled = %s", got)
	}
}

// TestBindingDeleted: kcp deletes the Placements with the APIBinding, which is not what ends the workloads.
func TestBindingDeleted(t *testing.T) {
	for name, stale := range map[string]bool{"seen": false, "the cache does not show it": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "a")
			w.run()
			before := w.placed()
			edit(w, &apisv1alpha2.APIBinding{}, workloadv1alpha1.GroupName, func(b *apisv1alpha2.APIBinding) { b.Finalizers = []string{"kcp.io/any"} })
			if err := w.kcp.raw.Delete(t.Context(), w.placement()); err != nil {
				t.Fatal(err)
			}
			if stale {
				w.cluster.reader = w.kcp.copyOf(t)
			}
			if err := w.kcp.raw.Delete(t.Context(), newBinding()); err != nil {
				t.Fatal(err)
			}
			w.clock.Step(time.Minute)
			w.pass()
			w.wantPlaced("the binding is being deleted", before...)
			if got := w.placement().Finalizers; len(got) != 1 {
				t.Errorf("finalizers %q", got)
			}
			if len(w.events.events) > 0 {
				t.Errorf("Events %q", w.events.events)
			}
			w.cluster.reader = w.kcp.visible()
			edit(w, &apisv1alpha2.APIBinding{}, workloadv1alpha1.GroupName, func(b *apisv1alpha2.APIBinding) { b.Finalizers = nil })
			if err := w.kcp.raw.Create(t.Context(), newBinding()); err != nil {
				t.Fatal(err)
			}
			w.settle()
			if got := w.assignments()[0].Spec; got.Intent != workloadv1alpha1.IntentWithdraw || got.Reason != workloadv1alpha1.AssignmentPlacementDeleted {
				t.Errorf("the Placement alone is deleted: %s %s", got.Intent, got.Reason)
			}
		})
	}
}

func TestPlacementDeleted(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	if err := w.kcp.raw.Delete(t.Context(), w.placement()); err != nil {
		t.Fatal(err)
	}
	w.settle()
	var left workloadv1alpha1.PlacementList
	if err := w.kcp.raw.List(t.Context(), &left); err != nil || len(left.Items) != 0 {
		t.Errorf("the Placement is still there: %v", err)
	}
	if got := w.assignments()[0].Spec.Intent; got != workloadv1alpha1.IntentWithdraw {
		t.Errorf("intent %s", got)
	}
	for _, list := range []string{"AssignmentList", "PlacementList", "SyncTargetList", "NamespaceList", "APIBindingList"} {
		if len(w.kcp.requests("list "+list)) == 0 {
			t.Errorf("withdrawn without a live read of %s: %q", list, w.kcp.reads)
		}
	}
	w.run()
	w.wantPlaced("in the end")
	if got := w.namespace("a").Annotations; len(got) > 0 {
		t.Errorf("annotations %q", got)
	}
}

// grant is what the controller gives a syncer in a Namespace.
func (w *world) grant(namespace string) *rbacv1.RoleBinding {
	w.t.Helper()
	a := w.assignments()[0]
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: a.Namespace}}
	if err := w.kcp.raw.Create(w.t.Context(), binding); err != nil {
		w.t.Fatal(err)
	}
	return binding
}

// TestHiddenOrGone: kcp says "not found" of both.
func TestHiddenOrGone(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	before := w.placed()
	granted := w.grant("a")
	w.kcp.hidden.Insert("a")
	result := w.settle()
	w.wantPlaced("hidden", before...)
	if result.RequeueAfter <= 0 || result.RequeueAfter > hiddenRecheck {
		t.Errorf("RequeueAfter = %s", result.RequeueAfter)
	}
	if got := w.kcp.requests("get Namespace"); len(got) != 1 {
		t.Errorf("read more than once a minute: %q", got)
	}
	w.kcp.hidden.Clear()
	w.settle()
	w.wantPlaced("seen again", before...)

	if err := w.kcp.raw.Delete(t.Context(), w.namespace("a")); err != nil {
		t.Fatal(err)
	}
	w.kcp.refuse = func(request string) error {
		if request == `get Namespace "a"` {
			return &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound}}
		}
		return nil
	}
	if _, err := w.reconcile(); err == nil {
		t.Error("that Namespaces are not served is not told")
	}
	w.wantPlaced("Namespaces are not served", before...)
	w.kcp.refuse = func(string) error { return nil }
	w.pass()
	w.wantPlaced("the rights are still there", before...)
	if err := w.kcp.raw.Delete(t.Context(), granted); err != nil {
		t.Fatal(err)
	}
	w.clock.Step(hiddenRecheck)
	w.pass()
	if got := w.assignments()[0].Spec; got.Intent != workloadv1alpha1.IntentWithdraw || got.Reason != workloadv1alpha1.AssignmentNamespaceDeleted {
		t.Errorf("gone: %s %s", got.Intent, got.Reason)
	}
	w.run()
	w.wantPlaced("in the end")
}

// TestAnotherNamespace: one that was made anew under the same name is another one.
func TestAnotherNamespace(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	w.grant("a")
	if err := w.kcp.raw.Delete(t.Context(), w.namespace("a")); err != nil {
		t.Fatal(err)
	}
	another := newNamespace("a")
	another.UID = "another"
	if err := w.kcp.raw.Create(t.Context(), another); err != nil {
		t.Fatal(err)
	}
	w.settle()
	withdrawn := 0
	for _, a := range w.assignments() {
		if a.Spec.Namespace.UID == "uid-a" && a.Spec.Reason == workloadv1alpha1.AssignmentNamespaceDeleted {
			withdrawn++
		}
	}
	if withdrawn != 1 {
		t.Errorf("Assignments %q", w.placed())
	}
	w.run()
	if got := w.assignments(); len(got) != 1 || got[0].Spec.Namespace.UID != "another" {
		t.Errorf("in the end: %q", w.placed())
	}
}

// TestSilence: the reconciler says which evictions are paused, and looks again.
func TestSilence(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	var target workloadv1alpha1.SyncTarget
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Name: "edge-1"}, &target); err != nil {
		t.Fatal(err)
	}
	meta.SetStatusCondition(&target.Status.Conditions, metav1.Condition{Type: workloadv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonUnhealthy})
	if err := w.kcp.raw.Status().Update(t.Context(), &target); err != nil {
		t.Fatal(err)
	}
	w.silence.paused.Insert(target.UID)
	result := w.settle()
	if result.RequeueAfter != pausedRecheck {
		t.Errorf("RequeueAfter = %s", result.RequeueAfter)
	}
	effects := func() (effects []workloadv1alpha1.TaintEffect) {
		for _, taint := range w.target("edge-1").Status.Taints {
			effects = append(effects, taint.Effect)
		}
		return effects
	}
	if diff := cmp.Diff([]workloadv1alpha1.TaintEffect{workloadv1alpha1.TaintNoSchedule}, effects()); diff != "" {
		t.Errorf("taints: -want +got\n%s", diff)
	}
	w.silence.paused.Clear()
	w.settle()
	if diff := cmp.Diff([]workloadv1alpha1.TaintEffect{workloadv1alpha1.TaintNoSchedule, workloadv1alpha1.TaintNoExecute}, effects()); diff != "" {
		t.Errorf("taints: -want +got\n%s", diff)
	}
}

// TestStaleTarget: a SyncTarget that was made anew under the same name keeps its own status.
func TestStaleTarget(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	stale := w.target("edge-1")
	if err := w.kcp.raw.Delete(t.Context(), w.target("edge-1")); err != nil {
		t.Fatal(err)
	}
	edit(w, &workloadv1alpha1.SyncTarget{}, "edge-1", func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil })
	another := newTarget("edge-1")
	another.UID = "another"
	if err := w.kcp.raw.Create(t.Context(), another); err != nil {
		t.Fatal(err)
	}
	status := stale.Status.DeepCopy()
	status.Taints = []workloadv1alpha1.ObservedTaint{{Key: "k", Effect: workloadv1alpha1.TaintNoExecute}}
	if err := patchTargetStatus(t.Context(), w.kcp.Client, stale, status); err == nil {
		t.Error("the status of another SyncTarget was written")
	}
}

func TestDeletionDeadline(t *testing.T) {
	w := newWorld(t, "a")
	if err := w.kcp.raw.Delete(t.Context(), w.target("edge-1")); err != nil {
		t.Fatal(err)
	}
	seen, err := w.r.read(t.Context(), &scope{clusterName: testCluster, workspace: &workspace{}, cached: w.cluster.reader}, fromCache)
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range seen.Clusters {
		if target := w.target(cluster.Target.Name); target.DeletionTimestamp != nil {
			if got := cluster.DeletionDeadline.Sub(target.DeletionTimestamp.Time); got != deadline/2 {
				t.Errorf("DeletionDeadline %s after the deletion", got)
			}
		} else if !cluster.DeletionDeadline.IsZero() {
			t.Errorf("DeletionDeadline %s", cluster.DeletionDeadline)
		}
	}
}

// TestNotServed: a workspace that is not served, or no longer, has no pass.
func TestNotServed(t *testing.T) {
	w := newWorld(t, "a")
	if _, err := w.r.Reconcile(t.Context(), request("other")); err != nil {
		t.Error(err)
	}
	w.r.workspaces.end(testCluster, w.r.workspaces.get(testCluster))
	w.pass()
	w.wantNoWrites("disengaged")
}

func namespaceNames(count int) (names []string) {
	for i := range count {
		names = append(names, fmt.Sprintf("ns-%03d", i))
	}
	return names
}

// TestManyNamespaces: that they arrive together costs few writes for each.
func TestManyNamespaces(t *testing.T) {
	const count = 200
	w := newWorld(t, namespaceNames(count)...)
	w.settle()
	w.syncAll()
	w.settle()
	if got := len(w.assignments()); got != count {
		t.Errorf("%d Assignments", got)
	}
	if got := len(w.kcp.writes); got > 3*count+20 {
		t.Errorf("%d writes for %d Namespaces", got, count)
	}
	if got := len(w.kcp.requests("list")); got > 3 {
		t.Errorf("%d live lists: %q", got, w.kcp.requests("list"))
	}
}

// TestPlacementDeletedWithoutClaims: its deletion ends, though the Namespaces cannot be seen.
func TestPlacementDeletedWithoutClaims(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	edit(w, &apisv1alpha2.APIBinding{}, workloadv1alpha1.GroupName, func(b *apisv1alpha2.APIBinding) {
		for i := range b.Spec.PermissionClaims {
			b.Spec.PermissionClaims[i].State = apisv1alpha2.ClaimRejected
		}
	})
	w.kcp.hidden.Insert("a")
	if err := w.kcp.raw.Delete(t.Context(), w.placement()); err != nil {
		t.Fatal(err)
	}
	w.settle()
	var left workloadv1alpha1.PlacementList
	if err := w.kcp.raw.List(t.Context(), &left); err != nil || len(left.Items) != 0 {
		t.Errorf("the Placement is still there: %v", err)
	}
	if got := w.assignments()[0].Spec; got.Intent != workloadv1alpha1.IntentWithdraw || got.Reason != workloadv1alpha1.AssignmentPlacementDeleted {
		t.Errorf("%+v, want it withdrawn", got)
	}
}

// TestClockOfTheSyncer: a replacement has to be available for 30 seconds by the clock of this process, whatever time the syncer
// writes into its condition.
func TestClockOfTheSyncer(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	from, to := w.drain()
	w.settle()
	for _, a := range w.assignments() {
		if a.Annotations[workloadv1alpha1.AnnotationSyncTarget] != to {
			continue
		}
		a.Status.ObservedEpoch = a.Spec.Epoch
		for _, condition := range []string{workloadv1alpha1.ConditionAdmitted, workloadv1alpha1.ConditionApplied, workloadv1alpha1.ConditionAvailable} {
			meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{
				Type: condition, Status: metav1.ConditionTrue, Reason: condition, LastTransitionTime: metav1.NewTime(w.clock.Now().Add(-time.Hour)),
			})
		}
		if err := w.kcp.raw.Status().Update(t.Context(), &a); err != nil {
			t.Fatal(err)
		}
	}
	w.settle()
	w.clock.Step(20 * time.Second)
	w.settle()
	w.wantPlaced("too early", fmt.Sprintf("a on %s: Run Scheduled", from), fmt.Sprintf("a on %s: Run Drain", to))
	w.clock.Step(11 * time.Second)
	w.settle()
	w.wantPlaced("then", fmt.Sprintf("a on %s: Withdraw Drain", from), fmt.Sprintf("a on %s: Run Drain", to))
}
