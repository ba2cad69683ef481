package synctarget

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/rollout"
)

const (
	// rolloutInterval is the time between two looks at a rollout that is under way.
	rolloutInterval = 5 * time.Second
	// examineTime is how long a rollout waits, after the start of the process, until it is known of each SyncTarget what is
	// installed. One whose physical cluster does not answer does not hold up the others for longer.
	examineTime = 2 * time.Minute
	// maxNamed is how many SyncTargets a line of the log names.
	maxNamed = 5
)

// rollouts records how far each SyncTarget in push mode is with the settings that the controller has for all syncers. What is
// installed is read from the physical clusters; what is lost with the process is read again.
type rollouts struct {
	clock          clock.PassiveClock
	maxUnavailable intstr.IntOrString
	// deadline is how long a SyncTarget may take to become Ready with new settings.
	deadline time.Duration

	mu      sync.Mutex
	targets map[types.UID]*rolloutRecord
	// began is when the first SyncTarget was seen.
	began time.Time
	// halted is set while the rollout does not go on.
	halted bool
	counts map[rollout.State]int
}

// rolloutRecord is what is known of one SyncTarget.
type rolloutRecord struct {
	rollout.Target
	request mcreconcile.Request
	// version is that of the settings that are installed, unless the SyncTarget is Outdated.
	version string
	// kept and wanted are the images of a SyncTarget that is Outdated.
	kept, wanted string
}

func newRollouts(c clock.PassiveClock, maxUnavailable intstr.IntOrString, threshold time.Duration) *rollouts {
	return &rollouts{clock: c, maxUnavailable: maxUnavailable, deadline: 2 * threshold, targets: map[types.UID]*rolloutRecord{}}
}

// observe takes in a version of a SyncTarget.
func (r *rollouts) observe(clusterName multicluster.ClusterName, target *workloadv1alpha1.SyncTarget) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if target.Spec.KubeconfigSecretRef == nil || target.DeletionTimestamp != nil || isScaledToZero(target) {
		delete(r.targets, target.UID)
		return
	}
	if r.began.IsZero() {
		r.began = r.clock.Now()
	}
	found := r.targets[target.UID]
	if found == nil {
		found = &rolloutRecord{Target: rollout.Target{ID: string(target.UID)}, request: request(clusterName, target.Name)}
		r.targets[target.UID] = found
	}
	found.Ready = conditionOf(target, workloadv1alpha1.ConditionReady)
	found.Deployed = conditionOf(target, workloadv1alpha1.ConditionDeployed)
	deployed := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionDeployed)
	found.RollingOut = found.Ready.True && deployed != nil && deployed.Reason == workloadv1alpha1.ReasonRollingOut
}

func conditionOf(target *workloadv1alpha1.SyncTarget, name string) rollout.Condition {
	found := meta.FindStatusCondition(target.Status.Conditions, name)
	if found == nil {
		return rollout.Condition{Unknown: true}
	}
	return rollout.Condition{
		True: found.Status == metav1.ConditionTrue, Unknown: found.Status == metav1.ConditionUnknown, Changed: found.LastTransitionTime.Time,
	}
}

// forget drops a SyncTarget that is gone.
func (r *rollouts) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.targets, uid)
}

// hasVersion tells whether this process has found, or made, this version of the settings installed for a SyncTarget, and since when
// by a rollout.
func (r *rollouts) hasVersion(uid types.UID, version string) (rolledOut time.Time, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.targets[uid]
	if found == nil || !found.Examined || found.Outdated || found.version != version {
		return time.Time{}, false
	}
	return found.RolledOut, true
}

// isGranted tells whether it is a SyncTarget's turn.
func (r *rollouts) isGranted(uid types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.targets[uid]
	return found != nil && r.clock.Since(found.Granted) < r.deadline
}

// applied takes in what was installed for a SyncTarget.
func (r *rollouts) applied(uid types.UID, p installPlan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.targets[uid]
	if found == nil {
		return // it is being deleted, or was forgotten meanwhile
	}
	found.Examined, found.Outdated, found.kept, found.wanted = true, p.keeps(), p.kept, p.wanted
	found.RolledOut = p.config.RolledOut
	if p.keeps() {
		return
	}
	if p.action != installUnchanged {
		found.Complete, found.Stuck, found.WasUpdated, found.HasFailed = time.Time{}, false, false, false
	}
	found.version, found.Granted = p.config.Settings().Version(), time.Time{}
}

