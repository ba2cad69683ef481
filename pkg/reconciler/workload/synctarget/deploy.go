package synctarget

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

const (
	// tokenRetry, conflictRetry and leftoverRetry are for what passes by itself in a moment. They grow with the time that
	// it takes; see backOff.
	tokenRetry    = 250 * time.Millisecond
	conflictRetry = 100 * time.Millisecond
	leftoverRetry = time.Second
	// continueRetry is for what one pass does not get through, or what has changed during the pass.
	continueRetry = 200 * time.Millisecond
	// rolloutRecheck is for what happens to the syncer's pods, of which the watched Deployment shows nothing. It grows.
	rolloutRecheck = 5 * time.Second
	// refusedRecheck is for what an administrator mends in the physical cluster, of which we get no event.
	refusedRecheck = time.Minute
	// unwatchedRecheck leaves a pass its time in the minute within which changes by hand are mended.
	unwatchedRecheck = 50 * time.Second
	// namespaceRecheck is for what keeps a Namespace from being opened. It grows to refusedRecheck.
	namespaceRecheck = 10 * time.Second
	// driftInterval is the mean time between two reads of everything that is installed; each is jittered by 20 %.
	driftInterval = 10 * time.Minute
)

// deployment is what deploy returns beside its verdict.
type deployment struct {
	// namespaces is the plan that deploy was given, with the states and messages of what this pass has done.
	namespaces namespacePlan
	// clusterID is the physical cluster to pin.
	clusterID string
	// needsFinalizer is set when deploy is about to make something for the first time. The finalizer is the record of that, so
	// the pass adds it and does nothing else: a SyncTarget without it has nothing to remove, and is deleted at once.
	needsFinalizer bool
	// credentials are for the status; nil if this pass has not looked at them.
	credentials *workloadv1alpha1.CredentialsStatus
}

// installAttempt is what one pass of an installation starts with.
type installAttempt struct {
	cfg        agent.Config
	kubeconfig []byte
	inspection *inspection
}

// errUnfinished means that one pass has no time for all Namespaces.
var errUnfinished = errors.New("there are more Namespaces than one pass has time for")

// deploy installs the syncer and keeps it as it should be. The first installation takes these passes, each of which begins upon what
// the one before it has changed:
//
//  1. ask for the SyncTarget's finalizer
//  2. make the syncer's identity in the workspace, and wait until kcp has issued its token
//  3. in push mode: contact the physical cluster, and pin the SyncTarget to it
//  4. apply the manifests there, and watch the Deployment
//  5. when it is rolled out, report Deployed
func (r *Reconciler) deploy(ctx context.Context, s *scope, f facts, plan namespacePlan) (deployment, verdict, error) {
	d := deployment{namespaces: plan.clone(), clusterID: s.target.Status.ClusterID}
	if stop, err := r.checkLimit(ctx, s); err != nil || stop != nil {
		return d, ptr.Deref(stop, verdict{}), err
	}
	if !controllerutil.ContainsFinalizer(s.target, workloadv1alpha1.Finalizer) {
		d.needsFinalizer = true
		return d, blocked(workloadv1alpha1.ReasonRollingOut, "Installing the syncer"), nil
	}
	if err := r.ensureSecretFinalizer(ctx, s); err != nil {
		return d, verdict{}, err
	}
	cfg := r.agentConfig(s, plan.labels)
	cfg.PullSecrets = f.pullSecrets
	inputs := r.inputsOf(s, cfg, f.kubeconfig)
	if tokenReview(s.target, r.Clock.Now()) {
		r.installCache.forgetIdentity(s.target.UID)
	}
	known, fresh := r.installCache.get(s.target.UID, inputs, s.target.Status.InstallationHash, r.Clock.Now())
	fresh = fresh && !r.isSilent(s)
	// What was done may not be recorded yet: a write that was lost leaves a Namespace Opening.
	if fresh && !plan.isUnsettled() && r.installCache.covers(s.target.UID, plan, s.pullMode()) {
		return d, r.restate(s, known, plan), nil
	}

	inspection := r.installCache.begin(s.target.UID, inputs, s.target.Status.InstallationHash, fresh, r.Clock.Now())
	in := installAttempt{cfg: cfg, kubeconfig: f.kubeconfig, inspection: inspection}
	v, err := r.installBothSides(ctx, s, in, &d)
	if errors.Is(err, errUnfinished) {
		return d, openingNamespaces(), nil
	}
	if err != nil {
		r.installCache.end(s.target.UID)
		return d, verdict{}, err
	}
	if inspection.proven != nil {
		return d, r.recordNamespaces(s, v, d.namespaces, known.requeueAfter), nil
	}
	return d, r.recordInstallation(s, inputs, v, d.namespaces.isUnsettled()), nil
}

