package fairness

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

func newQueue(workers int) *Queue[string, byte] {
	return New(Options[string, byte]{
		RateLimiter: workqueue.DefaultTypedControllerRateLimiter[string](), Workers: workers,
		Group:  func(item string) byte { return item[0] },
		IsSlow: func(item string) bool { return item[len(item)-1] == '~' },
	})
}

// TestOrder: groups take turns, however much waits in one of them, and high priority goes first.
func TestOrder(t *testing.T) {
	tests := map[string]struct {
		reason    string
		low, high []string
		want      []string
	}{
		"one group":              {"First come, first served.", nil, []string{"a1", "a2", "a3"}, []string{"a1", "a2", "a3"}},
		"a burst before another": {"The other waits for one of them, not for all.", nil, []string{"a1", "a2", "a3", "b1", "b2"}, []string{"a1", "b1", "a2", "b2", "a3"}},
		"three":                  {"", nil, []string{"a1", "a2", "b1", "c1", "c2"}, []string{"a1", "b1", "c1", "a2", "c2"}},
		"added again":            {"What waits keeps its place.", nil, []string{"a1", "a2", "a1"}, []string{"a1", "a2"}},
		"both priorities":        {"What a user has changed goes before what is read again.", []string{"a1", "b1", "b2"}, []string{"a2", "b3"}, []string{"a2", "b3", "a1", "b1", "b2"}},
		"raised":                 {"It was to be read again, and now a user has changed it.", []string{"a1", "a2", "b1"}, []string{"a2"}, []string{"a2", "a1", "b1"}},
		"raised from the only":   {"Its group is not left behind.", []string{"a1", "b1"}, []string{"a1"}, []string{"a1", "b1"}},
		"raised later":           {"Among those of high priority it is the last.", []string{"b1"}, []string{"a1", "b1"}, []string{"a1", "b1"}},
		"many of high priority": {
			"Low priority does not starve: it has every fourth turn.", []string{"b1", "b2"}, []string{"a1", "a2", "a3", "a4", "a5", "a6", "a7"},
			[]string{"a1", "a2", "a3", "b1", "a4", "a5", "a6", "b2", "a7"},
		},
		"many slow ones of high priority": {
			"Nor does it among the slow items.", []string{"b1~"}, []string{"a1~", "a2~", "a3~", "a4~"}, []string{"a1~", "a2~", "a3~", "b1~", "a4~"},
		},
		"slow ones after others": {
			"Each pool counts its own turns.", []string{"b1~"}, []string{"a1", "a2", "a3", "c1~"}, []string{"a1", "a2", "a3", "c1~", "b1~"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			q := newQueue(20)
			defer q.ShutDown()
			for _, item := range tc.low {
				q.Low().Add(item)
			}
			for _, item := range tc.high {
				q.Add(item)
			}
			var got []string
			for q.Len() > 0 {
				item, _ := q.Get()
				got = append(got, item)
				q.Done(item)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
			}
			s := q.schedule
			if s.len() != 0 || len(s.raised)+len(s.running)+len(s.claimed) != 0 {
				t.Errorf("an empty queue remembers %+v", s)
			}
		})
	}
}

// TestPriorityOfDelayed: an item that is added with a delay has the priority that it was added with.
func TestPriorityOfDelayed(t *testing.T) {
	for name, tc := range map[string]struct {
		add func(*Queue[string, byte])
		low bool
	}{
		"later":           {func(q *Queue[string, byte]) { q.AddAfter("a", time.Minute) }, false},
		"later, low":      {func(q *Queue[string, byte]) { q.Low().AddAfter("a", time.Minute) }, true},
		"failed":          {func(q *Queue[string, byte]) { q.AddRateLimited("a") }, false},
		"failed, low":     {func(q *Queue[string, byte]) { q.Low().AddRateLimited("a") }, true},
		"low, then added": {func(q *Queue[string, byte]) { q.Low().AddAfter("a", time.Minute); q.Add("a") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(4)
				defer q.ShutDown()
				tc.add(q)
				item, _ := q.Get()
				if got := q.IsLow(item); got != tc.low {
					t.Errorf("low = %t", got)
				}
				q.Done(item)
			})
		})
	}
}

