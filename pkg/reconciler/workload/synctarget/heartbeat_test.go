package synctarget

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestPulsesObserve(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	beat := func(at time.Time, reported string) workloadv1alpha1.SyncTargetStatus {
		return workloadv1alpha1.SyncTargetStatus{
			ClusterID: thisCluster, LastHeartbeatTime: &metav1.Time{Time: at},
			Syncer: &workloadv1alpha1.SyncerStatus{ClusterID: reported},
		}
	}
	old := start.Add(-time.Hour)
	tests := map[string]struct {
		reason string
		// seen are versions of the target, one a minute.
		seen []workloadv1alpha1.SyncTargetStatus
		want pulse
	}{
		"first sight": {
			"The agent may have died long ago.",
			[]workloadv1alpha1.SyncTargetStatus{beat(old, thisCluster)},
			pulse{value: metav1.NewTime(old), listening: start},
		},
		"seen again": {
			"Nothing came.",
			[]workloadv1alpha1.SyncTargetStatus{beat(old, thisCluster), beat(old, thisCluster)},
			pulse{value: metav1.NewTime(old), listening: start},
		},
		"the first of all": {
			"There was none at first sight, so this one is new.",
			[]workloadv1alpha1.SyncTargetStatus{{}, beat(old, thisCluster)},
			pulse{value: metav1.NewTime(old), listening: start, changed: start.Add(time.Minute)},
		},
		"changed": {
			"When it changed counts by our clock, whatever the agent's says.",
			[]workloadv1alpha1.SyncTargetStatus{beat(old, thisCluster), {}, beat(old.Add(time.Second), thisCluster)},
			pulse{value: metav1.NewTime(old.Add(time.Second)), listening: start, changed: start.Add(2 * time.Minute)},
		},
		"set back": {
			"An agent whose clock was corrected lives all the same.",
			[]workloadv1alpha1.SyncTargetStatus{beat(old, thisCluster), beat(old.Add(-time.Hour), thisCluster)},
			pulse{value: metav1.NewTime(old.Add(-time.Hour)), listening: start, changed: start.Add(time.Minute)},
		},
		"from elsewhere": {
			"A syncer in another cluster says nothing about this one.",
			[]workloadv1alpha1.SyncTargetStatus{beat(old, thisCluster), beat(start, otherCluster)},
			pulse{value: metav1.NewTime(old), listening: start},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakePassiveClock(start)
			p := newPulses(clock)
			var got pulse
			for i, status := range tc.seen {
				clock.SetTime(start.Add(time.Duration(i) * time.Minute))
				got = p.observe(newTarget(func(target *workloadv1alpha1.SyncTarget) { target.Status = status }))
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(pulse{})); diff != "" {
				t.Errorf("%s\nobserve(): -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestPulsesForget(t *testing.T) {
	p := newPulses(clocktesting.NewFakePassiveClock(time.Now()))
	p.observe(newTarget())
	p.forget(testUID)
	if diff := cmp.Diff(map[workloadv1alpha1.SyncTargetPhase]int{}, first(p.snapshot()), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a target that is gone is counted: -want +got\n%s", diff)
	}
}

func first[A, B any](a A, _ B) A { return a }

func TestPulsesSnapshot(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	clock := clocktesting.NewFakePassiveClock(start)
	p := newPulses(clock)
	see := func(uid string, phase workloadv1alpha1.SyncTargetPhase, beat time.Time) {
		p.observe(newTarget(func(target *workloadv1alpha1.SyncTarget) {
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

	byPhase, oldest := p.snapshot()
	want := map[workloadv1alpha1.SyncTargetPhase]int{workloadv1alpha1.PhaseReady: 2, workloadv1alpha1.PhaseNotReady: 1, workloadv1alpha1.PhasePending: 1}
	if diff := cmp.Diff(want, byPhase); diff != "" {
		t.Errorf("snapshot(): -want +got\n%s", diff)
	}
	if oldest != 90*time.Second {
		t.Errorf("oldest = %s, want that of the silent one among the Ready: 1m30s", oldest)
	}
}
