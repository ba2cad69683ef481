package synctarget

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// leaseEvents takes in every heartbeat, but queues a pass only for one that may change a verdict, and for a Lease that is gone.
func (r *Reconciler) leaseEvents(clusterName multicluster.ClusterName, _ cluster.Cluster) handler.TypedEventHandler[client.Object, mcreconcile.Request] {
	observe := func(ctx context.Context, object client.Object, q queue) {
		if name, needsPass := r.observeLease(ctx, clusterName, object.(*coordinationv1.Lease)); needsPass {
			q.Add(request(clusterName, name))
		}
	}
	return handler.TypedFuncs[client.Object, mcreconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { observe(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { observe(ctx, e.ObjectNew, q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			if name, uid, ok := leaseOwner(clusterName, e.Object.(*coordinationv1.Lease)); ok && r.engagements.has(clusterName, uid, name) {
				r.installCache.forgetIdentity(uid)
				q.Add(request(clusterName, name))
			}
		},
	}
}

// observeLease takes in a version of a Lease. It returns the SyncTarget that it belongs to, and whether that needs a pass.
func (r *Reconciler) observeLease(ctx context.Context, clusterName multicluster.ClusterName, lease *coordinationv1.Lease) (name string, needsPass bool) {
	name, uid, ok := leaseOwner(clusterName, lease)
	if !ok || !r.engagements.has(clusterName, uid, name) {
		return "", false
	}
	endpoint := r.endpointOf(clusterName)
	needsPass, recovered := r.heartbeats.observeLease(endpoint, uid, leaseHeartbeat(lease))
	if recovered {
		log.FromContext(ctx).Info("The watch of Leases delivers again", "endpoint", endpoint)
	}
	return name, needsPass
}

// observeCachedLease takes in the Lease of a SyncTarget that is seen for the first time: its own event may have come before.
func (r *Reconciler) observeCachedLease(ctx context.Context, clusterName multicluster.ClusterName, cl cluster.Cluster, target *workloadv1alpha1.SyncTarget) {
	var lease coordinationv1.Lease
	namespace := workloadv1alpha1.SyncerNamespace(target.Name, workloadv1alpha1.Key(clusterName.String(), target.Name))
	if cl.GetCache().Get(ctx, types.NamespacedName{Namespace: namespace, Name: workloadv1alpha1.HeartbeatLeaseName}, &lease) == nil {
		r.observeLease(ctx, clusterName, &lease)
	}
}

// leaseOwner returns the SyncTarget that a Lease belongs to; false for a Lease that is not for heartbeats.
func leaseOwner(clusterName multicluster.ClusterName, lease *coordinationv1.Lease) (name string, uid types.UID, ok bool) {
	name, uid, ok = identityOwner(clusterName, lease)
	return name, uid, ok && lease.Name == workloadv1alpha1.HeartbeatLeaseName
}

// identityOwner returns the SyncTarget that an object in the Namespace of a syncer belongs to. The tenant, and the syncer, may write
// its labels: it counts only in the Namespace of the syncer that it names.
func identityOwner(clusterName multicluster.ClusterName, object client.Object) (name string, uid types.UID, ok bool) {
	name, uid = object.GetAnnotations()[workloadv1alpha1.AnnotationSyncTarget], types.UID(object.GetLabels()[workloadv1alpha1.LabelUID])
	key := object.GetLabels()[workloadv1alpha1.LabelKey]
	ok = name != "" && uid != "" && key == workloadv1alpha1.Key(clusterName.String(), name) && object.GetNamespace() == workloadv1alpha1.SyncerNamespace(name, key)
	return name, uid, ok
}
