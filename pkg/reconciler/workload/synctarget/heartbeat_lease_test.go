package synctarget

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// newLease is the Lease of the target, renewed at this time by a syncer in this cluster; zero for never.
func newLease(renewed time.Time, clusterID string) *coordinationv1.Lease {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: testNamespace(), Name: workloadv1alpha1.HeartbeatLeaseName,
		Labels:      map[string]string{workloadv1alpha1.LabelKey: testKey(), workloadv1alpha1.LabelUID: testUID},
		Annotations: map[string]string{workloadv1alpha1.AnnotationSyncTarget: testName, workloadv1alpha1.AnnotationClusterID: clusterID},
	}}
	if !renewed.IsZero() {
		lease.Spec.RenewTime = &metav1.MicroTime{Time: renewed}
	}
	return lease
}

func (w *world) lease() *coordinationv1.Lease {
	w.t.Helper()
	var lease coordinationv1.Lease
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: workloadv1alpha1.HeartbeatLeaseName}, &lease); err != nil {
		w.t.Fatal(err)
	}
	return &lease
}

// renewUnseen renews the Lease as a syncer in this cluster does. The watch does not deliver it.
func (w *world) renewUnseen(clusterID string) *coordinationv1.Lease {
	w.t.Helper()
	lease := w.lease()
	lease.Annotations[workloadv1alpha1.AnnotationClusterID] = clusterID
	lease.Spec.RenewTime = &metav1.MicroTime{Time: w.clock.Now()}
	if err := w.kcp.raw.Update(w.t.Context(), lease); err != nil {
		w.t.Fatal(err)
	}
	return lease
}

// renew renews the Lease, and returns what the event queues.
func (w *world) renew(clusterID string) []string {
	w.t.Helper()
	before := w.lease()
	q := newQueue(w.t)
	w.r.leaseEvents(testCluster, w.cache).Update(w.t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: w.renewUnseen(clusterID)}, q)
	return queued(q)
}

// seeTarget delivers the SyncTarget, as the watch does.
func (w *world) seeTarget() {
	w.t.Helper()
	w.r.observe(w.t.Context(), testCluster, w.target())
}

// readyByLease brings the target to rest with the syncer rolled out and its Lease renewed.
func readyByLease(t *testing.T) *world {
	t.Helper()
	w := usual(t)
	w.settle()
	w.rollOut()
	w.r.installCache.forget(testUID)
	w.seeTarget()
	w.r.leaseEvents(testCluster, w.cache).Create(t.Context(), event.CreateEvent{Object: w.lease()}, newQueue(t))
	if got := w.renew(thisCluster); len(got) != 1 {
		t.Fatalf("the first heartbeat queues %q", got)
	}
	w.settle()
	w.seeTarget()
	if got := w.condition(workloadv1alpha1.ConditionReady); got != "True Ready: Syncer is healthy and ready" {
		t.Fatalf("Ready = %s", got)
	}
	return w
}

// TestReadyByLease: from the first renewal to the silence of the syncer.
func TestReadyByLease(t *testing.T) {
	w := readyByLease(t)
	status := w.target().Status
	if status.Phase != workloadv1alpha1.PhaseReady || status.LastHeartbeatTime == nil || !status.LastHeartbeatTime.Time.Equal(w.clock.Now()) {
		t.Errorf("phase %s, lastHeartbeatTime %s, want it with the first Ready", status.Phase, status.LastHeartbeatTime)
	}
	for range 9 {
		w.clock.Step(30 * time.Second)
		if got := w.renew(thisCluster); len(got) != 0 {
			t.Errorf("one more heartbeat queues %q", got)
		}
	}
	w.clock.Step(threshold - time.Second)
	if w.settle(); !w.isReady() {
		t.Errorf("Ready = %s before the threshold", w.condition(workloadv1alpha1.ConditionReady))
	}
	w.seeTarget()
	w.clock.Step(time.Second)
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, "False Unhealthy: ") {
		t.Errorf("Ready = %s after the threshold", got)
	}
	w.seeTarget()
	if got := w.renew(thisCluster); len(got) != 1 {
		t.Errorf("a heartbeat of a target that is not Ready queues %q", got)
	}
	if w.settle(); !w.isReady() {
		t.Errorf("Ready = %s after a heartbeat", w.condition(workloadv1alpha1.ConditionReady))
	}
}

