package synctarget

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestHeartbeatTrackerObserve(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	beat := func(at time.Time, reported string) workloadv1alpha1.SyncTargetStatus {
		return workloadv1alpha1.SyncTargetStatus{
			ClusterID: thisCluster, LastHeartbeatTime: &metav1.Time{Time: at},
			Syncer: &workloadv1alpha1.SyncerStatus{ClusterID: reported},
		}
	}
	shown := func(at time.Time) [sources]heartbeat {
		return [sources]heartbeat{sourceStatus: {at: at, clusterID: thisCluster}}
	}
	wasReady := beat(start, thisCluster)
	wasReady.Conditions = someReady(workloadv1alpha1.ReasonReady)
	old := start.Add(-time.Hour)
	tests := map[string]struct {
		reason string
		// seen are versions of the target, one a minute.
		seen []workloadv1alpha1.SyncTargetStatus
		want heartbeatRecord
	}{
		"first sight": {
			"The syncer may have died long ago.",
			[]workloadv1alpha1.SyncTargetStatus{beat(old, thisCluster)},
			heartbeatRecord{clusterID: thisCluster, last: shown(old), watchedSince: start},
		},
		"first sight of a Ready target": {
			"It can fall silent.",
			[]workloadv1alpha1.SyncTargetStatus{wasReady},
			heartbeatRecord{clusterID: thisCluster, last: shown(start), watchedSince: start, alive: true, ready: true},
		},
		"seen again": {
			"Nothing came.",
			[]workloadv1alpha1.SyncTargetStatus{beat(old, thisCluster), beat(old, thisCluster)},
			heartbeatRecord{clusterID: thisCluster, last: shown(old), watchedSince: start},
		},
		"the first of all": {
			"There was none at first sight, so this one is new.",
			[]workloadv1alpha1.SyncTargetStatus{{}, beat(old, thisCluster)},
			heartbeatRecord{clusterID: thisCluster, last: shown(old), watchedSince: start, changed: start.Add(time.Minute), alive: true},
		},
		"changed": {
			"When it changed counts by our clock, whatever the syncer's says.",
			[]workloadv1alpha1.SyncTargetStatus{beat(old, thisCluster), {}, beat(old.Add(time.Second), thisCluster)},
			heartbeatRecord{clusterID: thisCluster, last: shown(old.Add(time.Second)), watchedSince: start, changed: start.Add(2 * time.Minute), alive: true},
		},
		"set back": {
			"A syncer whose clock was corrected lives all the same.",
			[]workloadv1alpha1.SyncTargetStatus{beat(old, thisCluster), beat(old.Add(-time.Hour), thisCluster)},
			heartbeatRecord{clusterID: thisCluster, last: shown(old.Add(-time.Hour)), watchedSince: start, changed: start.Add(time.Minute), alive: true},
		},
		"from another cluster": {
			"A syncer in another cluster says nothing about this one.",
			[]workloadv1alpha1.SyncTargetStatus{beat(old, thisCluster), beat(start, otherCluster)},
			heartbeatRecord{clusterID: thisCluster, last: shown(old), watchedSince: start},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakePassiveClock(start)
			tracker := newHeartbeatTracker(clock, threshold)
			for i, status := range tc.seen {
				clock.SetTime(start.Add(time.Duration(i) * time.Minute))
				tracker.observe("", newTarget(func(target *workloadv1alpha1.SyncTarget) { target.Status = status }))
			}
			if diff := cmp.Diff(tc.want, tracker.targets[testUID], cmp.AllowUnexported(heartbeatRecord{}, heartbeat{})); diff != "" {
				t.Errorf("%s\nobserve(): -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestHeartbeatTrackerForget(t *testing.T) {
	tracker := newHeartbeatTracker(clocktesting.NewFakePassiveClock(time.Now()), threshold)
	tracker.observe(defaultEndpoint, newTarget())
	tracker.forget(testUID)
	summary := tracker.summary()
	if diff := cmp.Diff(heartbeatSummary{}, summary, cmpopts.EquateEmpty(), cmp.AllowUnexported(heartbeatSummary{})); diff != "" {
		t.Errorf("a target that is gone is counted: -want +got\n%s", diff)
	}
}

func TestHeartbeatTrackerSummary(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	clock := clocktesting.NewFakePassiveClock(start)
	tracker := newHeartbeatTracker(clock, threshold)
	see := func(uid string, phase workloadv1alpha1.SyncTargetPhase, beat time.Time) {
		tracker.observe(defaultEndpoint, newTarget(func(target *workloadv1alpha1.SyncTarget) {
			target.UID, target.Status.Phase = types.UID(uid), phase
			target.Status.LastHeartbeatTime = &metav1.Time{Time: beat}
		}))
	}
	see("fresh", workloadv1alpha1.PhaseReady, start)
	see("silent", workloadv1alpha1.PhaseReady, start)
	see("dead", workloadv1alpha1.PhaseNotReady, start.Add(-time.Hour))
	clock.SetTime(start.Add(time.Minute))
	see("fresh", workloadv1alpha1.PhaseReady, start.Add(time.Minute))
	see("new", workloadv1alpha1.PhasePending, start)
	clock.SetTime(start.Add(90 * time.Second))

	want := heartbeatSummary{
		byPhase: map[workloadv1alpha1.SyncTargetPhase]int{workloadv1alpha1.PhaseReady: 2, workloadv1alpha1.PhaseNotReady: 1, workloadv1alpha1.PhasePending: 1},
		oldest:  90 * time.Second, // that of the silent one among the Ready
		paused:  map[string]map[pauseCause]bool{defaultEndpoint: {pauseWatchStalled: false, pauseNoAnswer: false, pauseMassSilence: false}},
		// the dead one, which has been watched for less than the threshold
		evictionsPaused: 1,
	}
	if diff := cmp.Diff(want, tracker.summary(), cmp.AllowUnexported(heartbeatSummary{})); diff != "" {
		t.Errorf("summary(): -want +got\n%s", diff)
	}
}

// otherTarget is another target of the workspace, with a heartbeat.
func otherTarget(uid string, conditions []metav1.Condition) *workloadv1alpha1.SyncTarget {
	return newTarget(func(target *workloadv1alpha1.SyncTarget) {
		target.Name, target.UID = "edge-"+uid, types.UID(uid)
		target.Status.Conditions = conditions
		target.Status.LastHeartbeatTime = &metav1.Time{Time: time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)}
	})
}

// TestVerify: what becomes of targets that fall silent, as they are judged one after the other.
func TestVerify(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	// group are targets whose last heartbeat came so long after the start, one a second more for each.
	type group struct {
		endpoint string
		count    int
		last     time.Duration
		// notReady: at first sight it was so, and no heartbeat has come.
		notReady bool
		// change is done to each after its last heartbeat.
		change func(*heartbeatTracker, *workloadv1alpha1.SyncTarget)
	}
	deleted := func(tracker *heartbeatTracker, target *workloadv1alpha1.SyncTarget) {
		target.DeletionTimestamp = &metav1.Time{Time: start}
		tracker.observe("a", target)
	}
	forgotten := func(tracker *heartbeatTracker, target *workloadv1alpha1.SyncTarget) { tracker.forget(target.UID) }
	stopped := func(tracker *heartbeatTracker, target *workloadv1alpha1.SyncTarget) {
		target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: ptr.To[int32](0)}
		tracker.observe("a", target)
	}
	tests := map[string]struct {
		reason string
		groups []group
		// want is how many of the first group are paused; the others of it are verified.
		want int
	}{
		"one of one":        {"The only target of an endpoint is not hidden.", []group{{endpoint: "a", count: 1}}, 0},
		"three of three":    {"Up to three may be chance.", []group{{endpoint: "a", count: 3}}, 0},
		"four of four":      {"", []group{{endpoint: "a", count: 4}}, 4},
		"four of 19":        {"More than 20 %.", []group{{endpoint: "a", count: 4}, {endpoint: "a", count: 15, last: time.Hour}}, 4},
		"four of 20":        {"20 % and not more.", []group{{endpoint: "a", count: 4}, {endpoint: "a", count: 16, last: time.Hour}}, 0},
		"sixty":             {"The first as well as the last, a minute later.", []group{{endpoint: "a", count: 60}}, 60},
		"by endpoint":       {"Each endpoint is judged by its own targets.", []group{{endpoint: "a", count: 3}, {endpoint: "b", count: 30}}, 0},
		"with many alive":   {"", []group{{endpoint: "a", count: 10}, {endpoint: "a", count: 90, last: time.Hour}}, 0},
		"one after another": {"A minute is not exceeded.", []group{{endpoint: "a", count: 2}, {endpoint: "a", count: 2, last: 63 * time.Second}}, 0},
		"within a minute":   {"", []group{{endpoint: "a", count: 2}, {endpoint: "a", count: 2, last: 58 * time.Second}}, 2},
		"were not Ready":    {"What is dead already does not fall silent, as after a restart.", []group{{endpoint: "a", count: 2}, {endpoint: "a", count: 30, notReady: true}}, 0},
		"only the dead":     {"", []group{{endpoint: "a", count: 30, notReady: true}}, 0},
		"forgotten":         {"", []group{{endpoint: "a", count: 3}, {endpoint: "a", count: 30, change: forgotten}}, 0},
		"deleted":           {"Their syncers are removed on purpose.", []group{{endpoint: "a", count: 3}, {endpoint: "a", count: 30, change: deleted}}, 0},
		"scaled to zero":    {"So are these.", []group{{endpoint: "a", count: 3}, {endpoint: "a", count: 30, change: stopped}}, 0},
		"dead do not dilute": {
			"20 % of those that send heartbeats.",
			[]group{{endpoint: "a", count: 5}, {endpoint: "a", count: 10, last: time.Hour}, {endpoint: "a", count: 100, notReady: true}}, 5,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakePassiveClock(start)
			tracker := newHeartbeatTracker(clock, threshold)
			var first, dead []*workloadv1alpha1.SyncTarget
			for i, g := range tc.groups {
				for n := range g.count {
					before := workloadv1alpha1.ReasonReady
					if g.notReady {
						before = workloadv1alpha1.ReasonUnhealthy
					}
					clock.SetTime(start.Add(g.last + time.Duration(n)*time.Second))
					target := otherTarget(fmt.Sprintf("%d-%d", i, n), someReady(before))
					tracker.observe(g.endpoint, target)
					if g.change != nil {
						g.change(tracker, target)
					}
					if i == 0 {
						first = append(first, target)
					} else if g.notReady || g.change != nil {
						dead = append(dead, target)
					}
				}
			}
			clock.SetTime(start.Add(threshold + time.Minute))
			for _, target := range dead {
				tracker.verify(target, nil)
			}
			paused := 0
			for n, target := range first {
				clock.SetTime(start.Add(threshold + time.Duration(n)*time.Second))
				tracker.verify(target, nil)
				switch tracker.targets[target.UID].silence {
				case silencePaused:
					paused++
				case silenceUnverified:
					t.Errorf("%s is not verified", target.Name)
				}
			}
			if paused != tc.want {
				t.Errorf("%s\n%d of %d are paused, want %d", tc.reason, paused, len(first), tc.want)
			}
		})
	}
}

// TestVerifySmallThreshold: where the threshold is shorter than a minute, a syncer that sends is not taken for a silent one.
func TestVerifySmallThreshold(t *testing.T) {
	const small = 10 * time.Second
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	tracker := newHeartbeatTracker(clock, small)
	silent := otherTarget("silent", someReady(workloadv1alpha1.ReasonReady))
	tracker.observe("a", silent)
	clock.SetTime(clock.Now().Add(small / 2)) // the longest interval that is allowed
	for n := range 10 {
		tracker.observe("a", otherTarget(fmt.Sprint(n), someReady(workloadv1alpha1.ReasonReady)))
	}
	clock.SetTime(clock.Now().Add(small / 2))
	if cause, _ := tracker.verify(silent, nil); cause != "" || tracker.targets["silent"].silence != silenceVerified {
		t.Errorf("verify() = %q, want the verified silence of one", cause)
	}
}

// TestVerifyMissedHeartbeat: a live read shows what the watch has missed.
func TestVerifyMissedHeartbeat(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	tracker := newHeartbeatTracker(clock, threshold)
	for _, uid := range []string{"1", "2"} {
		tracker.observe("a", otherTarget(uid, nil))
	}
	live := func(uid string) *workloadv1alpha1.SyncTarget {
		target := otherTarget(uid, nil)
		target.Status.LastHeartbeatTime.Time = target.Status.LastHeartbeatTime.Add(time.Minute)
		return target
	}
	if cause, _ := tracker.verify(live("1"), nil); cause != "" || !tracker.targets["1"].changed.IsZero() {
		t.Errorf("verify() = %q of a target that is not silent yet", cause)
	}
	clock.SetTime(clock.Now().Add(threshold))
	for i, uid := range []string{"1", "2"} {
		cause, began := tracker.verify(live(uid), nil)
		if cause != pauseWatchStalled || began != (i == 0) {
			t.Errorf("verify() = %q, %t", cause, began)
		}
		if record := tracker.targets[types.UID(uid)]; record.changed != clock.Now() || !record.alive || record.silence != silenceUnverified {
			t.Errorf("the heartbeat was not taken in: %+v", record)
		}
	}
	if !tracker.summary().paused["a"][pauseWatchStalled] {
		t.Error("the stall is not told")
	}
	if !tracker.observe("a", live("1")) || tracker.observe("a", live("1")) {
		t.Error("the first event, and no other, ends the stall")
	}
	if tracker.summary().paused["a"][pauseWatchStalled] {
		t.Error("the stall is told after its end")
	}
}

// TestOldVersion: what a lagging watch delivers after the live read is no new heartbeat.
func TestOldVersion(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	tracker := newHeartbeatTracker(clock, threshold)
	version := func(resourceVersion string, heartbeat time.Duration) *workloadv1alpha1.SyncTarget {
		target := otherTarget("1", nil)
		target.ResourceVersion = resourceVersion
		target.Status.LastHeartbeatTime.Time = target.Status.LastHeartbeatTime.Add(heartbeat)
		return target
	}
	tracker.observe("a", version("10", 0))
	clock.SetTime(clock.Now().Add(threshold))
	tracker.verify(version("19", time.Hour), nil)
	changed := tracker.targets["1"].changed
	clock.SetTime(clock.Now().Add(time.Minute))
	tracker.observe("a", version("11", time.Minute))
	tracker.observe("a", version("19", time.Hour))
	if got := tracker.targets["1"].changed; got != changed {
		t.Errorf("the heartbeat changed at %s, want %s", got, changed)
	}
	// A syncer whose clock was set back is as alive as before.
	tracker.observe("a", version("20", -time.Hour))
	if got := tracker.targets["1"].changed; got != clock.Now() {
		t.Errorf("the heartbeat changed at %s, want %s", got, clock.Now())
	}
}