// runWorkers works on a queue; do is told which item it is.
func runWorkers(t *testing.T, workers int, do func(item string)) *Queue[string, byte] {
	t.Helper()
	q := newQueue(workers)
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

// TestShare: groups whose items hang keep no other from its turn, and hold no more workers than they leave.
func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		begun := map[byte]int{}
		hang := make(chan struct{})
		q := runWorkers(t, 21, func(item string) {
			mu.Lock()
			begun[item[0]]++
			mu.Unlock()
			if item[0] != 'z' {
				<-hang
			}
		})
		add := func(group string, items int) {
			for i := range items {
				q.Add(fmt.Sprint(group, i))
			}
			synctest.Wait()
		}
		add("a", 50)
		add("b", 50)
		add("z", 50)
		if diff := cmp.Diff(map[byte]int{'a': 8, 'b': 4, 'z': 50}, begun); diff != "" {
			t.Errorf("while two groups hang: -want +got\n%s", diff)
		}
		if q.Len() != 50-8+50-4 {
			t.Errorf("%d wait", q.Len())
		}
		q.Add("a49") // is added again while it waits
		q.AddAfter("b49", time.Second)
		time.Sleep(2 * time.Second)
		close(hang)
		synctest.Wait()
		if diff := cmp.Diff(map[byte]int{'a': 50, 'b': 50, 'z': 50}, begun); diff != "" {
			t.Errorf("when they hang no longer: -want +got\n%s", diff)
		}
		if s := q.schedule; s.pools[0].free != 16 || len(s.waiting)+len(s.running)+len(s.raised)+len(s.pools[0].inFlight) != 0 {
			t.Errorf("an empty queue remembers %+v", s)
		}
	})
}

// TestSlow: slow items hold a quarter of the workers, however many groups they come from.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		begun := 0
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return begun
		}
		q := runWorkers(t, 100, func(item string) {
			if item[0] != 'z' {
				time.Sleep(10 * time.Second)
			}
			mu.Lock()
			begun++
			mu.Unlock()
		})
		for group := 'a'; group < 'o'; group++ {
			for i := range 50 {
				q.Add(fmt.Sprintf("%c%d~", group, i))
			}
		}
		synctest.Wait()
		q.Add("z1")
		synctest.Wait()
		if count() != 1 {
			t.Error("another item waits for slow ones")
		}
		time.Sleep(10*time.Second + 1)
		synctest.Wait()
		// One worker stays free if each group has one when the last becomes free.
		if n := count(); n != 1+24 && n != 1+25 {
			t.Errorf("%d slow items at once, want 24 or 25", n-1)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if count() != 1+14*50 || q.schedule.pools[1].free != 25 {
			t.Errorf("%d slow items had their turn, %d workers are free", count()-1, q.schedule.pools[1].free)
		}
	})
}

// TestSingleWorker: a single worker takes slow items in their turn, too.
func TestSingleWorker(t *testing.T) {
	q := newQueue(1)
	defer q.ShutDown()
	for _, item := range []string{"a1", "b1~", "a2"} {
		q.Add(item)
	}
	var got []string
	for q.Len() > 0 {
		item, _ := q.Get()
		got = append(got, item)
		q.Done(item)
	}
	if diff := cmp.Diff([]string{"a1", "b1~", "a2"}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestShareLosesNothing: whatever the groups take, everything has its turn in the end, and while workers are free no item waits
// that may begin.
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
			q := runWorkers(t, 8, func(item string) {
				time.Sleep(took())
				mu.Lock()
				done[item]++
				mu.Unlock()
			})
			for i := range 300 {
				item := fmt.Sprintf("%c%d", 'a'+random.IntN(6), i)
				if random.IntN(4) == 0 {
					item += "~"
				}
				if random.IntN(2) == 0 {
					q.Add(item)
				} else {
					q.Low().Add(item)
				}
				time.Sleep(took() / 10)
				synctest.Wait()
				q.schedule.mu.Lock()
				if at, _, ok := q.schedule.next(); ok {
					t.Errorf("seed %d: an item waits in %v, and %d workers are free", seed, at, q.schedule.pools[at.pool].free)
				}
				q.schedule.mu.Unlock()
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
