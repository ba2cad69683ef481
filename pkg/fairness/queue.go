package fairness

import (
	"time"

	"k8s.io/client-go/util/workqueue"
)

// Options configure a Queue.
type Options[T, G comparable] struct {
	// Name of the queue in the metrics of client-go; empty for none.
	Name string
	// RateLimiter is the backoff of items that have failed.
	RateLimiter workqueue.TypedRateLimiter[T]
	// Workers is how many goroutines call Get.
	Workers int
	// Group returns the group of an item.
	Group func(T) G
	// IsSlow reports whether an item is expected to hold its worker for long. It is called when an item becomes ready,
	// and not at all if there is only one worker. Nil: no item is slow.
	IsSlow func(T) bool
}

// Queue is client-go's work queue with another order and a bound for each group:
//
//   - Groups take turns, however many items wait in one of them.
//   - A group gets another worker only while it has fewer of them than are free. So a group alone has half of them, and two
//     that both want more have a third each. When g groups keep their workers busy, at least about workers/2^g are left
//     for the others.
//   - Slow items have a quarter of the workers, and the other items have the rest.
//   - An item of high priority, such as one that a user has just changed, goes before those of low priority. But after
//     three of high priority, one of low priority begins if it may. The items of Low are of low priority, all others of
//     high.
//
// An item that has to wait for its group stays in the queue and costs nothing.
type Queue[T, G comparable] struct {
	workqueue.TypedRateLimitingInterface[T]
	schedule *schedule[T, G]
}

// New returns a Queue.
func New[T, G comparable](o Options[T, G]) *Queue[T, G] {
	s := newSchedule(o)
	return &Queue[T, G]{
		schedule: s,
		TypedRateLimitingInterface: workqueue.NewTypedRateLimitingQueueWithConfig(o.RateLimiter, workqueue.TypedRateLimitingQueueConfig[T]{
			DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[T]{
				Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[T]{Name: o.Name, Queue: s}),
			}),
		}),
	}
}

// Add adds an item with high priority.
func (q *Queue[T, G]) Add(item T) {
	q.schedule.raise(item)
	q.TypedRateLimitingInterface.Add(item)
}

// AddAfter adds an item with high priority after some time.
func (q *Queue[T, G]) AddAfter(item T, after time.Duration) {
	q.schedule.raise(item)
	q.TypedRateLimitingInterface.AddAfter(item, after)
}

// AddRateLimited adds an item with high priority after its backoff.
func (q *Queue[T, G]) AddRateLimited(item T) {
	q.schedule.raise(item)
	q.TypedRateLimitingInterface.AddRateLimited(item)
}

// Low returns the same queue for items that are added with low priority. One that waits with high priority keeps it.
func (q *Queue[T, G]) Low() workqueue.TypedRateLimitingInterface[T] {
	return q.TypedRateLimitingInterface
}

// IsLow tells whether an item that Get has returned, and that is not Done, was of low priority.
func (q *Queue[T, G]) IsLow(item T) bool { return q.schedule.isLow(item) }

// Get waits for an item that may begin, and returns it, or that the queue is shut down.
func (q *Queue[T, G]) Get() (item T, shutdown bool) {
	q.schedule.claim()
	return q.TypedRateLimitingInterface.Get()
}

// Done frees the worker of an item.
func (q *Queue[T, G]) Done(item T) {
	q.schedule.release(item) // first: client-go's queue may push the item again
	q.TypedRateLimitingInterface.Done(item)
}

// ShutDown ends the queue.
func (q *Queue[T, G]) ShutDown() {
	q.TypedRateLimitingInterface.ShutDown()
	q.schedule.close()
}

// ShutDownWithDrain ends the queue and waits for the items that have begun.
func (q *Queue[T, G]) ShutDownWithDrain() {
	q.schedule.close()
	q.TypedRateLimitingInterface.ShutDownWithDrain()
}

// Len is how many items wait.
func (q *Queue[T, G]) Len() int { return q.schedule.len() }
