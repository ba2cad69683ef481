// Package fairqueue is client-go's workqueue with turns: a tenant with a thousand items keeps another with a single one
// waiting no longer than one with two.
package fairqueue

import (
	"slices"

	"k8s.io/client-go/util/workqueue"
)

// New makes a queue of items, each of which belongs to the lane that lane names.
func New[T, L comparable](name string, limiter workqueue.TypedRateLimiter[T], lane func(T) L) workqueue.TypedRateLimitingInterface[T] {
	return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[T]{
		DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[T]{
			Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[T]{
				Name: name, Queue: &turns[T, L]{lane: lane, waiting: map[L][]T{}},
			}),
		}),
	})
}

// turns orders what waits: the lanes take turns, and within one, who came first is first. It is workqueue.Queue; the
// queue around it keeps it from being called by two at once.
type turns[T, L comparable] struct {
	lane    func(T) L
	waiting map[L][]T
	// order holds each lane in which something waits once.
	order []L
	count int
}

// Touch implements workqueue.Queue: what is added again keeps its place.
func (t *turns[T, L]) Touch(T) {}

// Push implements workqueue.Queue.
func (t *turns[T, L]) Push(item T) {
	lane := t.lane(item)
	if len(t.waiting[lane]) == 0 {
		t.order = append(t.order, lane)
	}
	t.waiting[lane] = append(t.waiting[lane], item)
	t.count++
}

// Len implements workqueue.Queue.
func (t *turns[T, L]) Len() int { return t.count }

// Pop implements workqueue.Queue.
func (t *turns[T, L]) Pop() T { return t.pop(0) }

// pop takes the next item of a lane, by its place in the order.
func (t *turns[T, L]) pop(place int) T {
	lane := t.order[place]
	t.order = slices.Delete(t.order, place, place+1)
	item, rest := t.waiting[lane][0], t.waiting[lane][1:]
	if len(rest) == 0 {
		delete(t.waiting, lane)
	} else {
		t.waiting[lane] = rest
		t.order = append(t.order, lane)
	}
	t.count--
	return item
}