// TestPinnedByLease: in pull mode, the first renewal of the Lease tells which cluster the syncer is in, with Ready.
func TestPinnedByLease(t *testing.T) {
	w := newWorld(t, newTarget(pull), newBinding())
	w.settle()
	w.seeTarget()
	w.r.leaseEvents(testCluster, w.cache).Create(t.Context(), event.CreateEvent{Object: w.lease()}, newQueue(t))
	w.renew(thisCluster)
	w.pass()
	if status := w.target().Status; !w.isReady() || status.ClusterID != thisCluster || status.Syncer != nil {
		t.Errorf("Ready = %s, clusterID = %q, syncer = %v", w.condition(workloadv1alpha1.ConditionReady), status.ClusterID, status.Syncer)
	}
	w.seeTarget()
	w.clock.Step(time.Minute)
	if w.renew("another"); w.r.heartbeats.targets[testUID].changed.Equal(w.clock.Now()) {
		t.Error("a heartbeat from another cluster counts")
	}
}

// TestOwnReportIsNoHeartbeat: what the controller writes to status.lastHeartbeatTime does not keep a dead syncer alive.
func TestOwnReportIsNoHeartbeat(t *testing.T) {
	w := readyByLease(t)
	w.clock.Step(threshold - time.Second)
	w.renew(thisCluster)
	w.clock.Step(statusInterval)
	w.pass()
	written := w.target().Status.LastHeartbeatTime
	if !written.Time.Equal(w.clock.Now().Add(-statusInterval)) {
		t.Fatalf("lastHeartbeatTime %s, want that of the last renewal", written)
	}
	w.seeTarget()
	w.clock.Step(threshold - statusInterval)
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, "False Unhealthy: ") {
		t.Errorf("Ready = %s a threshold after the last renewal", got)
	}
	w.seeTarget()
	w.beat(w.clock.Now())
	if w.settle(); !w.isReady() {
		t.Errorf("Ready = %s after a heartbeat of a syncer that lost its Lease", w.condition(workloadv1alpha1.ConditionReady))
	}
	if got := w.target().Status.LastHeartbeatTime; !got.Time.Equal(w.clock.Now().Truncate(time.Second)) {
		t.Errorf("the controller has written over the time of the syncer: %s", got)
	}
}

// TestOwnReportThatFailed: a time that this controller has written stays no heartbeat, if it could not write the next one.
func TestOwnReportThatFailed(t *testing.T) {
	w := readyByLease(t)
	report := func() {
		t.Helper()
		w.clock.Step(30 * time.Second)
		w.renew(thisCluster)
		w.clock.Step(statusInterval)
		w.pass()
	}
	report()
	w.seeTarget()
	first := w.target().Status.LastHeartbeatTime
	w.kcp.refuse = func(request string) error {
		if strings.Contains(request, "SyncTarget") && strings.HasPrefix(request, "patch") {
			return apierrors.NewConflict(workloadv1alpha1.Resource("synctargets"), testName, errInjected)
		}
		return nil
	}
	w.clock.Step(30 * time.Second)
	w.renew(thisCluster)
	w.clock.Step(statusInterval)
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	w.kcp.refuse = func(string) error { return nil }
	if got := w.target().Status.LastHeartbeatTime; !got.Equal(first) {
		t.Fatalf("lastHeartbeatTime = %s, want %s: the write was not refused", got, first)
	}
	before := w.r.heartbeats.targets[testUID]
	w.seeTarget() // an event of something else still shows the first time
	if after := w.r.heartbeats.targets[testUID]; after.source != sourceLease || !after.changed.Equal(before.changed) {
		t.Errorf("it counts as a heartbeat: %+v", after)
	}
}

