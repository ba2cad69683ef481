package synctarget

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
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
	}
	result, kcpResponded, err := r.pass(ctx, s)
	if r.isGone(ctx, req, s.target.UID) {
		r.forget(s) // what this pass has recorded too
	}
	if apierrors.IsConflict(err) {
		// A lost race: the decision rested on an old object. The event of what was faster may be a heartbeat, which
		// queues no pass.
		return reconcile.Result{RequeueAfter: r.races.When(req)}, nil
	}
	r.races.Forget(req)
	if err != nil {
		if isTransient(err) && !r.kcpAnswers(ctx, s, kcpResponded) {
			r.heartbeats.resetSilence(s.target.UID)
		}
		return reconcile.Result{}, err
	}
	return result, nil
}

// pass brings the target one step further, by one write to it at most. kcpResponded reports whether kcp has answered a request.
func (r *Reconciler) pass(ctx context.Context, s *scope) (result reconcile.Result, kcpResponded bool, err error) {
	r.deletions.observe(s.target)
	kcpResponded, err = r.verifySilence(ctx, s)
	if err != nil {
		return reconcile.Result{}, kcpResponded, err
	}
	if !s.target.DeletionTimestamp.IsZero() {
		result, err = r.reconcileDelete(ctx, s)
		return result, kcpResponded, err
	}
	verdicts, found, failure := pipeline{phases: r.install, observe: r.Metrics.phaseDone, now: r.Clock.Now}.run(ctx, s)
	result, err = r.completePass(ctx, s, verdicts, found, failure)
	return result, kcpResponded || found.facts.kcpResponded, err
}

// completePass makes the one write to the target of a pass over one that is not being deleted, and those to its Assignments.
func (r *Reconciler) completePass(ctx context.Context, s *scope, verdicts map[string]verdict, found findings, failure error) (reconcile.Result, error) {
	// A pinned cluster shows that something was made, should somebody have taken the finalizer off.
	needsFinalizer := found.needsFinalizer || s.target.Status.ClusterID != ""
	if needsFinalizer && !controllerutil.ContainsFinalizer(s.target, workloadv1alpha1.Finalizer) {
		// The event of this write brings us back.
		return reconcile.Result{}, r.patchFinalizers(ctx, s, func(o client.Object) bool {
			return controllerutil.AddFinalizer(o, workloadv1alpha1.Finalizer)
		})
	}
	// First, so that whoever sees that a Namespace is admitted finds it taken into account in the condition Synced.
	failed := r.updateStatus(ctx, s, found, verdicts)
	if apierrors.IsConflict(failed) {
		return reconcile.Result{}, failed
	}
	var unrecorded error
	if found.namespaces.planned {
		unrecorded = r.writeAdmitted(ctx, s, found.namespaces.items)
	}
	if failed != nil {
		return reconcile.Result{}, failed
	}
	result := reconcile.Result{RequeueAfter: nextPass(verdicts)}
	if verdicts[workloadv1alpha1.ConditionDeployed].ok() && verdicts[workloadv1alpha1.ConditionReady].ok() {
		result.Priority = ptr.To(handler.LowPriority) // the next pass only reads again what is there
	}
	return result, cmp.Or(failure, unrecorded, found.namespaces.closeError)
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
