package synctarget

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
	mccontroller "sigs.k8s.io/multicluster-runtime/pkg/controller"
	mcmanager "sigs.k8s.io/multicluster-runtime/pkg/manager"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
	"github.com/synctarget/synctarget/pkg/reconciler/workspacewatch"
)

// All watches and indexes of the controller stand in this file, so that their wiring can be replaced in one place.

const (
	indexClusterID = "status.clusterID"
	// indexSecret leads from a Secret to the SyncTargets that name it.
	indexSecret          = "spec/secrets"
	indexSecretFinalizer = "metadata.finalizers/hold"
	// indexAssigned leads from the name of a Namespace to its Assignments.
	indexAssigned = "spec.namespace.name"

	// retryBase and retryMax bound the backoff of a pass that failed.
	retryBase = 500 * time.Millisecond
	retryMax  = time.Minute
	// passTimeout bounds a pass, which takes a second, or pcluster.Budget and the answers of kcp where all is slow.
	passTimeout = time.Minute
)

type queue = workspacewatch.Queue

func (r *Reconciler) watches() []workspacewatch.Kind {
	return []workspacewatch.Kind{
		{Object: &workloadv1alpha1.SyncTarget{}, Events: r.targetEvents},
		{Object: &workloadv1alpha1.Assignment{}, Events: assignmentEvents},
		{Object: secretMeta(), Events: r.secretEvents},
		{Object: namespaceMeta(), Events: namespaceEvents},
		{Object: &apisv1alpha2.APIBinding{}, Events: r.bindingEvents},
		{Object: &coordinationv1.Lease{}, Events: r.leaseEvents, Optional: true},
	}
}

// WatchedKinds are the kinds that the controller watches in each workspace. It reads no others from the cache.
func WatchedKinds() []workspacewatch.Kind { return (&Reconciler{}).watches() }

// WatchedByObject leaves out of the caches what the controller has no use for: Leases that are not its own, which their holders
// renew all the time.
func WatchedByObject() map[client.Object]cache.ByObject {
	ours, err := labels.NewRequirement(workloadv1alpha1.LabelKey, selection.Exists, nil)
	if err != nil {
		panic(err) // the label's key is valid
	}
	return map[client.Object]cache.ByObject{&coordinationv1.Lease{}: {Label: labels.NewSelector().Add(*ours)}}
}

// SetupWithManager wires the watches and the indexes. Events on changedClusters reconcile the target that they name.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr mcmanager.Manager, workers int, changedClusters <-chan pcluster.ID) error {
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	// Before the controller, so that a workspace is engaged here when the first event of it arrives.
	if err := mgr.Add(r); err != nil {
		return fmt.Errorf("adding the reconciler: %w", err)
	}
	options := mccontroller.Options{
		Reconciler:              r,
		MaxConcurrentReconciles: workers,
		ReconciliationTimeout:   passTimeout,
		NewQueue: func(name string, limiter workqueue.TypedRateLimiter[mcreconcile.Request]) queue {
			return r.newFairQueue(name, limiter, workers)
		},
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[mcreconcile.Request](retryBase, retryMax),
		LogConstructor: func(req *mcreconcile.Request) logr.Logger {
			if req == nil {
				return mgr.GetLogger()
			}
			return mgr.GetLogger().WithValues("clusterName", req.ClusterName, "syncTarget", req.Name)
		},
	}
	// Not done for us by multicluster-runtime: without it the controller is silent.
	options.DefaultFromConfig(mgr.GetControllerOptions())
	c, err := mccontroller.New("synctarget", mgr, options)
	if err != nil {
		return fmt.Errorf("creating the controller: %w", err)
	}
	r.workspaceWatches.SetKinds(r.watches())
	if err := c.Watch(source.TypedFunc[mcreconcile.Request](r.workspaceWatches.Start)); err != nil {
		return fmt.Errorf("watching: %w", err)
	}
	return c.Watch(source.TypedFunc[mcreconcile.Request](func(ctx context.Context, q queue) error {
		go r.enqueueChanged(ctx, changedClusters, q)
		go wait.UntilWithContext(ctx, func(context.Context) { r.runRollouts(mgr.GetLogger(), q) }, rolloutInterval)
		return nil
	}))
}

// enqueueChanged enqueues the SyncTarget of a physical cluster in which something has changed, or that answers again, and drops
// what is known of its installation.
func (r *Reconciler) enqueueChanged(ctx context.Context, changedClusters <-chan pcluster.ID, q queue) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-changedClusters:
			r.installCache.forget(types.UID(id.UID))
			q.Add(request(multicluster.ClusterName(id.ClusterName), id.Name))
		}
	}
}

func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for _, index := range []struct {
		object  client.Object
		field   string
		extract client.IndexerFunc
	}{
		{&workloadv1alpha1.SyncTarget{}, indexClusterID, func(o client.Object) []string {
			if id := o.(*workloadv1alpha1.SyncTarget).Status.ClusterID; id != "" {
				return []string{id}
			}
			return nil
		}},
		{&workloadv1alpha1.SyncTarget{}, indexSecret, func(o client.Object) []string {
			return namedSecrets(&o.(*workloadv1alpha1.SyncTarget).Spec)
		}},
		{&workloadv1alpha1.Assignment{}, indexAssigned, func(o client.Object) []string {
			return []string{o.(*workloadv1alpha1.Assignment).Spec.Namespace.Name}
		}},
		{secretMeta(), indexSecretFinalizer, func(o client.Object) []string {
			var keys []string
			for _, finalizer := range o.GetFinalizers() {
				if key, ok := strings.CutPrefix(finalizer, workloadv1alpha1.SyncTargetFinalizerPrefix); ok {
					keys = append(keys, key)
				}
			}
			return keys
		}},
	} {
		if err := indexer.IndexField(ctx, index.object, index.field, index.extract); err != nil {
			return fmt.Errorf("indexing %T by %s: %w", index.object, index.field, err)
		}
	}
	return nil
}

