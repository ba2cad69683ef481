package fairqueue

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/util/workqueue"
)

// TestNew: the lanes take turns, however much waits in one of them.
func TestNew(t *testing.T) {
	tests := map[string]struct {
		reason string
		added  []string
		want   []string
	}{
		"one lane":               {"First come, first served.", []string{"a1", "a2", "a3"}, []string{"a1", "a2", "a3"}},
		"a burst before another": {"The other waits for one of them, not for all.", []string{"a1", "a2", "a3", "b1", "b2"}, []string{"a1", "b1", "a2", "b2", "a3"}},
		"added again":            {"What waits keeps its place.", []string{"a1", "a2", "a1"}, []string{"a1", "a2"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			q := New("", workqueue.DefaultTypedControllerRateLimiter[string](), lane)
			defer q.ShutDown()
			for _, item := range tc.added {
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
		})
	}
}

func lane(item string) byte { return item[0] }

func TestTurnsForget(t *testing.T) {
	q := &turns[string, byte]{lane: lane, waiting: map[byte][]string{}}
	for range 3 {
		q.Push("a1")
		q.Push("b1")
		q.Pop()
		q.Pop()
	}
	if q.Len() != 0 || len(q.waiting)+len(q.order) != 0 {
		t.Errorf("an empty queue remembers %v, %v", q.waiting, q.order)
	}
}