// TestHeartbeatStatusInterval: how often the controller writes status.lastHeartbeatTime of a syncer at rest.
func TestHeartbeatStatusInterval(t *testing.T) {
	w := readyByLease(t)
	w.forget()
	result := w.pass()
	for start := w.clock.Now(); w.clock.Since(start) < time.Hour; {
		if result.RequeueAfter <= 0 || result.RequeueAfter > statusInterval {
			t.Fatalf("the next pass is after %s", result.RequeueAfter)
		}
		w.clock.Step(result.RequeueAfter)
		w.renew(thisCluster)
		result = w.pass()
		w.seeTarget()
	}
	if got := len(w.kcp.writes); got < 59 || got > 61 {
		t.Errorf("%d writes in an hour", got)
	}
	for _, body := range w.kcp.statuses {
		if strings.Contains(body, "conditions") {
			t.Errorf("written: %s", body)
		}
	}
}

// TestNextReport: the writes of many targets are spread over the interval, wherever it begins.
func TestNextReport(t *testing.T) {
	const interval = time.Minute
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	perSecond := map[int]int{}
	for n := range 6000 {
		uid := types.UID(strings.Repeat("x", n%7) + time.Duration(n).String())
		next := nextReport(uid, start, interval)
		if d := next.Sub(start); d <= 0 || d > interval {
			t.Fatalf("the next is after %s", d)
		}
		if again := nextReport(uid, next, interval); again.Sub(next) != interval {
			t.Fatalf("the one after is after %s", again.Sub(next))
		}
		perSecond[int(next.Sub(start)/time.Second)]++
	}
	for second, count := range perSecond {
		if count > 200 {
			t.Errorf("%d of 6000 in second %d", count, second)
		}
	}
}

// TestLeaseOfOtherCluster: a syncer in another cluster does not make the target Ready, and the message says where it is.
func TestLeaseOfOtherCluster(t *testing.T) {
	w := readyByLease(t)
	w.clock.Step(time.Minute)
	if got := w.renew(otherCluster); len(got) != 1 {
		t.Errorf("the first heartbeat from another cluster queues %q", got)
	}
	if got := w.renew(otherCluster); len(got) != 0 {
		t.Errorf("the second queues %q", got)
	}
	if w.pass(); !w.isReady() {
		t.Error("the heartbeats of before do not count any more")
	}
	w.clock.Step(threshold)
	w.renew(otherCluster)
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, `False AwaitingHeartbeat: Heartbeats come from a syncer in cluster "`+otherCluster) {
		t.Errorf("Ready = %s", got)
	}
	w.seeTarget()
	if got := w.renew(thisCluster); len(got) != 1 {
		t.Errorf("a heartbeat from the right cluster queues %q", got)
	}
	if w.settle(); !w.isReady() {
		t.Errorf("Ready = %s", w.condition(workloadv1alpha1.ConditionReady))
	}
}

// TestStalledLeaseWatch: a live read finds the heartbeat that the watch has not delivered.
func TestStalledLeaseWatch(t *testing.T) {
	w := readyByLease(t)
	w.clock.Step(threshold - time.Second)
	w.renewUnseen(thisCluster)
	w.clock.Step(time.Second)
	if w.settle(); !w.isReady() {
		t.Errorf("Ready = %s", w.condition(workloadv1alpha1.ConditionReady))
	}
	stalled := `endpoint "default": the watch of SyncTargets or of Leases has not delivered a heartbeat that kcp holds; silence is verified by live reads`
	w.seeTarget() // the watch of SyncTargets delivers, which says nothing about that of Leases
	if got := w.r.HealthDetails(); !slices.Equal(got, []string{stalled}) {
		t.Errorf("HealthDetails() = %q", got)
	}
	w.renew(thisCluster)
	if got := w.r.HealthDetails(); !slices.Equal(got, []string{`endpoint "default": heartbeats are judged`}) {
		t.Errorf("HealthDetails() = %q after an event", got)
	}
}

// TestLeaseNeverSeen: a Lease that only a live read shows is no proof of life, nor of death before a threshold has passed.
func TestLeaseNeverSeen(t *testing.T) {
	for name, lives := range map[string]bool{"the syncer lives": true, "the syncer is dead": false} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			w.renewUnseen(thisCluster)
			w.clock.Step(threshold)
			w.pass()
			if !w.isReady() {
				t.Errorf("Ready = %s", w.condition(workloadv1alpha1.ConditionReady))
			}
			w.clock.Step(threshold)
			if lives {
				w.renewUnseen(thisCluster)
			}
			w.pass()
			if w.isReady() != lives {
				t.Errorf("Ready = %s a threshold later", w.condition(workloadv1alpha1.ConditionReady))
			}
		})
	}
}

