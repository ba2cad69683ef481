package synctarget

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// health judges the heartbeats. It asks nobody: whether the controller can reach the physical cluster just now
// says nothing about the syncer.
func (r *Reconciler) health(_ context.Context, s *scope) (verdict, error) {
	status := &s.target.Status
	seen := r.pulses.get(s.target)
	namespace := workloadv1alpha1.SyncerNamespace(s.target.Name, s.key)

	if s.pullMode() && s.clusterID == "" && status.Syncer != nil {
		// Nobody but the syncer can tell in pull mode which cluster it is.
		s.clusterID = status.Syncer.ClusterID
	}
	ready := passed(workloadv1alpha1.ReasonReady, "Syncer is healthy and ready")
	left := r.HeartbeatThreshold - r.Clock.Since(seen.changed)
	switch {
	case left > 0:
		return ready.after(left), nil
	case beatsElsewhere(status):
		return blocked(workloadv1alpha1.ReasonAwaitingHeartbeat,
			"Heartbeats come from a syncer in cluster %q, but this SyncTarget stands for cluster %q; remove the syncer from the former",
			status.Syncer.ClusterID, status.ClusterID), nil
	case status.LastHeartbeatTime == nil:
		return blocked(workloadv1alpha1.ReasonAwaitingHeartbeat, "Waiting for the first heartbeat of the syncer"), nil
	}

	unhealthy := blocked(workloadv1alpha1.ReasonUnhealthy,
		"Syncer is not healthy: no heartbeat for more than %s; see the Deployment \"syncer\" in the Namespace %q of the physical cluster",
		r.HeartbeatThreshold, namespace)

	// First sight is no evidence, nor is silence while kcp did not answer: what was found before stands until a
	// heartbeat arrives, or a full threshold has passed without one. This is the only place where an earlier condition
	// counts.
	if left = r.HeartbeatThreshold - r.Clock.Since(seen.since()); left <= 0 {
		return unhealthy, nil
	}
	if before := meta.FindStatusCondition(status.Conditions, workloadv1alpha1.ConditionReady); before != nil {
		switch before.Reason {
		case workloadv1alpha1.ReasonReady:
			return ready.after(left), nil
		case workloadv1alpha1.ReasonUnhealthy:
			return unhealthy.after(left), nil
		}
	}
	return blocked(workloadv1alpha1.ReasonAwaitingHeartbeat, "Waiting for the next heartbeat of the syncer").after(left), nil
}

// isSilent tells whether the syncer has had a full threshold to be heard, and was not.
func (r *Reconciler) isSilent(s *scope) bool {
	return r.Clock.Since(r.pulses.get(s.target).since()) >= r.HeartbeatThreshold
}

// isKnownSilent tells also what was found before, by a controller that was restarted since, until a heartbeat arrives.
func (r *Reconciler) isKnownSilent(s *scope) bool {
	ready := meta.FindStatusCondition(s.target.Status.Conditions, workloadv1alpha1.ConditionReady)
	before := ready != nil && ready.Reason == workloadv1alpha1.ReasonUnhealthy
	return r.isSilent(s) || before && r.Clock.Since(r.pulses.get(s.target).changed) >= r.HeartbeatThreshold
}

// healthFailed is the verdict when health could not be judged.
func healthFailed(err error) verdict {
	return unknown(workloadv1alpha1.ReasonHealthCheckFailed, "%s", fmt.Sprint(err))
}
