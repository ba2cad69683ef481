package placement

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
	mccontroller "sigs.k8s.io/multicluster-runtime/pkg/controller"
	mchandler "sigs.k8s.io/multicluster-runtime/pkg/handler"
	mcmanager "sigs.k8s.io/multicluster-runtime/pkg/manager"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workspacewatch"
)

// WatchedKinds are the kinds that the controller watches in each workspace. It reads no others from the cache.
func WatchedKinds() []workspacewatch.Kind {
	return []workspacewatch.Kind{
		{Object: &workloadv1alpha1.Placement{}, Events: whenChanged(placementInput)},
		{Object: &workloadv1alpha1.SyncTarget{}, Events: whenChanged(targetInput)},
		{Object: &workloadv1alpha1.Assignment{}, Events: whenChanged(assignmentInput)},
		{Object: namespaceMeta(), Events: whenChanged(namespaceInput)},
		{Object: &apisv1alpha2.APIBinding{}, Events: whenChanged(bindingInput)},
	}
}

// SetupWithManager wires the watches.
func (r *Reconciler) SetupWithManager(mgr mcmanager.Manager, workers int) error {
	// Before the controller, so that a workspace is engaged here when the first event of it arrives.
	if err := mgr.Add(r); err != nil {
		return fmt.Errorf("adding the reconciler of Placements: %w", err)
	}
	options := mccontroller.Options{
		Reconciler:              r,
		MaxConcurrentReconciles: workers,
		ReconciliationTimeout:   passTimeout,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[mcreconcile.Request](retryBase, retryMax),
		LogConstructor: func(req *mcreconcile.Request) logr.Logger {
			if req == nil {
				return mgr.GetLogger()
			}
			return mgr.GetLogger().WithValues("clusterName", req.ClusterName)
		},
	}
	// Not done for us by multicluster-runtime: without it the controller is silent.
	options.DefaultFromConfig(mgr.GetControllerOptions())
	c, err := mccontroller.New("placement", mgr, options)
	if err != nil {
		return fmt.Errorf("creating the controller of Placements: %w", err)
	}
	r.watches.SetKinds(WatchedKinds())
	if err := c.Watch(source.TypedFunc[mcreconcile.Request](r.watches.Start)); err != nil {
		return fmt.Errorf("watching for Placements: %w", err)
	}
	return nil
}

// request is that of a workspace, of which there is one.
func request(clusterName multicluster.ClusterName) mcreconcile.Request {
	return mcreconcile.Request{ClusterName: clusterName}
}

// whenChanged queues the workspace when an object comes or goes, or when that of it changes which decisions follow from.
func whenChanged(input func(client.Object) any) mchandler.EventHandlerFunc {
	return func(clusterName multicluster.ClusterName, _ cluster.Cluster) handler.TypedEventHandler[client.Object, mcreconcile.Request] {
		return handler.TypedFuncs[client.Object, mcreconcile.Request]{
			CreateFunc: func(_ context.Context, _ event.CreateEvent, q workspacewatch.Queue) { q.Add(request(clusterName)) },
			UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workspacewatch.Queue) {
				if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() || !equality.Semantic.DeepEqual(input(e.ObjectOld), input(e.ObjectNew)) {
					q.Add(request(clusterName))
				}
			},
			DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q workspacewatch.Queue) { q.Add(request(clusterName)) },
		}
	}
}

// placementInput is all of a Placement.
func placementInput(o client.Object) any { return o.GetResourceVersion() }

// targetInput is what decisions follow from of a SyncTarget: not its heartbeats, nor how many objects it has.
func targetInput(o client.Object) any {
	target := o.(*workloadv1alpha1.SyncTarget)
	type syncedResource struct {
		Group, Name string
		State       workloadv1alpha1.SyncedResourceState
	}
	input := struct {
		Spec        workloadv1alpha1.SyncTargetSpec
		Labels      map[string]string
		Deleted     *metav1.Time
		Abandoned   string
		Ready       *metav1.Condition
		Resources   []syncedResource
		Allocatable map[string]resource.Quantity
		Taints      []workloadv1alpha1.ObservedTaint
		Assignments *workloadv1alpha1.AssignmentCounts
		Drain       *workloadv1alpha1.DrainStatus
	}{
		target.Spec, target.Labels, target.DeletionTimestamp, target.Annotations[workloadv1alpha1.AnnotationAbandon], nil, nil, nil,
		target.Status.Taints, target.Status.Assignments, target.Status.Drain,
	}
	if ready := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionReady); ready != nil {
		input.Ready = &metav1.Condition{Status: ready.Status, Reason: ready.Reason}
	}
	for _, r := range target.Status.SyncedResources {
		input.Resources = append(input.Resources, syncedResource{r.Group, r.Resource, r.State})
	}
	if target.Status.Syncer != nil {
		input.Allocatable = target.Status.Syncer.Allocatable
	}
	return input
}

// assignmentInput is all of an Assignment but how many objects it has.
func assignmentInput(o client.Object) any {
	assignment := *o.(*workloadv1alpha1.Assignment)
	assignment.ResourceVersion, assignment.ManagedFields = "", nil
	if assignment.Status.Objects != nil {
		assignment.Status.Objects = &workloadv1alpha1.AssignmentObjects{
			Failing: min(assignment.Status.Objects.Failing, 1), BoundClaims: assignment.Status.Objects.BoundClaims,
		}
	}
	return assignment
}

// namespaceInput is what decisions follow from of a Namespace.
func namespaceInput(o client.Object) any {
	return []any{o.GetLabels(), o.GetDeletionTimestamp(), o.GetAnnotations()[workloadv1alpha1.AnnotationPlacement]}
}

// bindingInput is what follows from an APIBinding.
func bindingInput(o client.Object) any {
	binding := o.(*apisv1alpha2.APIBinding)
	return []any{binding.Spec, binding.DeletionTimestamp, binding.Status.AppliedPermissionClaims, binding.Status.ExportPermissionClaims}
}

// namespaceMeta names the metadata-only view of Namespaces.
func namespaceMeta() *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return namespace
}
