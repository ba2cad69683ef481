package synctarget

import (
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	"github.com/synctarget/synctarget/pkg/fairness"
)

// newFairQueue makes the controller's queue. Workspaces take turns in it, and a SyncTarget whose workspace has its share of the
// workers waits there: a physical cluster that takes its time with each answer holds a worker for the whole budget of a pass,
// and a workspace may have many. Those that are known to do so have a share of their own.
func (r *Reconciler) newFairQueue(name string, limiter workqueue.TypedRateLimiter[mcreconcile.Request], workers int) queue {
	return fairness.New(fairness.Options[mcreconcile.Request, multicluster.ClusterName]{
		Name: name, RateLimiter: limiter, Workers: workers,
		Group:  func(req mcreconcile.Request) multicluster.ClusterName { return req.ClusterName },
		IsSlow: func(req mcreconcile.Request) bool { return r.physical.IsSlow(req.ClusterName.String(), req.Name) },
	})
}
