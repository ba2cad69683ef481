package fairqueue

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
)

// Share keeps any lane from holding all the workers of a queue: one whose items hang has no more of them than are left for
// the others. A lane alone has half of them, two that both want more a third each. Newcomers find one as long as the lanes
// that hang are fewer than the logarithm of the workers; with more, these have to come to an end first.
//
// It takes a number of workers that call Get again after each Done, until it says that the queue is shut down. What has to
// wait for its lane counts as taken from the queue, so that an item which is added meanwhile comes once more.
func Share[T, L comparable](queue workqueue.TypedRateLimitingInterface[T], workers int, lane func(T) L) workqueue.TypedRateLimitingInterface[T] {
	return &shared[T, L]{
		TypedRateLimitingInterface: queue, lane: lane, free: workers, taken: map[L]int{}, parked: turns[T, L]{lane: lane, waiting: map[L][]T{}},
	}
}

type shared[T, L comparable] struct {
	workqueue.TypedRateLimitingInterface[T]
	lane func(T) L

	mu sync.Mutex
	// free are the workers that have nothing to do, and taken those of each lane.
	free  int
	taken map[L]int
	// parked is what has to wait for its lane, of which each holds a worker then. Whoever comes from Done finds it.
	parked turns[T, L]
}

// Get returns what is next for a worker that is free.
func (s *shared[T, L]) Get() (item T, shutdown bool) {
	if item, ok := s.unpark(); ok {
		return item, false
	}
	for {
		item, shutdown := s.TypedRateLimitingInterface.Get()
		if shutdown || s.enter(item) {
			return item, shutdown
		}
	}
}

// Done frees a worker.
func (s *shared[T, L]) Done(item T) {
	s.TypedRateLimitingInterface.Done(item)
	s.mu.Lock()
	defer s.mu.Unlock()
	lane := s.lane(item)
	s.free++
	if s.taken[lane]--; s.taken[lane] == 0 {
		delete(s.taken, lane)
	}
}

// Len is how much waits.
func (s *shared[T, L]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.TypedRateLimitingInterface.Len() + s.parked.Len()
}

// unpark takes the next of what waits for its lane: of the lane with the fewest workers, so that none is left with none.
func (s *shared[T, L]) unpark() (item T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fewest := -1
	for i, lane := range s.parked.order {
		if s.taken[lane] < s.free && (fewest < 0 || s.taken[lane] < s.taken[s.parked.order[fewest]]) {
			fewest = i
		}
	}
	if fewest < 0 {
		return item, false
	}
	s.take(s.parked.order[fewest])
	return s.parked.pop(fewest), true
}

// enter gives a worker to an item, or parks it where its lane has as many as are left.
func (s *shared[T, L]) enter(item T) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	lane := s.lane(item)
	if s.taken[lane] >= s.free {
		s.parked.Push(item)
		return false
	}
	s.take(lane)
	return true
}

func (s *shared[T, L]) take(lane L) {
	s.free--
	s.taken[lane]++
}
