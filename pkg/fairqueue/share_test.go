package fairqueue

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/util/workqueue"
)

// pool works on a shared queue; do is told which item it is.
func pool(t *testing.T, workers int, do func(item string)) workqueue.TypedRateLimitingInterface[string] {
	t.Helper()
	q := Share(New("", workqueue.DefaultTypedControllerRateLimiter[string](), lane), workers, lane)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for {
				item, shutdown := q.Get()
				if shutdown {
					return
				}
				do(item)
				q.Done(item)
			}
		})
	}
	t.Cleanup(func() { q.ShutDown(); running.Wait() })
	return q
}

// TestShare: lanes whose items hang keep no other from its turn, and hold no more workers than they leave.
func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		begun := map[byte]int{}
		hang := make(chan struct{})
		q := pool(t, 16, func(item string) {
			mu.Lock()
			begun[lane(item)]++
			mu.Unlock()
			if lane(item) != 'z' {
				<-hang
			}
		})
		add := func(lane string, items int) {
			for i := range items {
				q.Add(fmt.Sprint(lane, i))
			}
			synctest.Wait()
		}
		add("a", 50)
		add("b", 50)
		add("z", 50)
		if diff := cmp.Diff(map[byte]int{'a': 8, 'b': 4, 'z': 50}, begun); diff != "" {
			t.Errorf("while two lanes hang: -want +got\n%s", diff)
		}
		if q.Len() != 50-8+50-4 {
			t.Errorf("%d wait", q.Len())
		}
		q.Add("a49") // changes while it is parked
		q.AddAfter("b49", time.Second)
		time.Sleep(2 * time.Second)
		close(hang)
		synctest.Wait()
		if diff := cmp.Diff(map[byte]int{'a': 51, 'b': 51, 'z': 50}, begun); diff != "" {
			t.Errorf("when they hang no longer: -want +got\n%s", diff)
		}
		s := q.(*shared[string, byte])
		if q.Len() != 0 || s.free != 16 || len(s.taken)+len(s.parked.waiting)+len(s.parked.order) != 0 {
			t.Errorf("an empty queue remembers %+v", s)
		}
	})
}

// TestShareLosesNothing: whatever the lanes take, everything has its turn in the end, and no lane waits with no worker of
// its own while one is free.
func TestShareLosesNothing(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			var mu sync.Mutex
			done := map[string]int{}
			took := func() time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(random.IntN(1000)) * time.Millisecond
			}
			q := pool(t, 8, func(item string) {
				time.Sleep(took())
				mu.Lock()
				done[item]++
				mu.Unlock()
			})
			s := q.(*shared[string, byte])
			for i := range 300 {
				q.Add(fmt.Sprintf("%c%d", 'a'+random.IntN(6), i))
				time.Sleep(took() / 10)
				synctest.Wait()
				s.mu.Lock()
				for _, lane := range s.parked.order {
					if s.free > 0 && s.taken[lane] == 0 {
						t.Errorf("seed %d: lane %c has no worker, and %d are free", seed, lane, s.free)
					}
				}
				s.mu.Unlock()
			}
			time.Sleep(time.Hour)
			mu.Lock()
			defer mu.Unlock()
			if len(done) != 300 {
				t.Errorf("seed %d: %d of 300 had their turn", seed, len(done))
			}
		})
	}
}
