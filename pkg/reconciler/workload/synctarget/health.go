package synctarget

import (
	"cmp"
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/claims"
)

// health judges the heartbeats. It asks nobody: whether the controller can reach the physical cluster just now
// says nothing about the syncer.
func (r *Reconciler) health(s *scope) verdict {
	if isScaledToZero(s.target) {
		return decideScaledToZero(s.target, r.heartbeat(s), r.Clock.Now(), min(r.HeartbeatThreshold, max(stoppedSilence, 9*r.HeartbeatInterval/4)))
	}
	record, now := r.heartbeat(s), r.Clock.Now()
	v := decideHealth(s.target, record, now, r.HeartbeatThreshold, workloadv1alpha1.SyncerNamespace(s.target.Name, s.key))
	if v.ok() && record.source == sourceLease {
		v = v.after(min(v.requeueAfter, nextReport(s.target.UID, now, r.HeartbeatStatusInterval).Sub(now)))
	}
	return v
}

// unlessHidden returns the verdict v of health, unless the workspace hides the Lease that the syncer renews from the service: then
// silence proves nothing. Without the permission claims, the service cannot make the syncer report in another way either.
func (r *Reconciler) unlessHidden(ctx context.Context, s *scope, f facts, v verdict) (verdict, error) {
	if v.reason != workloadv1alpha1.ReasonUnhealthy || f.claimsAccepted || r.heartbeat(s).source != sourceLease {
		return v, nil
	}
	claimed, err := r.leasesClaimed(ctx, s)
	if err != nil || claimed {
		return v, err
	}
	return unknown(workloadv1alpha1.ReasonHealthCheckFailed,
		"The service may not see the heartbeats of the syncer; accept the permission claims of the APIBinding that Valid names, and the one on %s", claims.LeaseResource), nil
}

// reportedClusterID is the physical cluster to pin. Only the syncer can tell in pull mode which cluster it is in: by its Lease, which
// may be seen before the status, or by the status.
func reportedClusterID(s *scope, record heartbeatRecord, pinned string) string {
	syncer, lease := s.target.Status.Syncer, record.last[sourceLease]
	switch {
	case !s.pullMode() || pinned != "":
		return pinned
	case record.source == sourceLease && lease.clusterID != "":
		return lease.clusterID
	case syncer != nil:
		return syncer.ClusterID
	}
	return ""
}

// decideHealth returns the verdict on a target whose heartbeats are known by the record. namespace is the syncer's, in the
// physical cluster.
func decideHealth(target *workloadv1alpha1.SyncTarget, record heartbeatRecord, now time.Time, threshold time.Duration, namespace string) verdict {
	var (
		ready     = passed(workloadv1alpha1.ReasonReady, "Syncer is healthy and ready")
		unhealthy = blocked(workloadv1alpha1.ReasonUnhealthy,
			"Syncer is not healthy: no heartbeat for more than %s; see the Deployment \"syncer\" in the Namespace %q of the physical cluster", threshold, namespace)
		paused = unknown(workloadv1alpha1.ReasonHealthEvaluationPaused,
			"The heartbeats of many SyncTargets stopped within a minute, so kcp or the network may be at fault, not the syncer; this SyncTarget is Ready when its heartbeats return, and not healthy after %s without one",
			pauseFactor*threshold)
		awaiting = blocked(workloadv1alpha1.ReasonAwaitingHeartbeat, "Waiting for the next heartbeat of the syncer")

		status = &target.Status
		fresh  = threshold - now.Sub(record.changed)
		silent = now.Sub(record.silentSince())
		other  = reportedOtherCluster(status, record)
	)
	before := meta.FindStatusCondition(status.Conditions, workloadv1alpha1.ConditionReady)
	wasStopped := before != nil && (before.Reason == workloadv1alpha1.ReasonScaledToZero || before.Reason == awaiting.reason)
	switch {
	case fresh > 0 && wasStopped && silent >= stoppedSilence:
		return awaiting.after(fresh) // the last heartbeat may be that of a syncer which was scaled to zero since
	case fresh > 0:
		return ready.after(fresh)
	case other != "":
		return blocked(workloadv1alpha1.ReasonAwaitingHeartbeat,
			"Heartbeats come from a syncer in cluster %q, but this SyncTarget stands for cluster %q; remove the syncer from the former",
			other, status.ClusterID)
	case !hasHeartbeat(status, record):
		return blocked(workloadv1alpha1.ReasonAwaitingHeartbeat, "Waiting for the first heartbeat of the syncer")
	case record.silence == silencePaused:
		return paused.after(untilVerified(pauseFactor*threshold - silent))
	case record.silence == silenceVerified:
		return unhealthy
	}
	// Nothing is known of this process's own yet, as after its start or while kcp did not answer. The earlier condition stands
	// until a heartbeat arrives, or a full threshold has passed without one.
	v := awaiting
	if before != nil {
		switch before.Reason {
		case workloadv1alpha1.ReasonReady:
			v = ready
		case workloadv1alpha1.ReasonUnhealthy:
			v = unhealthy
		case workloadv1alpha1.ReasonHealthEvaluationPaused:
			v = paused
		}
	}
	return v.after(untilVerified(threshold - silent))
}