// observeDeployment takes in how the syncer's Deployment fares.
func (r *rollouts) observeDeployment(uid types.UID, status agent.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.targets[uid]
	if found == nil || found.Outdated {
		return
	}
	found.Stuck = status.Stuck
	switch {
	case !status.Ready:
		found.Complete = time.Time{}
	case found.Complete.IsZero():
		found.Complete = r.clock.Now()
	}
}

// whileHalted returns the verdict on a syncer that is as it should be but for the settings that it has yet to get. While it waits
// for its turn, there is nothing to say. The message does not count the SyncTargets that have failed: whenever one more fails, all
// that wait would have to be written.
func (r *rollouts) whileHalted(uid types.UID, v verdict) verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.targets[uid]
	if found == nil || !found.Outdated || !r.halted {
		return v
	}
	v.reason = workloadv1alpha1.ReasonRolloutHalted
	const failed = "at least one SyncTarget of the service did not become Ready with it"
	if found.kept == found.wanted {
		v.message += fmt.Sprintf("; it keeps earlier settings of the service, because the rollout of other ones is halted: %s. Ask the operator of the service", failed)
		return v
	}
	v.message += fmt.Sprintf("; it keeps image %q, because the rollout of image %q is halted: %s. Ask the operator of the service, or set spec.syncer.image to get the image now",
		found.kept, found.wanted, failed)
	return v
}

// next decides which SyncTargets get the new settings next, and returns those that need a pass: for that, or since the rollout was
// halted or goes on. lastHeartbeat returns when this process last saw a heartbeat of a SyncTarget.
func (r *rollouts) next(logger logr.Logger, lastHeartbeat func(types.UID) time.Time) (wake map[types.UID]mcreconcile.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	records := make([]*rolloutRecord, 0, len(r.targets))
	targets := make([]rollout.Target, 0, len(r.targets))
	for uid, record := range r.targets {
		if record.Outdated || !record.RolledOut.IsZero() && !record.WasUpdated {
			record.Heartbeat = lastHeartbeat(uid)
		}
		records, targets = append(records, record), append(targets, record.Target)
	}
	d := rollout.Decide(targets, r.maxUnavailable, now, r.deadline, now.Sub(r.began) < examineTime)
	r.counts = d.Counts
	wake = map[types.UID]mcreconcile.Request{}
	for i, state := range d.States {
		records[i].WasUpdated = records[i].WasUpdated || state == rollout.Updated
		records[i].HasFailed = records[i].HasFailed || state == rollout.Failed
		if state == rollout.Pending && d.Halted != r.halted {
			wake[types.UID(targets[i].ID)] = records[i].request
		}
	}
	for _, i := range d.Begin {
		records[i].Granted = now
		wake[types.UID(targets[i].ID)] = records[i].request
	}
	if d.Halted != r.halted {
		r.halted = d.Halted
		r.log(logger, records, d)
	}
	return wake
}

// log says that the rollout was halted, or goes on.
func (r *rollouts) log(logger logr.Logger, records []*rolloutRecord, d rollout.Decision) {
	if !d.Halted {
		logger.Info("The rollout of the syncer goes on", "pending", d.Counts[rollout.Pending])
		return
	}
	var failed []string
	for i, state := range d.States {
		if state == rollout.Failed {
			failed = append(failed, records[i].request.ClusterName.String()+"/"+records[i].request.Name)
		}
	}
	slices.Sort(failed)
	logger.Info("The rollout of the syncer is halted: SyncTargets did not become Ready with the new settings. It goes on when they are Ready, are deleted or have a spec.syncer.image of their own; or start the controller with other settings",
		"failed", len(failed), "syncTargets", failed[:min(len(failed), maxNamed)], "pending", d.Counts[rollout.Pending])
}

// runRollouts queues the SyncTargets that need a pass.
func (r *Reconciler) runRollouts(logger logr.Logger, q queue) {
	for uid, req := range r.rollouts.next(logger, r.heartbeats.lastChange) {
		r.installCache.forget(uid)
		q.Add(req)
	}
}

// lastChange returns when the heartbeat of a target last changed; zero for never.
func (t *heartbeatTracker) lastChange(uid types.UID) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.targets[uid].changed
}
