package synctarget

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/fairness"
)

// fairQueue is the controller's queue. Workspaces take turns in it, and a SyncTarget whose workspace has its share of the
// workers waits there: a physical cluster that takes its time with each answer holds a worker for the whole budget of a pass,
// and a workspace may have many. Those that are known to do so have a share of their own. It is a PriorityQueue of
// controller-runtime with two levels: a negative priority is low.
type fairQueue struct {
	*fairness.Queue[mcreconcile.Request, multicluster.ClusterName]
}

var _ priorityqueue.PriorityQueue[mcreconcile.Request] = fairQueue{}

func (r *Reconciler) newFairQueue(name string, limiter workqueue.TypedRateLimiter[mcreconcile.Request], workers int) queue {
	return fairQueue{fairness.New(fairness.Options[mcreconcile.Request, multicluster.ClusterName]{
		Name: name, RateLimiter: limiter, Workers: workers,
		Group:  func(req mcreconcile.Request) multicluster.ClusterName { return req.ClusterName },
		IsSlow: func(req mcreconcile.Request) bool { return r.physical.IsSlow(req.ClusterName.String(), req.Name) },
	})}
}

// AddWithOpts implements priorityqueue.PriorityQueue.
func (q fairQueue) AddWithOpts(o priorityqueue.AddOpts, items ...mcreconcile.Request) {
	var to workqueue.TypedRateLimitingInterface[mcreconcile.Request] = q.Queue
	if ptr.Deref(o.Priority, 0) < 0 {
		to = q.Low()
	}
	for _, item := range items {
		switch {
		case o.RateLimited:
			to.AddRateLimited(item)
		case o.After > 0:
			to.AddAfter(item, o.After)
		default:
			to.Add(item)
		}
	}
}

// GetWithPriority implements priorityqueue.PriorityQueue.
func (q fairQueue) GetWithPriority() (item mcreconcile.Request, priority int, shutdown bool) {
	item, shutdown = q.Get()
	if !shutdown && q.IsLow(item) {
		priority = handler.LowPriority
	}
	return item, priority, shutdown
}

// isSettled tells a SyncTarget of which nothing is under way. Its passes without a change only read again what is there, and
// so are of low priority: in the list with which a watch begins, and at their time.
func isSettled(target *workloadv1alpha1.SyncTarget) bool {
	return target.DeletionTimestamp == nil && target.Status.ObservedGeneration == target.Generation &&
		meta.IsStatusConditionTrue(target.Status.Conditions, workloadv1alpha1.ConditionDeployed) &&
		meta.IsStatusConditionTrue(target.Status.Conditions, workloadv1alpha1.ConditionReady)
}

// addListed adds a SyncTarget for the first sight of it, or of an object that leads to it. multicluster-runtime does not tell
// what is new from what the list has brought with which the watch began, so the status has to.
func addListed(q queue, clusterName multicluster.ClusterName, target *workloadv1alpha1.SyncTarget) {
	to, hasPriorities := q.(priorityqueue.PriorityQueue[mcreconcile.Request])
	if !hasPriorities || !isSettled(target) {
		q.Add(request(clusterName, target.Name))
		return
	}
	to.AddWithOpts(priorityqueue.AddOpts{Priority: ptr.To(handler.LowPriority)}, request(clusterName, target.Name))
}

// enqueueFor queues the SyncTargets that an object leads to.
func enqueueFor(clusterName multicluster.ClusterName, targetsOf func(context.Context, client.Object) []workloadv1alpha1.SyncTarget) handler.TypedEventHandler[client.Object, mcreconcile.Request] {
	add := func(ctx context.Context, object client.Object, q queue) {
		for _, target := range targetsOf(ctx, object) {
			q.Add(request(clusterName, target.Name))
		}
	}
	return handler.TypedFuncs[client.Object, mcreconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			for _, target := range targetsOf(ctx, e.Object) {
				addListed(q, clusterName, &target)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			add(ctx, e.ObjectOld, q)
			add(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { add(ctx, e.Object, q) },
	}
}
