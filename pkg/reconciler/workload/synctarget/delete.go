package synctarget

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/claims"
)

const (
	// stepCopies is the name of the first step, drain.
	stepCopies = "copies"
	// stepAgent is the name of the second, removeAgent.
	stepAgent = "agent"
)

// step is one part of a deletion. Until it is done, it keeps the later ones from running.
type step struct {
	name string
	run  func(context.Context, *scope, deletion, *removal) (stepResult, error)
	// leftBehind names what stays when the step is abandoned.
	leftBehind func(*scope, removal) string
}

// removal is what the steps of one pass have returned beside their results. Each has one writer.
type removal struct {
	// namespaces are those that are assigned; returned by drain.
	namespaces namespacePlan
	// withFinalizers are the Namespaces in which the syncer's finalizers could not be removed; returned by drain.
	withFinalizers []string
	// secretRead: the Secret with the kubeconfig was there; returned by removeAgent.
	secretRead bool
	// clusterID is the physical cluster that the target stays pinned to, empty once nothing is left there; returned by removeAgent.
	clusterID string
}

// stepResult is what a step returns.
type stepResult struct {
	progress progress
	// verdict is for the condition Deployed.
	verdict verdict
}

func stepDone(message string) stepResult {
	return stepResult{progress: done, verdict: passed(workloadv1alpha1.ReasonRemoved, message)}
}

// stepWaits is the result of a step that has nothing to do but wait.
func stepWaits(p progress, format string, args ...any) stepResult {
	return stepResult{progress: p, verdict: blocked(workloadv1alpha1.ReasonRemoving, format, args...)}
}

// stepContinues is the result of a step that makes progress and goes on after a time.
func stepContinues(after time.Duration, format string, args ...any) stepResult {
	return stepResult{progress: mustWait, verdict: blocked(workloadv1alpha1.ReasonRemoving, format, args...).after(after)}
}

func stepFailed(format string, args ...any) stepResult {
	return stepResult{progress: failed, verdict: blocked(workloadv1alpha1.ReasonRemovalFailed, format, args...)}
}

// stepError is the result of a step that kcp kept from its work.
func stepError(err error) stepResult {
	result := stepResult{progress: failed, verdict: failing(workloadv1alpha1.ReasonRemovalFailed, err)}
	if result.verdict.certainty == transientFailure {
		result.progress = noAnswer
	}
	return result
}

// reconcileDelete makes one pass over a SyncTarget that is being deleted. Every deletion ends: by the steps, or by
// the deadline, or by the user's annotation, and then it says what may be left.
func (r *Reconciler) reconcileDelete(ctx context.Context, s *scope) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(s.target, workloadv1alpha1.Finalizer) {
		return reconcile.Result{}, nil
	}
	if stored, err := r.announceDeletion(ctx, s); stored || err != nil {
		return reconcile.Result{}, err
	}

	d := r.deletionOf(s)
	removed := removal{clusterID: s.target.Status.ClusterID}
	for _, step := range r.remove {
		result, err := step.run(ctx, s, d, &removed)
		if err != nil {
			result = stepError(err)
		}
		if result.progress == done {
			r.deletions.complete(s.target, step.name)
			if stored, err := r.reportUnpinned(ctx, s, removed, result.verdict); stored || err != nil {
				return reconcile.Result{}, err
			}
			continue
		}
		result = r.withMissingClaims(ctx, s, result)
		a := r.attemptOf(s, step, d, result.progress)
		if d.abandonsStep(a) {
			r.abandonStep(ctx, s, step, d, removed, result.verdict.message)
			continue
		}
		return r.waitForStep(ctx, s, d, a, removed, result.verdict)
	}

	return reconcile.Result{}, r.patchFinalizers(ctx, s, func(o client.Object) bool {
		return controllerutil.RemoveFinalizer(o, workloadv1alpha1.Finalizer)
	})
}

// announceDeletion says that the SyncTarget is being deleted before anything is removed. The event of this write brings us back.
func (r *Reconciler) announceDeletion(ctx context.Context, s *scope) (stored bool, err error) {
	if s.target.Status.Phase == workloadv1alpha1.PhaseTerminating {
		return false, nil
	}
	assigned, err := planDraining(ctx, s)
	if err != nil {
		return false, err
	}
	announced := removal{namespaces: assigned, clusterID: s.target.Status.ClusterID}
	return r.reportDeletion(ctx, s, announced, removing(s, announced))
}

// reportUnpinned writes that the agent is gone before the next step: once the Secret is released, nothing else shows that. v is the
// verdict of the step that is done.
func (r *Reconciler) reportUnpinned(ctx context.Context, s *scope, removed removal, v verdict) (stored bool, err error) {
	if removed.clusterID == s.target.Status.ClusterID {
		return false, nil
	}
	return r.reportDeletion(ctx, s, removed, blocked(v.reason, "%s", v.message))
}

