package synctarget

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
		// moments are in seconds after at.
		moments []int
		want    int
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
			var moments []time.Time
			for _, s := range tc.moments {
				moments = append(moments, at.Add(time.Duration(s)*time.Second))
			}
			if got := fallTogether(at, moments); got != tc.want {
				t.Errorf("%s\nfallTogether() = %d, want %d", tc.reason, got, tc.want)
			}
		})
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
		`endpoint "https://c": the watch of SyncTargets has not delivered a heartbeat that kcp holds; silence is verified by live reads`,
		`endpoint "https://d": kcp did not answer a live read by which the silence of a syncer is verified; the condition Ready of its SyncTarget stays as it is`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("healthDetails(): -want +got\n%s", diff)
	}
}
