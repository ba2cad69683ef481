package synctarget

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

const (
	// tokenRetry, conflictRetry and residueRetry are for what passes by itself in a moment. They grow with the time that
	// it takes: see backOff.
	tokenRetry    = 250 * time.Millisecond
	conflictRetry = 100 * time.Millisecond
	residueRetry  = time.Second
	// continueRetry is for what one pass does not get through, or what has changed during the pass.
	continueRetry = 200 * time.Millisecond
	// rolloutRecheck is for what happens to the syncer's pods, of which the watched Deployment shows nothing. It grows.
	rolloutRecheck = 5 * time.Second
	// refusedRecheck is for what an administrator mends in the physical cluster, of which no event tells us.
	refusedRecheck = time.Minute
	// unwatchedRecheck leaves a pass its time in the minute within which changes by hand are mended.
	unwatchedRecheck = 50 * time.Second
	// namespaceRecheck is for what keeps a Namespace from being opened. It grows to refusedRecheck.
	namespaceRecheck = 10 * time.Second
	// driftInterval is the mean time between two reads of everything that is installed; each is jittered by 20 %.
	driftInterval = 10 * time.Minute
)

// deploy installs the syncer and keeps it as it should be.
func (r *Reconciler) deploy(ctx context.Context, s *scope) (verdict, error) {
	if stop, err := r.checkLimit(ctx, s); err != nil || stop != nil {
		return ptr.Deref(stop, verdict{}), err
	}
	if !controllerutil.ContainsFinalizer(s.target, workloadv1alpha1.Finalizer) {
		v := blocked(workloadv1alpha1.ReasonRollingOut, "Installing the syncer")
		v.needsFinalizer = true
		return v, nil
	}
	if err := r.holdSecret(ctx, s); err != nil {
		return verdict{}, err
	}
	cfg := r.agentConfig(s)
	inputs := r.inputsOf(s, cfg)
	// What was done may not have been told yet: a status that was not written shows a Namespace as Opening.
	if v, fresh := r.installed.get(s.target.UID, inputs, r.Clock.Now()); fresh && !r.isSilent(s) && !s.unsettled() {
		return v, nil
	}

	s.round = r.installed.begin(s.target.UID, inputs, r.Clock.Now())
	v, err := r.installBothSides(ctx, s, cfg)
	if s.unfinished {
		return v, nil
	}
	if err == nil && v.ok() && v.recheck == 0 && s.unsettled() {
		return v.after(r.installed.rest(s.target.UID, r.Clock.Now())), nil
	}
	defer r.installed.end(s.target.UID)
	switch {
	case err != nil || !v.ok():
		return v, err
	case s.unsettled():
		return v.after(min(v.recheck, namespaceRecheck)), nil
	case v.recheck == 0:
		v = v.after(wait.Jitter(driftInterval*4/5, 0.5))
	}
	if !r.installed.put(s.target.UID, inputs, v, r.Clock.Now()) {
		v = v.after(wait.Jitter(continueRetry, 1)) // what has changed meanwhile may have been looked at before
	}
	return v, nil
}

// installBothSides brings workspace and cluster to what they should be.
func (r *Reconciler) installBothSides(ctx context.Context, s *scope, cfg agent.Config) (verdict, error) {
	var err error
	if cfg.Retained, err = agent.Retain(ctx, s.upstream, s.target.Name, s.key, s.target.Leaving()); err != nil {
		return verdict{}, err
	}
	token, stop, err := r.identity(ctx, s, cfg)
	if err != nil {
		return verdict{}, err
	}
	if stop != nil {
		return *stop, nil
	}
	cfg.Token = token
	if err := r.admit(ctx, s, cfg); err != nil {
		return verdict{}, err
	}
	if s.pullMode() {
		return awaitInstall(s, r.isSilent(s)), nil
	}
	return r.installAgent(ctx, s, cfg)
}

// awaitInstall is the verdict in pull mode: that the syncer is installed is known by its heartbeat.
func awaitInstall(s *scope, silent bool) verdict {
	if s.target.Status.LastHeartbeatTime != nil {
		v := passed(workloadv1alpha1.ReasonDeployed, "Syncer deployment successful")
		if silent {
			v.message += "; it sends no heartbeats any more: if its Pods run, print and apply the manifests again, since kcp may have issued another token"
		}
		if len(s.admitted()) > 0 {
			v.message += "; for each Namespace that you open, print and apply the manifests again: they hold its counterpart"
		}
		return v
	}
	return blocked(workloadv1alpha1.ReasonAwaitingInstall,
		"Waiting for you to install the syncer in the physical cluster: there is no kubeconfigSecretRef, so the service does not")
}

