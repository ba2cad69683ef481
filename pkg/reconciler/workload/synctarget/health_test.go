package synctarget

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// someReady are conditions with Ready for this reason; empty for none.
func someReady(reason string) []metav1.Condition {
	if reason == "" {
		return nil
	}
	status := metav1.ConditionFalse
	if reason == workloadv1alpha1.ReasonReady {
		status = metav1.ConditionTrue
	}
	return []metav1.Condition{{Type: workloadv1alpha1.ConditionReady, Status: status, Reason: reason}}
}

func TestHealth(t *testing.T) {
	const (
		ready     = "True Ready: Syncer is healthy and ready"
		unhealthy = `False Unhealthy: Syncer is not healthy: no heartbeat for more than 5m0s; see the Deployment "syncer" in the Namespace "kcp-syncer-edge-1-djpdevi3jln6x2tg" of the physical cluster`
		never     = "False AwaitingHeartbeat: Waiting for the first heartbeat of the syncer"
		next      = "False AwaitingHeartbeat: Waiting for the next heartbeat of the syncer"
		elsewhere = `False AwaitingHeartbeat: Heartbeats come from a syncer in cluster "3f0c2d5e-2b8f-4a51-9f8a-6d0f1f7a0002", but this SyncTarget stands for cluster "3f0c2d5e-2b8f-4a51-9f8a-6d0f1f7a0001"; remove the syncer from the former`
	)
	const minute = time.Minute
	tests := map[string]struct {
		reason string
		// before is the reason of the Ready condition that an earlier pass left.
		before string
		// beats are the heartbeats by the agent's clock, relative to ours at the start, one a minute; nil for none.
		beats []*time.Duration
		// reports is where the syncer says it runs.
		reports string
		// later is how long after the last of them health is judged.
		later   time.Duration
		want    string
		recheck time.Duration
	}{
		"no heartbeat":           {"", "", beats(nil), "", 0, never, 0},
		"no heartbeat for long":  {"A target that never had one is not unhealthy.", workloadv1alpha1.ReasonAwaitingHeartbeat, beats(nil), "", 6 * minute, never, 0},
		"first sight, was Ready": {"A restart of the controller is no news of the syncer.", workloadv1alpha1.ReasonReady, beats(at(-minute)), thisCluster, 0, ready, 5 * minute},
		"first sight, was Ready, silent": {"It has a full threshold from then on, not less.", workloadv1alpha1.ReasonReady,
			beats(at(-time.Hour)), thisCluster, 5*minute - time.Second, ready, time.Second},
		"first sight, was Ready, expired":     {"It had a full threshold.", workloadv1alpha1.ReasonReady, beats(at(-minute)), thisCluster, 5 * minute, unhealthy, 0},
		"first sight, was Unhealthy":          {"An old heartbeat proves no life.", workloadv1alpha1.ReasonUnhealthy, beats(at(-minute)), thisCluster, 0, unhealthy, 5 * minute},
		"first sight, was Unhealthy, expired": {"", workloadv1alpha1.ReasonUnhealthy, beats(at(-minute)), thisCluster, 5 * minute, unhealthy, 0},
		"first sight, was never judged":       {"Neither is known.", "", beats(at(-minute)), thisCluster, 0, next, 5 * minute},
		"first sight, was awaited":            {"", workloadv1alpha1.ReasonAwaitingHeartbeat, beats(at(-minute)), thisCluster, minute, next, 4 * minute},
		"first sight, was a wrong spec":       {"", workloadv1alpha1.ReasonValidationFailed, beats(at(0)), thisCluster, 0, next, 5 * minute},
		"first sight, in the future":          {"A wrong clock is no heartbeat.", workloadv1alpha1.ReasonUnhealthy, beats(at(time.Hour)), thisCluster, 0, unhealthy, 5 * minute},
		"first sight, was awaited, expired":   {"", workloadv1alpha1.ReasonAwaitingHeartbeat, beats(at(-minute)), thisCluster, 5 * minute, unhealthy, 0},
		"changed, was Unhealthy":              {"One heartbeat is life.", workloadv1alpha1.ReasonUnhealthy, beats(at(-time.Hour), at(minute)), thisCluster, 0, ready, 5 * minute},
		"changed, was Ready":                  {"", workloadv1alpha1.ReasonReady, beats(at(0), at(minute)), thisCluster, 2 * minute, ready, 3 * minute},
		"changed, was never judged":           {"", "", beats(nil, at(minute)), thisCluster, 0, ready, 5 * minute},
		"changed, then silent":                {"The recheck is for this moment.", workloadv1alpha1.ReasonReady, beats(at(0), at(minute)), thisCluster, 5 * minute, unhealthy, 0},
		"changed, just in time":               {"", workloadv1alpha1.ReasonReady, beats(at(0), at(minute)), thisCluster, 5*minute - time.Second, ready, time.Second},
		"the agent's clock is slow":           {"Only ours counts.", workloadv1alpha1.ReasonReady, beats(at(-time.Hour), at(-time.Hour+minute)), thisCluster, 0, ready, 5 * minute},
		"the agent's clock is fast":           {"Only ours counts: it does not live an hour longer.", workloadv1alpha1.ReasonReady, beats(at(time.Hour), at(time.Hour+minute)), thisCluster, 5 * minute, unhealthy, 0},
		"the agent's clock was set back":      {"", workloadv1alpha1.ReasonReady, beats(at(0), at(-time.Hour)), thisCluster, 0, ready, 5 * minute},
		"from another cluster":                {"", workloadv1alpha1.ReasonReady, beats(at(0), at(minute)), otherCluster, 0, elsewhere, 0},
		"from a syncer that does not say":     {"An old syncer counts.", workloadv1alpha1.ReasonReady, beats(at(0), at(minute)), "", 0, ready, 5 * minute},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
			clock := clocktesting.NewFakePassiveClock(start)
			r := &Reconciler{Config: Config{HeartbeatThreshold: threshold, Clock: clock}, heartbeats: newHeartbeatTracker(clock, threshold)}
			target := newTarget()
			target.Status.ClusterID, target.Status.Conditions = thisCluster, someReady(tc.before)
			target.Status.Syncer = &workloadv1alpha1.SyncerStatus{ClusterID: tc.reports}
			for i, beat := range tc.beats {
				clock.SetTime(start.Add(time.Duration(i) * time.Minute))
				if beat != nil {
					target.Status.LastHeartbeatTime = &metav1.Time{Time: start.Add(*beat)}
				}
				r.heartbeats.observe(defaultEndpoint, target)
			}
			clock.SetTime(clock.Now().Add(tc.later))
			r.heartbeats.verify(target, nil) // the live read shows the same
			got := r.health(&scope{target: target, key: testKey()})
			if diff := cmp.Diff(tc.want, words(got)); diff != "" {
				t.Errorf("%s\nhealth(): -want +got\n%s", tc.reason, diff)
			}
			if got.requeueAfter != tc.recheck {
				t.Errorf("%s\nrecheck after %s, want %s", tc.reason, got.requeueAfter, tc.recheck)
			}
		})
	}
}

