package fairness

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/semaphore"
)

func TestLimiter(t *testing.T) {
	for name, test := range map[string]struct {
		reason string
		total  int64
		places int64
		calls  map[string]int // by group
		want   map[string]int // under way at the same time
	}{
		"all":       {"", 10, 2, map[string]int{"a": 2, "b": 1}, map[string]int{"a": 2, "b": 1}},
		"one's own": {"the others wait for their like", 10, 2, map[string]int{"a": 1000, "b": 1}, map[string]int{"a": 2, "b": 1}},
		"in total":  {"", 1, 2, map[string]int{"a": 3}, map[string]int{"a": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := NewLimiter[string](semaphore.NewWeighted(test.total), test.places)
				release := make(chan struct{})
				underWay, done := map[string]*atomic.Int64{}, atomic.Int64{}
				all := int64(0)
				for group, calls := range test.calls {
					count := &atomic.Int64{}
					underWay[group] = count
					all += int64(calls)
					for range calls {
						go func() {
							_ = l.Do(t.Context(), group, func() {
								count.Add(1)
								<-release
								done.Add(1)
							})
						}()
					}
				}
				synctest.Wait()
				got := map[string]int{}
				for group, count := range underWay {
					got[group] = int(count.Load())
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s: under way, -want +got:\n%s", test.reason, diff)
				}
				close(release)
				synctest.Wait()
				if done.Load() != all || len(l.groups) != 0 {
					t.Errorf("%d of %d calls were made in the end; want all, and nothing kept", done.Load(), all)
				}
			})
		})
	}
}

// Whoever waits for one of his own places takes none of the others'; and a wait that ends early leaves nothing behind.
func TestLimiterOwnPlaceFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		total := semaphore.NewWeighted(2)
		probes, meetings := NewLimiter[string](total, 1), NewLimiter[string](total, 1)
		hole, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 3)
		for range 3 {
			go func() { ended <- probes.Do(hole, "a", func() { <-hole.Done() }) }()
		}
		synctest.Wait()
		passed := false
		if err := meetings.Do(t.Context(), "a", func() { passed = true }); err != nil || !passed {
			t.Errorf("Do() = %v, want the second place of all to be free", err)
		}
		cancel()
		synctest.Wait()
		refused := 0
		for range 3 {
			if errors.Is(<-ended, context.Canceled) {
				refused++
			}
		}
		if refused != 2 || len(probes.groups)+len(meetings.groups) != 0 {
			t.Errorf("%d waited in vain, want 2, and nothing kept", refused)
		}
		if !total.TryAcquire(2) {
			t.Error("a place was not given back")
		}
	})
}