// stoppedSilence is how long a syncer is silent, at least, that has been scaled to zero, before that is told. A heartbeat is
// due in it at the default interval, so one that still arrives shows that a syncer runs all the same.
const stoppedSilence = 45 * time.Second

// decideScaledToZero returns the verdict on a target whose user wants no syncer to run. A silence of enough shows that none does.
func decideScaledToZero(target *workloadv1alpha1.SyncTarget, record heartbeatRecord, now time.Time, enough time.Duration) verdict {
	stopped := blocked(workloadv1alpha1.ReasonScaledToZero, "spec.syncer.replicas is 0, so no syncer runs; set it to 1 or more")
	left := enough - now.Sub(record.silentSince())
	sendsHeartbeats := now.Sub(record.changed) < enough
	wasReady := meta.IsStatusConditionTrue(target.Status.Conditions, workloadv1alpha1.ConditionReady)
	if left > 0 && hasHeartbeat(&target.Status, record) && (sendsHeartbeats || wasReady) {
		return passed(workloadv1alpha1.ReasonReady, "Syncer is healthy and ready").after(left)
	}
	return stopped
}

// hasHeartbeat tells whether there ever was a heartbeat. One that the Lease has shown may not stand in the status yet.
func hasHeartbeat(status *workloadv1alpha1.SyncTargetStatus, record heartbeatRecord) bool {
	return status.LastHeartbeatTime != nil || !record.changed.IsZero()
}

// reportedOtherCluster returns the cluster that heartbeats come from, if that is not the target's.
func reportedOtherCluster(status *workloadv1alpha1.SyncTargetStatus, record heartbeatRecord) string {
	switch {
	case fromOtherCluster(status):
		return status.Syncer.ClusterID
	case isOther(record.otherCluster, status.ClusterID):
		return record.otherCluster
	}
	return ""
}

// isScaledToZero tells whether the user wants no syncer to run.
func isScaledToZero(target *workloadv1alpha1.SyncTarget) bool {
	return target.Spec.Syncer != nil && ptr.Deref(target.Spec.Syncer.Replicas, 1) == 0
}

// untilVerified is when to look again at a silence that is verified after left. If it should be by now, kcp did not show the
// target, and its event brings us back; the recheck is for an event that was missed.
func untilVerified(left time.Duration) time.Duration {
	if left <= 0 {
		return retryMax
	}
	return left
}

// heartbeat is what is known of the target's heartbeats.
func (r *Reconciler) heartbeat(s *scope) heartbeatRecord {
	return r.heartbeats.get(r.endpointOf(s.clusterName), s.target)
}

// endpointOf names the endpoint that serves a logical cluster.
func (r *Reconciler) endpointOf(clusterName multicluster.ClusterName) string {
	if r.EndpointOf == nil {
		return defaultEndpoint
	}
	return cmp.Or(r.EndpointOf(clusterName), defaultEndpoint)
}