func words(v verdict) string { return string(v.status) + " " + v.reason + ": " + v.message }

func beats(all ...*time.Duration) []*time.Duration { return all }

func at(d time.Duration) *time.Duration { return &d }

func TestHealthPinsInPullMode(t *testing.T) {
	tests := map[string]struct {
		reason  string
		pull    bool
		pinned  string
		reports *workloadv1alpha1.SyncerStatus
		record  heartbeatRecord
		want    string
	}{
		"pull, first report": {reason: "Nobody else can tell.", pull: true, reports: &workloadv1alpha1.SyncerStatus{ClusterID: thisCluster}, want: thisCluster},
		"pull, no report":    {pull: true},
		"pull, pinned before": {
			reason: "A cluster is pinned once.", pull: true, pinned: thisCluster,
			reports: &workloadv1alpha1.SyncerStatus{ClusterID: otherCluster}, want: thisCluster,
		},
		"pull, by the Lease": {
			reason: "It may be seen before the report.", pull: true,
			record: heartbeatRecord{source: sourceLease, last: [sources]heartbeat{sourceLease: {clusterID: thisCluster}}}, want: thisCluster,
		},
		"pull, by an old Lease": {
			reason: "A Lease that the syncer does not renew any more tells nothing.", pull: true,
			record:  heartbeatRecord{last: [sources]heartbeat{sourceLease: {clusterID: otherCluster}}},
			reports: &workloadv1alpha1.SyncerStatus{ClusterID: thisCluster}, want: thisCluster,
		},
		"push": {reason: "The kubeconfig tells, not the syncer.", reports: &workloadv1alpha1.SyncerStatus{ClusterID: thisCluster}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			target := newTarget()
			if tc.pull {
				pull(target)
			}
			target.Status.ClusterID, target.Status.Syncer = tc.pinned, tc.reports
			if got := reportedClusterID(&scope{target: target, key: testKey()}, tc.record, tc.pinned); got != tc.want {
				t.Errorf("%s\nreportedClusterID() = %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}

// TestRestart starts the controller anew beside a syncer that lives, and one that is dead.
func TestRestart(t *testing.T) {
	t.Run("Ready", func(t *testing.T) {
		w := usual(t)
		w.ready()
		w.clock.Step(4 * time.Minute)
		w.restart()
		w.pass()
		if len(w.kcp.writes) != 0 || len(w.there.writes) != 0 || len(w.events.events) != 0 {
			t.Errorf("a restart wrote %q, %q and said %q", w.kcp.writes, w.there.writes, w.events.events)
		}
		w.clock.Step(threshold - time.Second)
		w.settle()
		if !meta.IsStatusConditionTrue(w.target().Status.Conditions, workloadv1alpha1.ConditionReady) {
			t.Errorf("not Ready before a full threshold has passed: %s", w.condition(workloadv1alpha1.ConditionReady))
		}
		w.clock.Step(time.Second)
		w.settle()
		if got := w.target().Status.Phase; got != workloadv1alpha1.PhaseNotReady {
			t.Errorf("phase = %s after a full threshold without a heartbeat", got)
		}
	})
	t.Run("Unhealthy", func(t *testing.T) {
		w := usual(t)
		w.ready()
		w.clock.Step(threshold)
		w.settle()
		w.restart()
		result := w.pass()
		if len(w.kcp.writes) != 0 || len(w.there.writes) != 0 || len(w.events.events) != 0 {
			t.Errorf("a restart wrote %q, %q and said %q", w.kcp.writes, w.there.writes, w.events.events)
		}
		if result.RequeueAfter <= 0 || result.RequeueAfter > threshold {
			t.Errorf("recheck after %s", result.RequeueAfter)
		}
		w.beat(w.clock.Now().Add(-24 * time.Hour))
		w.settle()
		if got := w.target().Status.Phase; got != workloadv1alpha1.PhaseReady {
			t.Errorf("phase = %s after a heartbeat", got)
		}
	})
}

// TestRecheckAtExpiry: no event tells that a heartbeat did not come.
func TestRecheckAtExpiry(t *testing.T) {
	w := usual(t)
	w.ready()
	w.clock.Step(time.Minute)
	if got := w.pass().RequeueAfter; got != 4*time.Minute {
		t.Errorf("RequeueAfter = %s, want the moment of expiry: 4m0s", got)
	}
}