// TestUnreadableLease: kcp does not answer, or the Lease may not be read.
func TestUnreadableLease(t *testing.T) {
	for name, tc := range map[string]struct {
		failure error
		ready   bool
	}{
		"no answer": {apierrors.NewTooManyRequests("later", 1), true},
		"forbidden": {apierrors.NewForbidden(coordinationv1.Resource("leases"), "syncer", errInjected), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := readyByLease(t)
			w.clock.Step(threshold)
			w.kcp.refuse = func(request string) error {
				if strings.HasPrefix(request, "get Lease") {
					return tc.failure
				}
				return nil
			}
			_, _ = w.reconcile()
			if w.isReady() != tc.ready {
				t.Errorf("Ready = %s", w.condition(workloadv1alpha1.ConditionReady))
			}
		})
	}
}

// TestLeaseAfterRestart: first sight is not evidence, in whichever order SyncTarget and Lease are seen.
func TestLeaseAfterRestart(t *testing.T) {
	for name, leaseFirst := range map[string]bool{"SyncTarget first": false, "Lease first": true} {
		t.Run(name, func(t *testing.T) {
			w := readyByLease(t)
			w.clock.Step(4 * time.Minute)
			w.restart()
			q := newQueue(t)
			sawLease := func() {
				w.r.leaseEvents(testCluster, w.cache).Create(t.Context(), event.CreateEvent{Object: w.lease()}, q)
			}
			if leaseFirst {
				sawLease()
			}
			w.r.targetEvents(testCluster, w.cache).Create(t.Context(), event.CreateEvent{Object: w.target()}, q)
			if !leaseFirst {
				sawLease()
			}
			if record := w.r.heartbeats.targets[testUID]; !record.changed.IsZero() || !record.hasLease {
				t.Errorf("%+v", record)
			}
			w.clock.Step(threshold - time.Second)
			if w.pass(); !w.isReady() {
				t.Error("not Ready before a full threshold has passed")
			}
			w.clock.Step(time.Second)
			if w.pass(); w.isReady() {
				t.Error("Ready after a full threshold without a heartbeat")
			}
		})
	}
}

// TestForgedLeases: only the Lease in the syncer's own Namespace counts, and only for a SyncTarget of its workspace.
func TestForgedLeases(t *testing.T) {
	for name, forge := range map[string]func(*coordinationv1.Lease){
		"another Namespace":      func(l *coordinationv1.Lease) { l.Namespace = "default" },
		"another name":           func(l *coordinationv1.Lease) { l.Name = "other" },
		"another SyncTarget":     func(l *coordinationv1.Lease) { l.Annotations[workloadv1alpha1.AnnotationSyncTarget] = "edge-2" },
		"an earlier SyncTarget":  func(l *coordinationv1.Lease) { l.Labels[workloadv1alpha1.LabelUID] = "another" },
		"no UID":                 func(l *coordinationv1.Lease) { delete(l.Labels, workloadv1alpha1.LabelUID) },
		"of another key":         func(l *coordinationv1.Lease) { l.Labels[workloadv1alpha1.LabelKey] = "another" },
		"without the annotation": func(l *coordinationv1.Lease) { delete(l.Annotations, workloadv1alpha1.AnnotationSyncTarget) },
	} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.seeTarget()
			events, q := w.r.leaseEvents(testCluster, w.cache), newQueue(t)
			before := newLease(time.Time{}, "")
			events.Create(t.Context(), event.CreateEvent{Object: before}, q)
			after := newLease(w.clock.Now(), thisCluster)
			forge(after)
			events.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
			events.Delete(t.Context(), event.DeleteEvent{Object: after}, q)
			if got := queued(q); len(got) != 0 || !w.r.heartbeats.targets[testUID].changed.IsZero() {
				t.Errorf("it counts, and queues %q", got)
			}
			elsewhere := newLease(w.clock.Now(), thisCluster)
			elsewhere.Labels[workloadv1alpha1.LabelKey] = workloadv1alpha1.Key("another", testName)
			elsewhere.Namespace = workloadv1alpha1.SyncerNamespace(testName, elsewhere.Labels[workloadv1alpha1.LabelKey])
			w.r.leaseEvents("another", w.cache).Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: elsewhere}, q)
			if !w.r.heartbeats.targets[testUID].changed.IsZero() {
				t.Error("a Lease of another workspace counts")
			}
			w.r.leaseEvents(testCluster, w.cache).Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: newLease(w.clock.Now(), thisCluster)}, q)
			if w.r.heartbeats.targets[testUID].changed.IsZero() {
				t.Error("its own Lease does not count")
			}
		})
	}
}

