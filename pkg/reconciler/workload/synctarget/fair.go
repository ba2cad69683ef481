package synctarget

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"
)

// newFairQueue makes the controller's queue: client-go's, but with turns by workspace, so that one with a thousand
// SyncTargets keeps another with a single one waiting no longer than one with two.
func newFairQueue(name string, limiter workqueue.TypedRateLimiter[mcreconcile.Request]) queue {
	return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[mcreconcile.Request]{
		DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[mcreconcile.Request]{
			Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[mcreconcile.Request]{
				Name: name, Queue: &turns{waiting: map[multicluster.ClusterName][]mcreconcile.Request{}},
			}),
		}),
	})
}

// turns orders what waits: the workspaces take turns, and within one, who came first is first. It is
// workqueue.Queue; the queue around it keeps it from being called by two at once.
type turns struct {
	waiting map[multicluster.ClusterName][]mcreconcile.Request
	// order holds each workspace in which something waits once.
	order []multicluster.ClusterName
	count int
}

// Touch implements workqueue.Queue: what is added again keeps its place.
func (t *turns) Touch(mcreconcile.Request) {}

// Push implements workqueue.Queue.
func (t *turns) Push(req mcreconcile.Request) {
	if len(t.waiting[req.ClusterName]) == 0 {
		t.order = append(t.order, req.ClusterName)
	}
	t.waiting[req.ClusterName] = append(t.waiting[req.ClusterName], req)
	t.count++
}

// Len implements workqueue.Queue.
func (t *turns) Len() int { return t.count }

// Pop implements workqueue.Queue.
func (t *turns) Pop() mcreconcile.Request {
	workspace := t.order[0]
	t.order = t.order[1:]
	req, rest := t.waiting[workspace][0], t.waiting[workspace][1:]
	if len(rest) == 0 {
		delete(t.waiting, workspace)
	} else {
		t.waiting[workspace] = rest
		t.order = append(t.order, workspace)
	}
	t.count--
	return req
}

// lanes bound how many workers may wait for the physical clusters of one workspace at the same time: a cluster that
// takes its time with every answer holds a worker for a whole budget, and a tenant may have many.
type lanes struct {
	width int
	mu    sync.Mutex
	taken map[multicluster.ClusterName]int
}

func newLanes(workers int) *lanes {
	return &lanes{width: max(workers/2, 1), taken: map[multicluster.ClusterName]int{}}
}

// enter takes a lane; not ok means that all are taken. Whoever has entered must leave.
func (l *lanes) enter(workspace multicluster.ClusterName) (leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken[workspace] >= l.width {
		return nil, false
	}
	l.taken[workspace]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.taken[workspace]--; l.taken[workspace] == 0 {
			delete(l.taken, workspace)
		}
	}, true
}
