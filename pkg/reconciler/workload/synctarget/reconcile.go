package synctarget

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Reconcile makes one pass over one SyncTarget.
func (r *Reconciler) Reconcile(ctx context.Context, req mcreconcile.Request) (reconcile.Result, error) {
	workspace, err := r.Workspaces.GetCluster(ctx, req.ClusterName)
	if errors.Is(err, multicluster.ErrClusterNotFound) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("finding logical cluster %q: %w", req.ClusterName, err)
	}
	cached := &workloadv1alpha1.SyncTarget{}
	if err := workspace.GetCache().Get(ctx, req.NamespacedName, cached); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	upstream, err := r.Upstream(workspace.GetConfig())
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("making a client of logical cluster %q: %w", req.ClusterName, err)
	}

	s := &scope{
		clusterName: req.ClusterName,
		target:      cached.DeepCopy(),
		key:         workloadv1alpha1.Key(req.ClusterName.String(), req.Name),
		cached:      workspace.GetCache(),
		upstream:    upstream,
		clusterID:   cached.Status.ClusterID,
	}
	if !s.target.DeletionTimestamp.IsZero() {
		return r.reconcileDelete(ctx, s)
	}
	if !controllerutil.ContainsFinalizer(s.target, workloadv1alpha1.Finalizer) {
		// The event of this write brings us back: nothing has a side effect before the finalizer stands.
		return conflictMeansAgain(r.patchFinalizers(ctx, s, func(o client.Object) bool {
			return controllerutil.AddFinalizer(o, workloadv1alpha1.Finalizer)
		}))
	}

	verdicts, failure := runPhases(ctx, r.install, s, r.Metrics.phaseDone, r.Clock.Now)
	if err := r.updateStatus(ctx, s, verdicts); err != nil {
		return conflictMeansAgain(err)
	}
	return reconcile.Result{RequeueAfter: soonest(verdicts)}, failure
}

// patchFinalizers changes the SyncTarget's finalizers and nothing else.
func (r *Reconciler) patchFinalizers(ctx context.Context, s *scope, mutate func(client.Object) bool) error {
	changed := s.target.DeepCopy()
	if !mutate(changed) {
		return nil
	}
	err := s.upstream.Patch(ctx, changed, client.MergeFromWithOptions(s.target, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patching the finalizers of SyncTarget %q: %w", s.target.Name, err)
	}
	return nil
}

// conflictMeansAgain turns a lost race into another pass: the decision rested on an old object. The event of what was
// faster may be a heartbeat, which brings nobody back.
func conflictMeansAgain(err error) (reconcile.Result, error) {
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: conflictRetry}, nil
	}
	return reconcile.Result{}, err
}