// changeClaims replaces the binding by one with changed permission claims.
func (w *world) changeClaims(change func(*apisv1alpha2.AcceptablePermissionClaim)) {
	w.t.Helper()
	binding, before := newBinding(), &apisv1alpha2.APIBinding{}
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKeyFromObject(binding), before); err != nil {
		w.t.Fatal(err)
	}
	for i := range binding.Spec.PermissionClaims {
		change(&binding.Spec.PermissionClaims[i])
	}
	_ = w.kcp.raw.Delete(w.t.Context(), before)
	w.create(binding)
	w.r.bindingEvents(testCluster, w.cache).Update(w.t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: binding}, newQueue(w.t))
}

// TestHiddenLease: where the workspace takes back all permission claims, the service neither sees the Lease nor can make the syncer
// report in another way. That it sees no heartbeat then does not make the syncer unhealthy.
func TestHiddenLease(t *testing.T) {
	w := readyByLease(t)
	w.changeClaims(func(c *apisv1alpha2.AcceptablePermissionClaim) { c.State = apisv1alpha2.ClaimRejected })
	w.pass()
	if !w.isReady() {
		t.Errorf("Ready = %s before the threshold", w.condition(workloadv1alpha1.ConditionReady))
	}
	w.clock.Step(threshold)
	w.pass()
	got := w.condition(workloadv1alpha1.ConditionReady)
	if !strings.HasPrefix(got, "Unknown HealthCheckFailed: ") || !strings.Contains(got, "leases.coordination.k8s.io") {
		t.Errorf("Ready = %s", got)
	}

	w.changeClaims(func(*apisv1alpha2.AcceptablePermissionClaim) {})
	w.renew(thisCluster)
	w.pass()
	if !w.isReady() {
		t.Errorf("Ready = %s with a heartbeat", w.condition(workloadv1alpha1.ConditionReady))
	}
}

// TestLeaseIsOptional: without the claim there is no Lease and no right to renew one, and all is as before.
func TestLeaseIsOptional(t *testing.T) {
	reject := func(c *apisv1alpha2.AcceptablePermissionClaim) {
		if c.Resource == "leases" {
			c.State = apisv1alpha2.ClaimRejected
		}
	}
	setLeases := (*world).changeClaims
	role := func(w *world) error {
		return w.kcp.raw.Get(t.Context(), client.ObjectKey{Name: testNamespace() + ":heartbeat"}, &rbacv1.ClusterRole{})
	}
	w := usual(t)
	setLeases(w, reject)
	w.kcp.refuse = func(request string) error {
		if strings.Contains(request, " Lease ") && !strings.HasPrefix(request, "get") {
			t.Errorf("without the claim: %s", request)
		}
		return nil
	}
	w.ready()
	if got := w.condition(workloadv1alpha1.ConditionValid); !strings.HasPrefix(got, "True ") {
		t.Errorf("Valid = %s", got)
	}
	if err := role(w); !apierrors.IsNotFound(err) {
		t.Errorf("the right to renew a Lease: %v", err)
	}
	w.kcp.refuse = func(string) error { return nil }

	setLeases(w, func(*apisv1alpha2.AcceptablePermissionClaim) {})
	w.settle()
	if err := role(w); err != nil {
		t.Errorf("the right to renew the Lease: %v", err)
	}
	w.lease()

	setLeases(w, reject)
	w.settle()
	if err := role(w); !apierrors.IsNotFound(err) {
		t.Errorf("the right to renew a Lease that nobody sees: %v", err)
	}
	if got := w.condition(workloadv1alpha1.ConditionValid); !strings.HasPrefix(got, "True ") || !w.isReady() {
		t.Errorf("Valid = %s, Ready = %s", got, w.condition(workloadv1alpha1.ConditionReady))
	}
}

