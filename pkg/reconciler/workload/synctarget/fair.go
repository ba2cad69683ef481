package synctarget

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	"github.com/synctarget/synctarget/pkg/fairqueue"
)

// newFairQueue makes the controller's queue, in which the workspaces take turns.
func newFairQueue(name string, limiter workqueue.TypedRateLimiter[mcreconcile.Request]) queue {
	return fairqueue.New(name, limiter, func(req mcreconcile.Request) multicluster.ClusterName { return req.ClusterName })
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
