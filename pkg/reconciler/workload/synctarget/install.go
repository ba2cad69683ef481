package synctarget

import (
	"context"
	"fmt"

	"k8s.io/utils/ptr"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// installBothSides brings workspace and cluster to what they should be, and d to what has become of that.
func (r *Reconciler) installBothSides(ctx context.Context, s *scope, in installAttempt, d *deployment) (verdict, error) {
	if in.inspection.proven != nil {
		return r.installNamespaces(ctx, s, in, &d.namespaces)
	}
	var err error
	if in.cfg.Retained, err = agent.Retain(ctx, s.upstream, s.target.Name, s.key, s.target.Leaving()); err != nil {
		return verdict{}, err
	}
	identity, stop, err := r.identity(ctx, s, in)
	if d.credentials = identity.credentials; err != nil || stop != nil {
		return ptr.Deref(stop, verdict{}), err
	}
	in.cfg.Token = identity.token
	if err := r.admit(ctx, s, in, d.namespaces); err != nil {
		return verdict{}, err
	}
	if s.pullMode() {
		neverInstalled := s.target.Status.LastHeartbeatTime == nil
		v := awaitInstall(s, r.isSilent(s), len(d.namespaces.admitted()) > 0)
		return identity.recheckAfter(v), r.recordVersion(ctx, s, in.cfg, neverInstalled)
	}
	pinned, v, err := r.installAgent(ctx, s, in, &d.namespaces)
	if pinned != "" {
		d.clusterID = pinned
	}
	return identity.addTo(v), err
}

// installNamespaces is installBothSides for the Namespaces alone, where all else was found right before. It asks both sides at the
// same time.
func (r *Reconciler) installNamespaces(ctx context.Context, s *scope, in installAttempt, plan *namespacePlan) (verdict, error) {
	if s.pullMode() {
		return in.inspection.proven.verdict, r.admit(ctx, s, in, *plan)
	}
	var (
		clone    = plan.clone()
		granting = make(chan error, 1)
	)
	go func() { granting <- r.admit(ctx, s, in, clone) }()
	v, err := r.installDownstreamNamespaces(ctx, s, in, plan)
	notGranted := <-granting
	plan.mergeGranted(clone)
	if notGranted != nil {
		err = notGranted // it comes before that there are more Namespaces than one pass has time for
	}
	return v, err
}

// installDownstreamNamespaces is the part of installNamespaces in the physical cluster.
func (r *Reconciler) installDownstreamNamespaces(ctx context.Context, s *scope, in installAttempt, plan *namespacePlan) (verdict, error) {
	ctx, cancel := pcluster.WithBudget(ctx)
	defer cancel()
	cluster, _, stop, err := r.connect(ctx, s, in)
	if err != nil {
		return r.verdictOfCluster(s, err)
	}
	if stop != nil {
		return *stop, nil
	}
	if err := r.ensureDownstreamNamespaces(ctx, in, plan, cluster); err != nil {
		return r.verdictOfCluster(s, err)
	}
	if len(plan.in(namespaceCleaningUp)) == 0 && !plan.awaitsDeletion {
		return in.inspection.proven.verdict, nil
	}
	return r.cleanUpDownstream(ctx, s, plan, cluster, in.inspection.proven.verdict)
}

// awaitInstall is the verdict in pull mode: that the syncer is installed is known by its heartbeat.
func awaitInstall(s *scope, silent, hasNamespaces bool) verdict {
	if s.target.Status.LastHeartbeatTime != nil {
		v := passed(workloadv1alpha1.ReasonDeployed, "Syncer deployment successful")
		if silent {
			v.message += "; it sends no heartbeats any more: if its Pods run, apply the output of `kubectl synctarget manifests " + s.target.Name + "` again, since kcp may have issued another token"
		}
		if known := s.target.Status.Credentials; known != nil && known.InUse != "" && known.InUse != known.Secret {
			v.message += "; kcp has issued another token: apply the output of `kubectl synctarget manifests " + s.target.Name + "` again, until then the earlier token stays valid"
		}
		if hasNamespaces {
			v.message += "; for each Namespace that is assigned to it, apply the output of `kubectl synctarget manifests " + s.target.Name + "` again: it contains its Namespace in the physical cluster"
		}
		return v
	}
	return blocked(workloadv1alpha1.ReasonAwaitingInstall,
		"Waiting for you to install the syncer in the physical cluster: there is no kubeconfigSecretRef, so the service does not; apply the output of `kubectl synctarget manifests %s` there",
		s.target.Name)
}

// installAgent brings the physical cluster to the manifests and reports how the rollout fares.
func (r *Reconciler) installAgent(ctx context.Context, s *scope, in installAttempt, plan *namespacePlan) (pinned string, v verdict, err error) {
	ctx, cancel := pcluster.WithBudget(ctx)
	defer cancel()

	cluster, id, stop, err := r.connect(ctx, s, in)
	if err != nil {
		v, err = r.verdictOfCluster(s, err)
		return "", v, err
	}
	if stop != nil {
		if s.target.Status.ClusterID == "" {
			pinned = id
		}
		return pinned, *stop, nil
	}
	v, err = r.installInCluster(ctx, s, in, plan, cluster)
	return "", v, err
}

// connect returns the physical cluster and its ID, and a verdict if it is not the one that the target is pinned to.
func (r *Reconciler) connect(ctx context.Context, s *scope, in installAttempt) (cluster physicalCluster, id string, stop *verdict, err error) {
	cluster, err = r.physical.Get(ctx, s.pclusterID(), in.kubeconfig)
	if err != nil {
		return nil, "", nil, err
	}
	id, err = cluster.ID(ctx)
	if err != nil {
		return nil, "", nil, err
	}
	return cluster, id, checkPin(s.target.Status.ClusterID, id), nil
}

// checkPin decides whether the cluster with this ID is the one that the target is pinned to. A verdict means that this pass must
// not install anything: a target is pinned before anything is installed, and the event of the status write brings us back.
func checkPin(pinned, id string) *verdict {
	var v verdict
	switch pinned {
	case id:
		return nil
	case "":
		v = blocked(workloadv1alpha1.ReasonRollingOut, "Installing the syncer")
	default:
		v = blocked(workloadv1alpha1.ReasonClusterMismatch,
			"the kubeconfig leads to cluster %q, but this SyncTarget stands for cluster %q; restore the kubeconfig, or delete the SyncTarget and create another for the new cluster",
			id, pinned)
	}
	return &v
}

// installInCluster installs the syncer and the downstream Namespaces in the cluster that the target is pinned to.
func (r *Reconciler) installInCluster(ctx context.Context, s *scope, in installAttempt, plan *namespacePlan, cluster physicalCluster) (verdict, error) {
	install, err := r.planInstall(ctx, s, in.cfg, cluster)
	if err != nil {
		return r.verdictOfCluster(s, err)
	}
	if !install.keeps() {
		// Before the installation: after it, a pass that makes up for a write that failed could not tell that it is due.
		if err := r.recordVersion(ctx, s, in.cfg, install.action != installUnchanged); err != nil {
			return verdict{}, err
		}
	}
	withheld, err := r.applyAgent(ctx, s, install.config, cluster)
	if err != nil {
		v, err := r.verdictOfApply(ctx, s, "physical cluster", err, func(ctx context.Context) (string, bool, error) {
			return agent.RemoveLeftovers(ctx, cluster.Client(), s.target.Name, s.key, s.target.UID)
		})
		if err != nil {
			return r.verdictOfCluster(s, err)
		}
		v.message = cluster.Clean(v.message)
		return *v, nil
	}
	r.rollouts.applied(s.target.UID, install)
	// The syncer itself, while it runs, reports changes of the rest.
	if err := cluster.Watch(agent.Deployment(s.target.Name, s.key)); err != nil {
		return verdict{}, fmt.Errorf("watching the syncer: %w", err)
	}
	if err := r.ensureDownstreamNamespaces(ctx, in, plan, cluster); err != nil {
		return r.verdictOfCluster(s, err)
	}
	return r.rolloutVerdict(ctx, s, plan, cluster, withheld)
}

// rolloutVerdict says how the rollout of the syncer fares, and deletes what closed Namespaces have left.
func (r *Reconciler) rolloutVerdict(ctx context.Context, s *scope, plan *namespacePlan, cluster physicalCluster, withheld withheldRights) (verdict, error) {
	rollout, err := agent.Rollout(ctx, cluster.Client(), workloadv1alpha1.SyncerNamespace(s.target.Name, s.key))
	if err != nil {
		return r.verdictOfCluster(s, err)
	}
	r.rollouts.observeDeployment(s.target.UID, rollout)
	v := r.rollouts.whileHalted(s.target.UID, deployed(cluster, withheld))
	if !rollout.Ready {
		v = blocked(workloadv1alpha1.ReasonRollingOut, "%s", cluster.Clean(rollout.Message)).after(r.backOff(s, rolloutRecheck))
	}
	return r.cleanUpDownstream(ctx, s, plan, cluster, v) // last, since it may take all the time that is left
}

// cleanUpDownstream deletes what closed Namespaces have left, and returns the verdict with what keeps it from that.
func (r *Reconciler) cleanUpDownstream(ctx context.Context, s *scope, plan *namespacePlan, cluster physicalCluster, v verdict) (verdict, error) {
	done, refusal, err := r.deleteOrphans(ctx, s, plan, cluster)
	if err != nil {
		return verdict{}, err
	}
	if refusal != nil {
		v.message += "; in the physical cluster the downstream Namespace of a closed Namespace may still stand: " + pcluster.Describe(refusal)
		if v.requeueAfter == 0 {
			v = v.after(refusedRecheck)
		}
	}
	if !done && v.requeueAfter == 0 {
		v = v.after(namespaceRecheck)
	}
	return v, nil
}