// TestRefusedLease: a claim that kcp does not honour yet keeps the syncer from nothing.
func TestRefusedLease(t *testing.T) {
	for name, failure := range map[string]error{
		"forbidden":  apierrors.NewForbidden(coordinationv1.Resource("leases"), "syncer", errInjected),
		"not served": notFound("leases", "syncer"),
	} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.kcp.refuse = func(request string) error {
				if strings.Contains(request, " Lease ") {
					return failure
				}
				return nil
			}
			w.ready()
		})
	}
}

// TestLeaseIsDeleted: it is made anew.
func TestLeaseIsDeleted(t *testing.T) {
	w := readyByLease(t)
	lease, q := w.lease(), newQueue(t)
	if err := w.kcp.raw.Delete(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	w.r.leaseEvents(testCluster, w.cache).Delete(t.Context(), event.DeleteEvent{Object: lease}, q)
	if diff := cmp.Diff([]string{testCluster + "/" + testName}, queued(q)); diff != "" {
		t.Errorf("queued: -want +got\n%s", diff)
	}
	w.pass()
	w.lease()
}

// TestReportDue: when status.lastHeartbeatTime is written, and by whom.
func TestReportDue(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	beat, now := start.Add(time.Second), start.Add(2*time.Second)
	byLease := heartbeatRecord{source: sourceLease, changed: beat, watchedSince: start, reportedAt: start}
	next := nextReport(testUID, start, time.Hour)
	for name, tc := range map[string]struct {
		reason       string
		record       heartbeatRecord
		written      time.Time
		readyChanged bool
		now          time.Time
		want         time.Time
	}{
		"by the syncer":        {"It has no Lease.", heartbeatRecord{source: sourceStatus, changed: beat}, start, true, next, time.Time{}},
		"none yet":             {"", heartbeatRecord{source: sourceLease}, time.Time{}, true, next, time.Time{}},
		"the first":            {"", byLease, time.Time{}, false, now, beat},
		"a change of Ready":    {"", byLease, start, true, now, beat},
		"not due":              {"", byLease, start, false, now, time.Time{}},
		"due":                  {"", byLease, start, false, next, beat},
		"nothing new":          {"", byLease, beat, true, next, time.Time{}},
		"the syncer's is ours": {"A syncer that had no Lease may have had a fast clock.", byLease, start.Add(time.Hour), false, next, beat},
	} {
		t.Run(name, func(t *testing.T) {
			target := newTarget()
			if !tc.written.IsZero() {
				target.Status.LastHeartbeatTime = &metav1.Time{Time: tc.written}
			}
			var got time.Time
			if due := tc.record.reportDue(target, tc.readyChanged, tc.now, time.Hour); due != nil {
				got = due.Time
			}
			if !got.Equal(tc.want) {
				t.Errorf("%s\nreportDue() = %s, want %s", tc.reason, got, tc.want)
			}
		})
	}
}

// TestOldLease: what a lagging watch delivers after the live read is no new heartbeat.
func TestOldLease(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	tracker := newHeartbeatTracker(clock, threshold)
	version := func(resourceVersion string, renewed time.Duration) *coordinationv1.Lease {
		lease := newLease(clock.Now().Truncate(time.Hour).Add(renewed), thisCluster)
		lease.ResourceVersion = resourceVersion
		return lease
	}
	tracker.observe("a", newTarget())
	tracker.observeLease("a", testUID, leaseHeartbeat(version("10", 0)))
	clock.SetTime(clock.Now().Add(threshold))
	tracker.verify(newTarget(), version("19", time.Minute))
	changed := tracker.targets[testUID].changed
	if changed != clock.Now() {
		t.Fatalf("the heartbeat changed at %s, want %s", changed, clock.Now())
	}
	clock.SetTime(clock.Now().Add(time.Second))
	tracker.observeLease("a", testUID, leaseHeartbeat(version("11", time.Second)))
	tracker.observeLease("a", testUID, leaseHeartbeat(version("19", time.Minute)))
	if got := tracker.targets[testUID].changed; got != changed {
		t.Errorf("the heartbeat changed at %s, want %s", got, changed)
	}
}
