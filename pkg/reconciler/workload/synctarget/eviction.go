package synctarget

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// EvictionPaused tells whether the silence of a SyncTarget is no reason to move anything away from it. That is so
//   - in a mass silence: more than max(3, 20 %) of the SyncTargets of its endpoint fell silent within a minute, and still are. It
//     lasts longer than HealthEvaluationPaused of the condition Ready, which ends after twice the threshold;
//   - until one threshold after this process has first seen the SyncTarget, as after its start or when it became the leader, or
//     after kcp last did not answer;
//   - while the watch of the endpoint has missed a heartbeat, or kcp does not answer the live reads that verify silence;
//   - for a SyncTarget that is not known.
func (r *Reconciler) EvictionPaused(_ multicluster.ClusterName, target types.UID) bool {
	return r.heartbeats.isEvictionPaused(target)
}

func (t *heartbeatTracker) isEvictionPaused(uid types.UID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	record, known := t.targets[uid]
	return !known || t.evictionPaused(record, t.clock.Now())
}

func (t *heartbeatTracker) evictionPaused(record heartbeatRecord, now time.Time) bool {
	if now.Sub(record.watchedSince) < t.threshold {
		return true
	}
	for source := range sources {
		if _, stalled := t.stalled[endpointWatch{record.endpoint, source}]; stalled {
			return true
		}
	}
	return !record.alive && t.inMassSilence(record)
}

// inMassSilence tells whether a target is silent that fell silent together with many others of its endpoint, which still are.
func (t *heartbeatTracker) inMassSilence(record heartbeatRecord) bool {
	index := t.byEndpoint[record.endpoint]
	if index.timesOf(record) == nil {
		return false // it never sent a heartbeat
	}
	at := record.silentAt(t.threshold)
	from, to := at.Add(-massWindow), at.Add(massWindow)
	silent := len(index.fellSilent.from(from).until(to)) + len(index.foundSilent.from(from).until(to))
	return fallSilentTogether(at, index.fellSilent, index.foundSilent, massLimit(len(index.alive)+silent))
}

// silentAt is when a target is silent for a full threshold, or became so before it was first seen.
func (h heartbeatRecord) silentAt(threshold time.Duration) time.Time {
	if !h.alive && !h.fellSilent && !h.foundSilent.IsZero() {
		return h.foundSilent
	}
	return h.silentSince().Add(threshold)
}

// silentByCondition is since when a target is silent by its condition Ready; zero if it is not.
func silentByCondition(target *workloadv1alpha1.SyncTarget) time.Time {
	ready := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionReady)
	if ready == nil || ready.Reason != workloadv1alpha1.ReasonUnhealthy && ready.Reason != workloadv1alpha1.ReasonHealthEvaluationPaused {
		return time.Time{}
	}
	return ready.LastTransitionTime.Time
}