// targetEvents takes in every heartbeat, but queues a pass only for what may change a verdict.
func (r *Reconciler) targetEvents(clusterName multicluster.ClusterName, cl cluster.Cluster) handler.TypedEventHandler[client.Object, mcreconcile.Request] {
	return handler.TypedFuncs[client.Object, mcreconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			target := e.Object.(*workloadv1alpha1.SyncTarget)
			r.observe(ctx, clusterName, target)
			r.observeCachedLease(ctx, clusterName, cl, target)
			addListed(q, clusterName, target)
			queueAssigned(ctx, clusterName, cl, q, target)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*workloadv1alpha1.SyncTarget), e.ObjectNew.(*workloadv1alpha1.SyncTarget)
			if before.UID != after.UID {
				// Deleted and created anew between two lists.
				r.forget(&scope{clusterName: clusterName, target: before})
			}
			r.observe(ctx, clusterName, after)
			if mayChangeVerdict(before, after) {
				q.Add(request(clusterName, after.Name))
			}
			if keptIn(before) != keptIn(after) {
				queueAssigned(ctx, clusterName, cl, q, before, after)
			}
			if before.Status.ClusterID != after.Status.ClusterID {
				queueSharing(ctx, clusterName, cl, q, before, after)
			}
			if needsPlace(before) && !needsPlace(after) {
				r.queueWaiting(ctx, clusterName, cl, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			target := e.Object.(*workloadv1alpha1.SyncTarget)
			r.forget(&scope{clusterName: clusterName, target: target})
			queueAssigned(ctx, clusterName, cl, q, target)
			queueSharing(ctx, clusterName, cl, q, target)
			if needsPlace(target) {
				r.queueWaiting(ctx, clusterName, cl, q)
			}
		},
	}
}

// observe takes in the version of a SyncTarget that an event brought.
func (r *Reconciler) observe(ctx context.Context, clusterName multicluster.ClusterName, target *workloadv1alpha1.SyncTarget) {
	endpoint := r.endpointOf(clusterName)
	r.engagements.observe(clusterName, target, func(target *workloadv1alpha1.SyncTarget) {
		r.observeHeartbeat(ctx, endpoint, target)
		r.deletions.observe(target)
		r.rollouts.observe(clusterName, target)
	})
}

// keptIn is the Namespace that holds the kubeconfig of a target, empty for none.
func keptIn(target *workloadv1alpha1.SyncTarget) string {
	if target.Spec.KubeconfigSecretRef == nil {
		return ""
	}
	return target.Spec.KubeconfigSecretRef.Namespace
}

// queueAssigned queues every other target to which a Namespace is assigned that holds, or has held, a kubeconfig of one of these:
// while it does, it is never synced.
func queueAssigned(ctx context.Context, clusterName multicluster.ClusterName, cl cluster.Cluster, q queue, keepers ...*workloadv1alpha1.SyncTarget) {
	for _, keeper := range keepers {
		namespace := keptIn(keeper)
		if namespace == "" {
			continue
		}
		for _, name := range assignedTo(ctx, clusterName, cl, namespace) {
			if name != keeper.Name {
				q.Add(request(clusterName, name))
			}
		}
	}
}

// mayChangeVerdict tells a change that a pass has to look at from one more heartbeat of a target that is Ready.
func mayChangeVerdict(before, after *workloadv1alpha1.SyncTarget) bool {
	if !meta.IsStatusConditionTrue(after.Status.Conditions, workloadv1alpha1.ConditionReady) || fromOtherCluster(&before.Status) != fromOtherCluster(&after.Status) {
		return before.ResourceVersion != after.ResourceVersion
	}
	if after.Status.ClusterID == "" && statusHeartbeat(before).clusterID != statusHeartbeat(after).clusterID {
		return true // in pull mode the syncer tells which cluster it is
	}
	was, _ := reportVerdict(before, before.Status.Key)
	is, _ := reportVerdict(after, after.Status.Key)
	if is != was && meta.FindStatusCondition(after.Status.Conditions, workloadv1alpha1.ConditionSynced) != nil {
		return true
	}
	if tokenInUse(before) != tokenInUse(after) {
		return true // the one that it has used before may not be needed any more
	}
	before, after = withoutHeartbeat(before), withoutHeartbeat(after)
	return !equality.Semantic.DeepEqual(before, after)
}

// withoutHeartbeat is a shallow copy without the reports of the syncer and of the scheduler and what every write changes. The
// installationHash stays: what is installed has changed with it.
func withoutHeartbeat(target *workloadv1alpha1.SyncTarget) *workloadv1alpha1.SyncTarget {
	out := *target
	out.TypeMeta = metav1.TypeMeta{} // a list sets it, a watch does not
	out.ResourceVersion, out.ManagedFields = "", nil
	out.Status.LastHeartbeatTime, out.Status.Syncer, out.Status.SyncedResources = nil, nil, nil
	out.Status.Taints, out.Status.Assignments, out.Status.Drain = nil, nil, nil
	return &out
}

func request(clusterName multicluster.ClusterName, name string) mcreconcile.Request {
	return mcreconcile.Request{ClusterName: clusterName, Request: reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}}
}