// withMissingClaims adds to the result of a step that failed which permission claims are not accepted: without them, what was
// made cannot be removed.
func (r *Reconciler) withMissingClaims(ctx context.Context, s *scope, result stepResult) stepResult {
	if result.progress != failed {
		return result
	}
	if missing, err := r.missingClaims(ctx, s); err == nil && len(missing) > 0 {
		result.verdict.message += fmt.Sprintf(". The permission claims of the APIBinding on %s are not accepted; accept them in its spec.permissionClaims",
			claims.Names(missing))
	}
	return result
}

// waitForStep reports the verdict of a step that is not done, and returns when to try it again.
func (r *Reconciler) waitForStep(ctx context.Context, s *scope, d deletion, a attempt, removed removal, v verdict) (reconcile.Result, error) {
	if v.reason == workloadv1alpha1.ReasonRemovalFailed {
		v.message = fmt.Sprintf("%s. The deletion is retried until %s; to let go now, whatever is left behind, set the annotation %s=true",
			v.message, d.deadline.UTC().Format(time.RFC3339), workloadv1alpha1.AnnotationAbandon)
	}
	if _, err := r.reportDeletion(ctx, s, removed, v); err != nil {
		return reconcile.Result{}, err
	}
	if a.progress == mustWait {
		return reconcile.Result{RequeueAfter: v.requeueAfter}, nil
	}
	return reconcile.Result{RequeueAfter: d.nextAttempt(a)}, nil
}

// reportDeletion writes the status of a SyncTarget that is being deleted. A deletion does not depend on it: a status that kcp
// refuses to store, as one that is too large, is not stored, and that is no error.
func (r *Reconciler) reportDeletion(ctx context.Context, s *scope, removed removal, deployed verdict) (stored bool, err error) {
	err = r.updateStatus(ctx, s, findings{namespaces: removed.namespaces, clusterID: removed.clusterID}, map[string]verdict{
		workloadv1alpha1.ConditionReady:    blocked(workloadv1alpha1.ReasonTerminating, "SyncTarget is being deleted"),
		workloadv1alpha1.ConditionDeployed: deployed,
	})
	// kcp's store answers with 500 where an object is too large, so that one is believed only after a while.
	lasting := apierrors.IsInternalError(err) && r.deletionOf(s).elapsed() >= transientErrorTime
	if err == nil || isTransient(err) && !lasting {
		return err == nil, err
	}
	log.FromContext(ctx).Error(err, "The deletion goes on without its status")
	return false, nil
}

// removing is what the user reads first.
func removing(s *scope, removed removal) verdict {
	if s.pullMode() && s.target.Status.LastHeartbeatTime != nil {
		return blocked(workloadv1alpha1.ReasonRemoving,
			"You installed this syncer: remove it from the physical cluster with the manifests you applied (%s)", leftDownstream(s, removed))
	}
	return blocked(workloadv1alpha1.ReasonRemoving, "Removing the syncer")
}

// abandonStep says what may be left behind by a step that is abandoned: to the user, and to whoever runs the service, for in a
// workspace that is deleted as a whole nobody can read it. It does so once for each step: the later steps, or a conflict, make
// many passes.
func (r *Reconciler) abandonStep(ctx context.Context, s *scope, failed step, d deletion, removed removal, why string) {
	if !r.deletions.abandon(s.target, failed.name) {
		return
	}
	cause := fmt.Sprintf("after %s", r.DeleteDeadline)
	if d.urgency == abandonedByUser {
		cause = "by annotation"
	}
	message := fmt.Sprintf("Deletion step abandoned %s. May be left behind: %s. %s", cause, failed.leftBehind(s, removed), why)
	log.FromContext(ctx).Info(message, "step", failed.name)
	r.Metrics.stepAbandoned(failed.name)
	r.Events.Event(s.clusterName, s.target, corev1.EventTypeWarning, workloadv1alpha1.ReasonAbandoned, message)
}

// forget drops all state that this process holds of a SyncTarget, and closes the connections to its physical cluster.
func (r *Reconciler) forget(s *scope) {
	r.engagements.remove(s.clusterName, s.target.UID)
	r.races.Forget(request(s.clusterName, s.target.Name))
	r.heartbeats.forget(s.target.UID)
	r.installCache.drop(s.target.UID)
	r.tokens.forget(s.target.UID)
	r.deletions.forget(s.target.UID)
	r.rollouts.forget(s.target.UID)
	r.revocations.forget(s.target.UID)
	r.transientErrors.forget(s.target.UID)
	r.expiries.forget(s.target.UID)
	r.physical.Forget(s.pclusterID())
}