// installAgent brings the physical cluster to the manifests and reports how the rollout fares.
func (r *Reconciler) installAgent(ctx context.Context, s *scope, cfg agent.Config) (verdict, error) {
	ctx, cancel := pcluster.WithBudget(ctx)
	defer cancel()

	cluster, err := r.physical.Get(ctx, s.pclusterID(), s.kubeconfig)
	if err != nil {
		return r.refusal(s, err)
	}
	if stop, err := r.pin(ctx, s, cluster); err != nil || stop != nil {
		if err != nil {
			return r.refusal(s, err)
		}
		return *stop, nil
	}

	objects, withheld, err := r.applyAgent(ctx, cfg, cluster)
	if err != nil {
		v, err := r.refused(ctx, s, "physical cluster", err, func(ctx context.Context) (string, bool, error) {
			waiting, done, err := agent.RemoveResidue(ctx, cluster.Client(), s.target.Name, s.key, s.target.UID)
			return waiting, done, err
		})
		if err != nil {
			return r.refusal(s, err)
		}
		v.message = cluster.Clean(v.message)
		return *v, nil
	}
	if err := cluster.Watch(objects...); err != nil {
		return verdict{}, fmt.Errorf("watching what is installed: %w", err)
	}
	bindings, err := r.furnish(ctx, s, cfg, cluster)
	if err != nil {
		return r.refusal(s, err)
	}
	if s.unfinished {
		return furnishing(), nil
	}
	if err := cluster.WatchOnly(append(objects, bindings...)...); err != nil {
		return verdict{}, fmt.Errorf("ending the watches of what is left: %w", err)
	}
	return r.rolloutVerdict(ctx, s, cluster, withheld)
}

// rolloutVerdict says how the rollout of the syncer fares, and clears away what closed Namespaces have left.
func (r *Reconciler) rolloutVerdict(ctx context.Context, s *scope, cluster physicalCluster, withheld []workloadv1alpha1.GroupResource) (verdict, error) {
	rollout, err := agent.Rollout(ctx, cluster.Client(), workloadv1alpha1.SyncerNamespace(s.target.Name, s.key))
	if err != nil {
		return r.refusal(s, err)
	}
	v := deployed(cluster, withheld)
	if !rollout.Ready {
		v = blocked(workloadv1alpha1.ReasonRollingOut, "%s", cluster.Clean(rollout.Message)).after(r.backOff(s, rolloutRecheck))
	}
	// Last, since it may take all the time that is left.
	refusal, err := r.sweep(ctx, s, cluster)
	if err != nil {
		return verdict{}, err
	}
	if refusal != nil {
		v.message += "; in the physical cluster the counterpart of a closed Namespace may still stand: " + pcluster.Describe(refusal)
		if v.recheck == 0 {
			v = v.after(refusedRecheck)
		}
	}
	if s.clearing && v.recheck == 0 {
		v = v.after(namespaceRecheck)
	}
	return v, nil
}

// applyAgent applies what is installed. Kubernetes lets nobody grant what they do not hold themselves: a resource of which
// that is so keeps the others from nothing.
func (r *Reconciler) applyAgent(ctx context.Context, cfg agent.Config, cluster physicalCluster) (objects []client.Object, withheld []workloadv1alpha1.GroupResource, err error) {
	objects = agent.Downstream(cfg)
	changed, err := agent.Apply(ctx, cluster.Client(), objects, workloadv1alpha1.FieldOwnerController)
	r.Metrics.applied(changed, err)
	if !apierrors.IsForbidden(err) {
		return objects, nil, err
	}
	withheld, tried := agent.Ungrantable(ctx, cluster.Client(), cfg, workloadv1alpha1.FieldOwnerController)
	if tried != nil || len(withheld) == 0 {
		return nil, nil, err
	}
	cfg.Withheld = withheld
	objects = agent.Downstream(cfg)
	changed, err = agent.Apply(ctx, cluster.Client(), objects, workloadv1alpha1.FieldOwnerController)
	r.Metrics.applied(changed, err)
	return objects, withheld, err
}

// pin holds the target to one physical cluster. A verdict means that this pass must not install anything.
func (r *Reconciler) pin(ctx context.Context, s *scope, cluster physicalCluster) (*verdict, error) {
	id, err := cluster.ID(ctx)
	if err != nil {
		return nil, err
	}
	var v verdict
	switch s.clusterID {
	case id:
		return nil, nil
	case "":
		// Pinned before anything is installed: the event of the status write brings us back.
		s.clusterID = id
		v = blocked(workloadv1alpha1.ReasonRollingOut, "Installing the syncer")
	default:
		v = blocked(workloadv1alpha1.ReasonClusterMismatch,
			"the kubeconfig leads to cluster %q, but this SyncTarget stands for cluster %q; restore the kubeconfig, or delete the SyncTarget and create another for the new cluster",
			id, s.clusterID)
	}
	return &v, nil
}

