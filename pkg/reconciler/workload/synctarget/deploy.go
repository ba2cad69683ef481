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

// inputsOf is the hash of everything that an installation follows from, but for the Namespaces; see provenNamespaces.
func (r *Reconciler) inputsOf(s *scope, cfg agent.Config, kubeconfig []byte) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%s\x00%s\x00%v\x00%v\x00%v\x00%s",
		s.target.Generation, s.target.Status.ClusterID, cfg.Image, cfg.KcpURL, cfg.KcpCA, cfg.Proxy, cfg.PullSecrets, s.target.Leaving(), kubeconfig))
}
