package synctarget

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// step is one part of a deletion. It is done when its verdict is True; until then it holds the later ones back.
type step struct {
	name string
	run  func(context.Context, *scope) (verdict, error)
	// settles is set where what is asked for comes to pass by itself: it is waited for, a while, even where the user does not
	// wait.
	settles bool
	// left names what stays behind when the step is given up.
	left func(*scope) string
}

// settling is how long a deletion that lets go waits for what was asked for and is under way, such as the end of a Namespace,
// from when this process first tried that step; and for kcp to answer.
const settling = time.Minute

// stepCopies is the name of the first step, drain.
const stepCopies = "copies"

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
	s.letGo = d.letGo
	for _, step := range r.remove {
		v, err := step.run(ctx, s)
		if err != nil {
			v = failing(workloadv1alpha1.ReasonRemovalFailed, err)
		}
		if v.ok() {
			if stored, err := r.reportUnpinned(ctx, s, v); stored || err != nil {
				return reconcile.Result{}, err
			}
			continue
		}
		v = r.withMissingClaims(ctx, s, v)
		a := r.attemptOf(s, step, d, outcomeOf(v, err))
		if d.givesUp(a) {
			r.giveUp(ctx, s, step, v, d.abandoned)
			continue
		}
		return r.waitForStep(ctx, s, d, a, v)
	}

	return reconcile.Result{}, r.patchFinalizers(ctx, s, func(o client.Object) bool {
		return controllerutil.RemoveFinalizer(o, workloadv1alpha1.Finalizer)
	})
}

// announceDeletion says that the SyncTarget is being deleted before anything is removed, and to the syncer too: what it
// believes to be open, it would hold again. The event of this write brings us back.
func (r *Reconciler) announceDeletion(ctx context.Context, s *scope) (stored bool, err error) {
	if s.target.Status.Phase == workloadv1alpha1.PhaseTerminating && !slices.ContainsFunc(s.target.Status.Namespaces, isOpen) {
		return false, nil
	}
	s.closeAll(isOpen)
	return r.reportDeletion(ctx, s, removing(s))
}

// reportUnpinned writes that the agent is gone before the next step: once the Secret is released, nothing else tells. v is the
// verdict of the step that is done.
func (r *Reconciler) reportUnpinned(ctx context.Context, s *scope, v verdict) (stored bool, err error) {
	if s.clusterID == s.target.Status.ClusterID {
		return false, nil
	}
	return r.reportDeletion(ctx, s, blocked(v.reason, "%s", v.message))
}

// withMissingClaims adds to the verdict of a step that failed which permission claims are not accepted: without them, what was
// made cannot be removed.
func (r *Reconciler) withMissingClaims(ctx context.Context, s *scope, v verdict) verdict {
	if v.undecided || v.reason != workloadv1alpha1.ReasonRemovalFailed {
		return v
	}
	if missing, err := r.missingClaims(ctx, s); err == nil && len(missing) > 0 {
		v.message += fmt.Sprintf(". The permission claims of the APIBinding on %s are not accepted; accept them in its spec.permissionClaims",
			names(missing))
	}
	return v
}

// waitForStep reports the verdict of a step that is not done, and returns when to look again.
func (r *Reconciler) waitForStep(ctx context.Context, s *scope, d deletion, a attempt, v verdict) (reconcile.Result, error) {
	if v.reason == workloadv1alpha1.ReasonRemovalFailed {
		v.message = fmt.Sprintf("%s. The deletion is retried until %s; to let go now, whatever is left behind, set the annotation %s=true",
			v.message, d.start.Add(r.DeleteDeadline).UTC().Format(time.RFC3339), workloadv1alpha1.AnnotationAbandon)
	}
	if _, err := r.reportDeletion(ctx, s, v); err != nil {
		return reconcile.Result{}, err
	}
	if v.begun || v.undecided && v.recheck > 0 {
		return reconcile.Result{RequeueAfter: v.recheck}, nil
	}
	return reconcile.Result{RequeueAfter: min(removalRecheck(d.elapsed), d.untilDue(r.DeleteDeadline, a.waited))}, nil
}