// deployed is the verdict when all is as it should be. What the kubeconfig does not allow is read again from time to time:
// where it lets nobody watch that all stays so, within the minute that users were promised.
func deployed(cluster physicalCluster, withheld []workloadv1alpha1.GroupResource) verdict {
	v := passed(workloadv1alpha1.ReasonDeployed, "Syncer deployment successful")
	if len(withheld) > 0 {
		var names []string
		for _, resource := range withheld {
			names = append(names, resource.String())
		}
		slices.Sort(names)
		v.message += "; without rights on " + strings.Join(names, ", ") + ", which the kubeconfig's user does not have and so cannot grant"
		v = v.after(refusedRecheck)
	}
	if refusal := cluster.Unwatched(); refusal != nil {
		v.message += "; it is read once a minute instead of being watched: " + pcluster.Describe(refusal)
		v = v.after(unwatchedRecheck)
	}
	return v
}

// backOff is when to look again at what has kept the syncer from being deployed: after a quarter of the time that it
// has, from least to a minute. It needs no memory, so a restart does not begin anew.
func (r *Reconciler) backOff(s *scope, least time.Duration) time.Duration {
	deployed := meta.FindStatusCondition(s.target.Status.Conditions, workloadv1alpha1.ConditionDeployed)
	if deployed == nil || deployed.Status == metav1.ConditionTrue {
		return least
	}
	return min(max(r.Clock.Since(deployed.LastTransitionTime.Time)/4, least), time.Minute)
}

// refused sorts the errors of an apply that a user or time must mend from those to retry.
func (r *Reconciler) refused(ctx context.Context, s *scope, side string, err error, removeResidue func(context.Context) (string, bool, error)) (*verdict, error) {
	var foreign *agent.ForeignError
	var residue *agent.ResidueError
	var terminating *agent.TerminatingError
	var v verdict
	switch {
	case errors.As(err, &foreign):
		v = blocked(workloadv1alpha1.ReasonDeploymentFailed, "%s", foreign).after(refusedRecheck)
	case errors.As(err, &residue):
		waiting, _, err := removeResidue(ctx)
		if err != nil {
			return nil, err
		}
		message := "Removing what an earlier SyncTarget of this name left in the " + side
		if waiting != "" {
			message += ". " + waiting
		}
		v = blocked(workloadv1alpha1.ReasonRollingOut, "%s", message).after(r.backOff(s, residueRetry))
	case errors.As(err, &terminating):
		v = blocked(workloadv1alpha1.ReasonRollingOut, "%s", terminating).after(r.backOff(s, residueRetry))
	default:
		return nil, err
	}
	return &v, nil
}

// refusal turns what the physical cluster answered, or did not, into a verdict. None of it is an error: the
// prober or the recheck brings us back.
func (r *Reconciler) refusal(s *scope, err error) (verdict, error) {
	switch {
	case errors.Is(err, pcluster.ErrConnecting):
		return connecting(workloadv1alpha1.ReasonRollingOut), nil
	case errors.Is(err, pcluster.ErrReplaced), errors.Is(err, context.Canceled):
		// Neither says anything about the cluster: the connection is a new one, or we are stopping.
		return verdict{}, err
	case errors.Is(err, pcluster.ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
		return unknown(workloadv1alpha1.ReasonClusterUnreachable, "%s", pcluster.Describe(err)).after(refusedRecheck), nil
	case errors.Is(err, pcluster.ErrInvalid):
		return blocked(workloadv1alpha1.ReasonDeploymentFailed, "%s", pcluster.Describe(err)), nil
	case apierrors.IsConflict(err):
		return blocked(workloadv1alpha1.ReasonRollingOut, "Installing the syncer: %s", pcluster.Describe(err)).after(r.backOff(s, conflictRetry)), nil
	default:
		return blocked(workloadv1alpha1.ReasonDeploymentFailed, "%s", pcluster.Describe(err)).after(refusedRecheck), nil
	}
}

// connecting is the verdict while the first contact with the physical cluster is under way, which is bounded; its end
// brings us back.
func connecting(reason string) verdict {
	v := blocked(reason, "Waiting for the physical cluster to answer")
	v.undecided = true
	return v
}

// furnishing is the verdict while there are more Namespaces than one pass gets through, as there may be far away.
func furnishing() verdict {
	v := blocked(workloadv1alpha1.ReasonRollingOut, "Opening Namespaces in the physical cluster").after(wait.Jitter(continueRetry, 1))
	v.undecided = true
	return v
}

// deployFailed is the verdict when kcp kept the phase from its work.
func deployFailed(err error) verdict {
	return failing(workloadv1alpha1.ReasonDeploymentFailed, err)
}

// inputsOf is the hash of everything that an installation follows from.
func (r *Reconciler) inputsOf(s *scope, cfg agent.Config) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%s\x00%s\x00%v\x00%s\x00%v\x00%s",
		s.target.Generation, s.clusterID, cfg.Image, cfg.KcpURL, cfg.KcpCA, cfg.Proxy, s.openings(), s.target.Leaving(), s.kubeconfig))
}

func (s *scope) pclusterID() pcluster.ID {
	return pcluster.ID{ClusterName: s.clusterName.String(), Name: s.target.Name, UID: string(s.target.UID)}
}