// verifyTimeout bounds the live read of verifySilence.
const verifyTimeout = 10 * time.Second

// verifySilence reads a target and its Lease live whose syncer seems silent, before anything is concluded from that. responded
// tells whether kcp returned the target.
func (r *Reconciler) verifySilence(ctx context.Context, s *scope) (responded bool, err error) {
	if !r.heartbeat(s).mustVerify(r.Clock.Now(), r.HeartbeatThreshold) {
		return false, nil
	}
	logger, endpoint := log.FromContext(ctx), r.endpointOf(s.clusterName)
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	live, err := s.live(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil // the watch is about to say so
	case err != nil:
		if isTransient(err) && r.heartbeats.unanswered(endpoint) {
			logger.Info("kcp did not answer a live read of a SyncTarget whose syncer seems silent; its condition Ready stays as it is", "endpoint", endpoint)
		}
		return false, err
	}
	lease, err := r.liveLease(ctx, s)
	if err != nil {
		return true, err
	}
	switch cause, began := r.heartbeats.verify(live, lease); {
	case !began:
	case cause == pauseWatchStalled:
		logger.Info("The watch of SyncTargets or of Leases has not delivered a heartbeat that kcp holds; until it delivers again, SyncTargets of this endpoint and their Leases are read live before they become not Ready",
			"endpoint", endpoint)
	case cause == pauseMassSilence:
		logger.Info("The heartbeats of many SyncTargets of this endpoint stopped within a minute; their condition Ready is Unknown until heartbeats return, and False once they have been silent for twice the threshold",
			"endpoint", endpoint, "threshold", r.HeartbeatThreshold.String())
	}
	return true, nil
}

// liveLease reads the Lease of a target; nil if it has none, or if the service may not read it.
func (r *Reconciler) liveLease(ctx context.Context, s *scope) (*coordinationv1.Lease, error) {
	var lease coordinationv1.Lease
	name := client.ObjectKey{Namespace: workloadv1alpha1.SyncerNamespace(s.target.Name, s.key), Name: workloadv1alpha1.HeartbeatLeaseName}
	err := s.upstream.Get(ctx, name, &lease)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading Lease %q: %w", name, err)
	}
	if _, uid, ok := leaseOwner(s.clusterName, &lease); !ok || uid != s.target.UID {
		return nil, nil
	}
	return &lease, nil
}

// observeHeartbeat takes in a version of the target that the watch has delivered.
func (r *Reconciler) observeHeartbeat(ctx context.Context, endpoint string, target *workloadv1alpha1.SyncTarget) {
	if r.heartbeats.observe(endpoint, target) {
		log.FromContext(ctx).Info("The watch of SyncTargets delivers again", "endpoint", endpoint)
	}
}

// isSilent tells whether the syncer has had a full threshold to be heard, and was not, for which no mass disconnect may be
// the reason.
func (r *Reconciler) isSilent(s *scope) bool {
	return r.heartbeat(s).silence == silenceVerified
}

// isKnownSilent tells also what was found before, by a controller that was restarted since, until a heartbeat arrives.
func (r *Reconciler) isKnownSilent(s *scope) bool {
	ready := meta.FindStatusCondition(s.target.Status.Conditions, workloadv1alpha1.ConditionReady)
	before := ready != nil && ready.Reason == workloadv1alpha1.ReasonUnhealthy
	return r.isSilent(s) || before && r.Clock.Since(r.heartbeat(s).changed) >= r.HeartbeatThreshold
}

// HealthDetails says for each endpoint that serves SyncTargets why health cannot be judged, if so, one line each.
func (r *Reconciler) HealthDetails() []string { return healthDetails(r.heartbeats.summary().paused) }

// healthFailed is the verdict when health could not be judged.
func healthFailed(err error) verdict {
	return unknown(workloadv1alpha1.ReasonHealthCheckFailed, "%s", fmt.Sprint(err))
}