// reportDeletion writes the status of a SyncTarget that is being deleted. A deletion does not depend on it: a status that kcp
// refuses to store, as one that is too large, is not stored, and that is no error.
func (r *Reconciler) reportDeletion(ctx context.Context, s *scope, deployed verdict) (stored bool, err error) {
	err = r.updateStatus(ctx, s, map[string]verdict{
		workloadv1alpha1.ConditionReady:    blocked(workloadv1alpha1.ReasonTerminating, "SyncTarget is being deleted"),
		workloadv1alpha1.ConditionDeployed: deployed,
	})
	// kcp's store answers with 500 where an object is too large, so that one is believed only after a while.
	lasting := apierrors.IsInternalError(err) && r.deletionOf(s).elapsed >= hiccupTime
	if err == nil || isHiccup(err) && !lasting {
		return err == nil, err
	}
	log.FromContext(ctx).Error(err, "The deletion goes on without its status")
	return false, nil
}

// abandoned tells whether the user does not wait for the end.
func (s *scope) abandoned() bool {
	return s.target.Annotations[workloadv1alpha1.AnnotationAbandon] == "true"
}

// removing is what the user reads first.
func removing(s *scope) verdict {
	if s.pullMode() && s.target.Status.LastHeartbeatTime != nil {
		return blocked(workloadv1alpha1.ReasonRemoving,
			"You installed this syncer: remove it from the physical cluster with the manifests you applied (%s)", leftDownstream(s))
	}
	return blocked(workloadv1alpha1.ReasonRemoving, "Removing the syncer")
}

// giveUp lets a step go and says what may be left behind: to the user, and to whoever runs the service, for in a workspace
// that goes as a whole nobody can read it. Each step is announced once: the later steps, or a conflict, make many passes.
func (r *Reconciler) giveUp(ctx context.Context, s *scope, failed step, v verdict, abandoned bool) {
	if !r.deletions.abandon(s.target, failed.name) {
		return
	}
	cause := fmt.Sprintf("after %s", r.DeleteDeadline)
	if abandoned {
		cause = "by annotation"
	}
	message := fmt.Sprintf("Deletion let go %s. May be left behind: %s. %s", cause, failed.left(s), v.message)
	log.FromContext(ctx).Info(message, "step", failed.name)
	r.Metrics.gaveUp(failed.name)
	r.Events.Event(s.clusterName, s.target, corev1.EventTypeWarning, workloadv1alpha1.ReasonAbandoned, message)
}

// forget drops all state that this process holds of a SyncTarget, and closes the connections to its physical cluster.
func (r *Reconciler) forget(s *scope) {
	r.engagements.remove(s.clusterName, s.target.UID)
	r.races.Forget(request(s.clusterName, s.target.Name))
	r.heartbeats.forget(s.target.UID)
	r.installed.drop(s.target.UID)
	r.tokens.forget(s.target.UID)
	r.deletions.forget(s.target.UID)
	r.hiccups.forget(s.target.UID)
	r.physical.Forget(s.pclusterID())
}

// removeAgent takes the syncer out of the physical cluster, and the pin off it when nothing is left there.
func (r *Reconciler) removeAgent(ctx context.Context, s *scope) (verdict, error) {
	if s.pullMode() || s.clusterID == "" {
		// Installed by the user; or by nobody, for nothing is installed before the cluster is pinned.
		return passed(workloadv1alpha1.ReasonRemoved, "Syncer removed"), nil
	}
	var err error
	_, s.kubeconfig, err = readKubeconfig(ctx, s)
	if fault := (*secretFault)(nil); errors.As(err, &fault) {
		return blocked(workloadv1alpha1.ReasonRemovalFailed, "The syncer cannot be removed: %s", fault), nil
	}
	if err != nil {
		return verdict{}, err
	}

	v, err := r.removeFromCluster(ctx, s)
	if outcomeOf(v, err) == underWay && !v.ok() {
		// A Namespace takes its time on each side. Nothing needs the identity any more; its own step tells what fails.
		_, _, _ = agent.RemoveIdentity(ctx, s.upstream, s.target.Name, s.key, s.target.UID)
	}
	return v, err
}