// recordNamespaces ends an inspection that has looked at Namespaces alone, unless one of them keeps it from its end. remaining is
// for how long the verdict on all else holds.
func (r *Reconciler) recordNamespaces(s *scope, v verdict, plan namespacePlan, remaining time.Duration) verdict {
	if v.ok() && plan.isUnsettled() {
		return r.restate(s, v, plan).after(min(remaining, r.installCache.pause(s.target.UID, r.Clock.Now())))
	}
	stale := r.installCache.end(s.target.UID)
	switch {
	case !v.ok():
		return v
	case stale:
		remaining = wait.Jitter(continueRetry, 1) // what has changed meanwhile may have been looked at before
	}
	return r.restate(s, v, plan).after(remaining)
}

// restate returns the verdict of an earlier installation as it is with the Namespaces of now, on which that of pull mode depends.
func (r *Reconciler) restate(s *scope, v verdict, plan namespacePlan) verdict {
	if s.pullMode() {
		return awaitInstall(s, r.isSilent(s), len(plan.admitted()) > 0).after(v.requeueAfter)
	}
	return v
}

// recordInstallation ends the inspection of an installation, unless Namespaces alone keep it from its end, and returns its verdict with
// the time of the next.
func (r *Reconciler) recordInstallation(s *scope, inputs [sha256.Size]byte, v verdict, unsettled bool) verdict {
	if v.ok() && v.requeueAfter == 0 && unsettled {
		return v.after(r.installCache.pause(s.target.UID, r.Clock.Now()))
	}
	defer r.installCache.end(s.target.UID)
	switch {
	case !v.ok():
		return v
	case unsettled:
		return v.after(min(v.requeueAfter, namespaceRecheck))
	}
	if reread := r.untilReread(s); v.requeueAfter == 0 || reread < v.requeueAfter {
		v = v.after(reread)
	}
	if !r.installCache.put(s.target.UID, inputs, v, r.Clock.Now()) {
		v = v.after(wait.Jitter(continueRetry, 1)) // what has changed meanwhile may have been read before
	}
	return v
}

// untilReread is when everything that is installed is read again without a sign of a change. A syncer of an earlier version
// reports no changes of its installation, and neither does one that has just been installed, is silent, or is scaled to zero: what
// status.installationHash says then is of before.
func (r *Reconciler) untilReread(s *scope) time.Duration {
	mayReport := s.target.Status.InstallationHash != "" && !isScaledToZero(s.target) && !r.isKnownSilent(s)
	if !mayReport && !s.pullMode() {
		return unwatchedRecheck
	}
	return wait.Jitter(driftInterval*4/5, 0.5)
}

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
		return identity.addTo(v), r.recordVersion(ctx, s, in.cfg, neverInstalled)
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

// inputsOf is the hash of everything that an installation follows from, but for the Namespaces; see provenNamespaces.
func (r *Reconciler) inputsOf(s *scope, cfg agent.Config, kubeconfig []byte) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%s\x00%s\x00%v\x00%v\x00%v\x00%s\x00%s",
		s.target.Generation, s.target.Status.ClusterID, cfg.Image, cfg.KcpURL, cfg.KcpCA, cfg.Proxy, cfg.PullSecrets, s.target.Leaving(),
		s.target.Annotations[workloadv1alpha1.AnnotationRotateTokenAt], kubeconfig))
}
