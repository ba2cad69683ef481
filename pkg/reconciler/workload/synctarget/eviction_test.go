package synctarget

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// silentFleet is a tracker of ready targets of one endpoint, of which the first fell silent together.
type silentFleet struct {
	*heartbeatTracker
	clock   *clocktesting.FakePassiveClock
	targets []*workloadv1alpha1.SyncTarget
}

// newSilentFleet returns the fleet right after the silent ones are silent for the threshold, one second apart, and verified.
func newSilentFleet(all, silent int) *silentFleet {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	f := &silentFleet{heartbeatTracker: newHeartbeatTracker(clock, threshold), clock: clock}
	for i := range all {
		f.targets = append(f.targets, otherTarget(fmt.Sprint(i), someReady(workloadv1alpha1.ReasonReady)))
		f.observe("a", f.targets[i])
	}
	f.step(2 * threshold)
	for i := range all {
		f.beat(i)
		if i < silent {
			f.step(time.Second)
		}
	}
	f.step(threshold)
	for i := silent; i < all; i++ {
		f.beat(i)
	}
	f.verifyAll(silent)
	return f
}

func (f *silentFleet) step(d time.Duration) { f.clock.SetTime(f.clock.Now().Add(d)) }

func (f *silentFleet) beat(i int) {
	f.targets[i].Status.LastHeartbeatTime = &metav1.Time{Time: f.clock.Now()}
	f.observe("a", f.targets[i])
}

// verifyAll reads the first of the targets live.
func (f *silentFleet) verifyAll(count int) {
	for _, target := range f.targets[:count] {
		f.verify(target, nil)
	}
}

// paused counts the targets that nothing leaves.
func (f *silentFleet) paused() (paused int) {
	for _, target := range f.targets {
		if f.isEvictionPaused(target.UID) {
			paused++
		}
	}
	return paused
}

func (f *silentFleet) want(t *testing.T, reason string, want int) {
	t.Helper()
	if got := f.paused(); got != want {
		t.Errorf("%s: evictions of %d targets are paused, want %d", reason, got, want)
	}
}

func TestEvictionPausedInAMassSilence(t *testing.T) {
	f := newSilentFleet(40, 9)
	f.want(t, "9 of 40 are more than 20 %", 9)
	f.step(threshold)
	f.verifyAll(9)
	for _, target := range f.targets[:9] {
		if f.heartbeatTracker.targets[target.UID].silence != silenceVerified {
			t.Fatal("after twice the threshold Ready is False")
		}
	}
	f.want(t, "Ready is False by now, and the mass is still silent", 9)
	f.step(24 * time.Hour)
	f.want(t, "a day later", 9)
	f.beat(0)
	f.want(t, "one came back: 8 of 40 are not more than 20 %", 0)
	f.forget(f.targets[1].UID)
	f.want(t, "a target that is not known", 1)
}

func TestEvictionOfFew(t *testing.T) {
	f := newSilentFleet(4, 3)
	f.want(t, "3 are never a mass", 0)
	f = newSilentFleet(100, 20)
	f.want(t, "20 of 100", 0)
	f = newSilentFleet(100, 21)
	f.want(t, "21 of 100", 21)
}

// TestEvictionPausedAfterAStart: a new process, or a new leader, does not evict before it has watched for a threshold, and does not
// forget that many fell silent together.
func TestEvictionPausedAfterAStart(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		reason string
		silent int
		// apart is how long after each other they fell silent.
		apart  time.Duration
		paused int
	}{
		"mass":               {"They fell silent together, by their conditions.", 9, time.Second, 9},
		"one after another":  {"Each of them is an incident of its own.", 9, time.Hour, 0},
		"few, but all alike": {"", 3, 0, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakePassiveClock(start)
			f := &silentFleet{heartbeatTracker: newHeartbeatTracker(clock, threshold), clock: clock}
			for i := range 40 {
				target := otherTarget(fmt.Sprint(i), someReady(workloadv1alpha1.ReasonReady))
				if i < tc.silent {
					target.Status.Conditions = someReady(workloadv1alpha1.ReasonUnhealthy)
					target.Status.Conditions[0].LastTransitionTime = metav1.NewTime(start.Add(-24*time.Hour + time.Duration(i)*tc.apart))
				}
				f.targets = append(f.targets, target)
				f.observe("a", target)
			}
			f.want(t, "at the start", 40)
			f.step(threshold - time.Second)
			f.want(t, "before the threshold", 40)
			f.step(time.Second)
			for i := tc.silent; i < 40; i++ {
				f.beat(i)
			}
			f.verifyAll(tc.silent)
			f.want(t, tc.reason, tc.paused)
			f.beat(0)
			if tc.paused > 0 {
				f.want(t, "one came back", 0)
			}
		})
	}
}

func TestEvictionPausedWhileAWatchIsStalled(t *testing.T) {
	f := newSilentFleet(10, 1)
	f.want(t, "one of ten is silent", 0)
	f.unanswered("a")
	f.want(t, "kcp does not answer", 10)
	f.beat(5)
	f.want(t, "the watch delivers", 0)
	f.resetSilence(f.targets[0].UID)
	f.want(t, "kcp has not answered just now", 1)
	f.unanswered("b")
	f.want(t, "another endpoint", 1)
}

func TestEvictionPausedOfNone(t *testing.T) {
	w := usual(t)
	if !w.r.EvictionPaused(testCluster, types.UID("unknown")) {
		t.Error("evictions from a SyncTarget that is not known are not paused")
	}
	w.r.heartbeats.observe(defaultEndpoint, w.target())
	w.clock.Step(2 * threshold)
	if w.r.EvictionPaused(testCluster, testUID) {
		t.Error("a SyncTarget that never sent a heartbeat is part of a mass silence")
	}
}

// TestEvictionOfStoppedTargets: targets that came back, and whose syncers the user has stopped since, are no mass silence.
func TestEvictionOfStoppedTargets(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	f := &silentFleet{heartbeatTracker: newHeartbeatTracker(clock, threshold), clock: clock}
	for i := range 9 {
		target := otherTarget(fmt.Sprint(i), someReady(workloadv1alpha1.ReasonUnhealthy))
		target.Status.Conditions[0].LastTransitionTime = metav1.NewTime(clock.Now())
		f.targets = append(f.targets, target)
		f.observe("a", target)
	}
	f.step(threshold)
	f.want(t, "silent since before", 9)
	for i, target := range f.targets {
		f.beat(i)
		target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: ptr.To[int32](0)}
		f.observe("a", target)
	}
	f.step(threshold)
	f.want(t, "stopped by their user", 0)
}