// removeFromCluster takes the syncer out of the physical cluster to which the kubeconfig leads.
func (r *Reconciler) removeFromCluster(ctx context.Context, s *scope) (verdict, error) {
	ctx, cancel := pcluster.WithBudget(ctx)
	defer cancel()
	cluster, err := r.physical.Get(ctx, s.pclusterID(), s.kubeconfig)
	if errors.Is(err, pcluster.ErrConnecting) || errors.Is(err, pcluster.ErrReplaced) {
		return connecting(workloadv1alpha1.ReasonRemoving), nil
	}
	if err != nil {
		return blocked(workloadv1alpha1.ReasonRemovalFailed, "The syncer cannot be removed: %s", pcluster.Describe(err)), nil
	}
	id, err := cluster.ID(ctx)
	if err != nil {
		return blocked(workloadv1alpha1.ReasonRemovalFailed, "The syncer cannot be removed: %s", pcluster.Describe(err)), nil
	}
	if s.clusterID != id {
		return blocked(workloadv1alpha1.ReasonRemovalFailed,
			"The syncer cannot be removed: the kubeconfig leads to cluster %q, but the syncer is in cluster %q", id, s.clusterID), nil
	}
	v := r.removeDownstream(ctx, s, cluster)
	if v.ok() {
		s.clusterID = ""
	}
	return v, nil
}

// removeDownstream takes the syncer and the counterparts, neither of which waits for the other: a Namespace may take its time,
// or for ever.
func (r *Reconciler) removeDownstream(ctx context.Context, s *scope, cluster physicalCluster) verdict {
	waiting, gone, failure := agent.Remove(ctx, cluster.Client(), s.target.Name, s.key, s.target.UID)
	hanging, ended, done, err := r.removeCounterparts(ctx, s, cluster)
	switch {
	case failure != nil:
		return blocked(workloadv1alpha1.ReasonRemovalFailed, "The syncer cannot be removed: %s", pcluster.Describe(failure))
	case ended > 0 && errors.Is(err, context.DeadlineExceeded):
		// There are more than a pass has time for. Each pass leaves fewer, so this ends, and is not given up at the deadline.
		v := blocked(workloadv1alpha1.ReasonRemoving, "Removing what was synced").after(time.Second)
		v.begun = !s.abandoned()
		return v
	case err != nil:
		return blocked(workloadv1alpha1.ReasonRemovalFailed, "What was synced cannot be removed: %s", pcluster.Describe(err))
	case !gone || !done:
		return blocked(workloadv1alpha1.ReasonRemoving, "%s", cmp.Or(hanging, cluster.Clean(waiting)))
	}
	return passed(workloadv1alpha1.ReasonRemoved, "Syncer removed")
}

// removeIdentity takes the syncer's identity out of the workspace.
func (r *Reconciler) removeIdentity(ctx context.Context, s *scope) (verdict, error) {
	waiting, done, err := agent.RemoveIdentity(ctx, s.upstream, s.target.Name, s.key, s.target.UID)
	if err != nil {
		return verdict{}, fmt.Errorf("removing the syncer's identity from the workspace: %w", err)
	}
	if !done {
		return blocked(workloadv1alpha1.ReasonRemoving, "%s", waiting), nil
	}
	return passed(workloadv1alpha1.ReasonRemoved, "Identity removed"), nil
}

// releaseSecret takes this target's hold off the Secrets.
func (r *Reconciler) releaseSecret(ctx context.Context, s *scope) (verdict, error) {
	if err := r.releaseSecrets(ctx, s, client.ObjectKey{}); err != nil {
		return verdict{}, err
	}
	if err := releaseReferenced(ctx, s); err != nil {
		return verdict{}, err
	}
	return passed(workloadv1alpha1.ReasonRemoved, "Secret released"), nil
}

func leftDownstream(s *scope) string {
	name := workloadv1alpha1.SyncerNamespace(s.target.Name, s.key)
	hold := ""
	if ref := s.target.Spec.KubeconfigSecretRef; ref != nil && s.kubeconfig == nil {
		hold = fmt.Sprintf(", and, if the Secret %q is there without the label that shows it to the service, finalizer %q on it", ref.Namespace+"/"+ref.Name, workloadv1alpha1.Hold(s.key))
	}
	left := fmt.Sprintf("Namespace, ClusterRole and ClusterRoleBinding %q", name)
	if len(s.target.Status.Namespaces) > 0 {
		left += ", and the Namespaces with the copies of what was synced,"
	}
	return fmt.Sprintf("%s in the physical cluster %q%s", left, s.target.Spec.Cluster, hold)
}

func leftUpstream(s *scope) string {
	name := workloadv1alpha1.SyncerNamespace(s.target.Name, s.key)
	return fmt.Sprintf("Namespace, ClusterRole and ClusterRoleBinding %q, and, if the service stood in for the syncer, ClusterRoleBinding %q in the workspace", name, agent.AccessBinding(name))
}

func leftHold(s *scope) string {
	return fmt.Sprintf("finalizer %q on Secrets of the workspace", workloadv1alpha1.Hold(s.key))
}
