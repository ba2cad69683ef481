package synctarget

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestMassLimit(t *testing.T) {
	for targets, want := range map[int]int{0: 3, 1: 3, 4: 3, 15: 3, 19: 3, 20: 4, 24: 4, 25: 5, 10000: 2000} {
		if got := massLimit(targets); got != want {
			t.Errorf("massLimit(%d) = %d, want %d", targets, got, want)
		}
	}
}

func TestFallTogether(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		reason string
		// times are in seconds after at.
		times []int
		want  int
	}{
		"alone":               {"", []int{0}, 1},
		"at once":             {"", []int{0, 0, 0}, 3},
		"before":              {"", []int{-60, -30, 0}, 3},
		"after":               {"", []int{0, 30, 60}, 3},
		"around":              {"The minute is any that contains the moment.", []int{-30, -20, 0, 20, 30}, 5},
		"too wide":            {"A minute holds two of them.", []int{-60, -40, 0, 40, 60}, 3},
		"longer ago":          {"", []int{-61, 0, 61}, 1},
		"many, but elsewhere": {"A crowded minute that does not contain the moment is another incident.", []int{-120, -119, -118, -117, 0}, 1},
		"unsorted":            {"", []int{30, 0, -30}, 3},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for split := range len(tc.times) + 1 { // which of the times are of one kind makes no difference
				var of [2]sortedTimes
				for i, s := range tc.times {
					kind := &of[0]
					if i >= split {
						kind = &of[1]
					}
					kind.add(at.Add(time.Duration(s) * time.Second))
				}
				if !fallSilentTogether(at, of[0], of[1], tc.want-1) || fallSilentTogether(at, of[0], of[1], tc.want) {
					t.Errorf("%s\nnot %d times lie in one window", tc.reason, tc.want)
				}
			}
		})
	}
}

// TestMassSilenceIndex: whatever happens to the targets, the index answers as a look at all of them does.
func TestMassSilenceIndex(t *testing.T) {
	const seeds, steps, targets = 20, 500, 40
	answers := map[bool]int{}
	for seed := range uint64(seeds) {
		random := rand.New(rand.NewPCG(seed, 0))
		clock := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
		tracker := newHeartbeatTracker(clock, threshold)
		for step := range steps {
			clock.SetTime(clock.Now().Add(time.Duration(random.IntN(10_000)) * time.Millisecond))
			target := otherTarget(fmt.Sprint(random.IntN(targets)), someReady(workloadv1alpha1.ReasonReady))
			endpoint := []string{"a", "b"}[random.IntN(2)]
			switch random.IntN(10) {
			case 0:
				tracker.forget(target.UID)
			case 1:
				tracker.resetSilence(target.UID)
			case 2, 3:
				target.Status.LastHeartbeatTime.Time = clock.Now()
				tracker.observe(endpoint, target)
			default:
				if record, known := tracker.targets[target.UID]; known {
					target.Status.LastHeartbeatTime = &metav1.Time{Time: record.last[sourceStatus].at}
					tracker.verify(target, nil)
				}
			}
			record, known := tracker.targets[target.UID]
			if !known || !record.alive {
				continue
			}
			got, want := tracker.massSilence(record, clock.Now()), massSilenceOfAll(tracker.targets, record, clock.Now())
			answers[got]++
			if got != want {
				t.Fatalf("seed %d, step %d: massSilence() = %t, want %t", seed, step, got, want)
			}
			if got, want := tracker.hasPaused(record.endpoint), hasPausedOfAll(tracker.targets, record.endpoint); got != want {
				t.Fatalf("seed %d, step %d: hasPaused() = %t, want %t", seed, step, got, want)
			}
		}
	}
	if answers[true] == 0 || answers[false] == 0 {
		t.Errorf("both answers must occur: %v", answers)
	}
}

// massSilenceOfAll looks at the records of all targets.
func massSilenceOfAll(targets map[types.UID]heartbeatRecord, record heartbeatRecord, now time.Time) bool {
	at := record.silentSince().Add(threshold)
	var fell []time.Time
	sending := 0
	for _, other := range targets {
		moment := other.silentSince().Add(threshold)
		recently := other.fellSilent && !moment.Before(at.Add(-massWindow))
		if other.endpoint == record.endpoint && (other.alive || recently) {
			sending++
			if recently || !moment.After(now.Add(overdue(threshold))) {
				fell = append(fell, moment)
			}
		}
	}
	most := 0
	for _, start := range fell {
		if start.After(at) || start.Before(at.Add(-massWindow)) {
			continue
		}
		within := 0
		for _, moment := range fell {
			if !moment.Before(start) && !moment.After(start.Add(massWindow)) {
				within++
			}
		}
		most = max(most, within)
	}
	return most > massLimit(sending)
}

func hasPausedOfAll(targets map[types.UID]heartbeatRecord, endpoint string) bool {
	for _, record := range targets {
		if record.endpoint == endpoint && record.silence == silencePaused {
			return true
		}
	}
	return false
}

// silentTargets returns a tracker of targets that have all fallen silent within half a minute, and these.
func silentTargets(count int) (*heartbeatTracker, []*workloadv1alpha1.SyncTarget) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	clock := clocktesting.NewFakePassiveClock(start)
	tracker := newHeartbeatTracker(clock, threshold)
	targets := make([]*workloadv1alpha1.SyncTarget, count)
	for i := range targets {
		clock.SetTime(start.Add(time.Duration(i) * 30 * time.Second / time.Duration(count)))
		targets[i] = otherTarget(fmt.Sprint(i), someReady(workloadv1alpha1.ReasonReady))
		tracker.observe("a", targets[i])
	}
	clock.SetTime(start.Add(threshold + 30*time.Second))
	return tracker, targets
}

func TestTenThousandFallSilent(t *testing.T) {
	tracker, targets := silentTargets(10_000)
	for i, target := range targets {
		cause, began := tracker.verify(target, nil)
		if cause != pauseMassSilence || began != (i == 0) {
			t.Fatalf("target %d: verify() = %q, %t", i, cause, began)
		}
	}
}

// BenchmarkTenThousandFallSilent measures the verification of all targets of an endpoint that fell silent at once.
func BenchmarkTenThousandFallSilent(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		tracker, targets := silentTargets(10_000)
		b.StartTimer()
		for _, target := range targets {
			tracker.verify(target, nil)
		}
	}
}

func TestOverdue(t *testing.T) {
	for threshold, want := range map[time.Duration]time.Duration{
		5 * time.Minute: time.Minute, 4 * time.Minute: time.Minute, time.Minute: 15 * time.Second, 10 * time.Second: 2500 * time.Millisecond,
	} {
		if got := overdue(threshold); got != want {
			t.Errorf("overdue(%s) = %s, want %s", threshold, got, want)
		}
	}
}

func TestHealthDetails(t *testing.T) {
	got := healthDetails(map[string]map[pauseCause]bool{
		"https://b": {pauseMassSilence: true}, "https://a": {}, "https://d": {pauseNoAnswer: true},
		"https://c": {pauseMassSilence: true, pauseWatchStalled: true},
	})
	want := []string{
		`endpoint "https://a": heartbeats are judged`,
		`endpoint "https://b": the heartbeats of many SyncTargets stopped within a minute; their condition Ready is Unknown`,
		`endpoint "https://c": the watch of SyncTargets or of Leases has not delivered a heartbeat that kcp holds; silence is verified by live reads`,
		`endpoint "https://d": kcp did not answer a live read by which the silence of a syncer is verified; the condition Ready of its SyncTarget stays as it is`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("healthDetails(): -want +got\n%s", diff)
	}
}
