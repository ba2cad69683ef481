package synctarget

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// silence says what is known of a syncer that was not heard for a full threshold.
type silence int

const (
	// silenceUnverified: only the watch says so, which may have missed a heartbeat; or the syncer is not silent.
	silenceUnverified silence = iota
	// silencePaused: kcp holds no newer heartbeat, but many targets of the endpoint fell silent together.
	silencePaused
	// silenceVerified: kcp holds no newer heartbeat, and this target's syncer alone is the reason.
	silenceVerified
)

// heartbeatSource is where a syncer sends its heartbeats.
type heartbeatSource int

const (
	// sourceStatus: the status of the SyncTarget. A syncer uses it that has no Lease, or knows of none.
	sourceStatus heartbeatSource = iota
	// sourceLease: the Lease in the syncer's Namespace of the workspace.
	sourceLease
	// sources is how many there are.
	sources
)

// String is the kind of the objects.
func (s heartbeatSource) String() string {
	if s == sourceLease {
		return "Leases"
	}
	return "SyncTargets"
}

// heartbeat is what a version of an object shows of the last heartbeat.
type heartbeat struct {
	// at is when it was sent, by the syncer's clock: compared with the next one, never with our time. Zero for none.
	at time.Time
	// version is the resourceVersion of the object.
	version string
	// clusterID is the cluster that the syncer runs in; empty if it is not known.
	clusterID string
}

// statusHeartbeat returns what the status of a SyncTarget shows.
func statusHeartbeat(target *workloadv1alpha1.SyncTarget) heartbeat {
	h := heartbeat{version: target.ResourceVersion}
	if target.Status.LastHeartbeatTime != nil {
		h.at = target.Status.LastHeartbeatTime.Time
	}
	if target.Status.Syncer != nil {
		h.clusterID = target.Status.Syncer.ClusterID
	}
	return h
}

// leaseHeartbeat returns what a Lease shows.
func leaseHeartbeat(lease *coordinationv1.Lease) heartbeat {
	h := heartbeat{version: lease.ResourceVersion, clusterID: lease.Annotations[workloadv1alpha1.AnnotationClusterID]}
	if lease.Spec.RenewTime != nil {
		h.at = lease.Spec.RenewTime.Time
	}
	return h
}

// heartbeatRecord is what this controller knows of one target's heartbeats. All times are by the controller's clock, except
// those of the heartbeats themselves.
type heartbeatRecord struct {
	// endpoint serves the target's logical cluster.
	endpoint string
	// clusterID is the cluster that the target stands for; empty before that is known.
	clusterID string
	// last are the last heartbeats, by source.
	last [sources]heartbeat
	// hasLease: a Lease of the target was seen.
	hasLease bool
	// source is that of the last change.
	source heartbeatSource
	// otherCluster is the cluster from which the Lease was renewed last, if that is not the target's.
	otherCluster string
	// watchedSince is since when a heartbeat would have been seen: since this controller first saw the target, or since
	// kcp last failed to answer.
	watchedSince time.Time
	// changed is when this controller last saw the heartbeat change; zero before the first change.
	changed time.Time
	// reported is the status.lastHeartbeatTime that this controller has written last, reportedAt when, and reportedBefore the one
	// before. None is a heartbeat.
	reported, reportedAt, reportedBefore time.Time
	// alive: heartbeats were arriving, so that the target can fall silent. Cleared when its silence is verified.
	alive bool
	// silence is what a live read has shown of the present silence.
	silence silence
	// fellSilent: heartbeats were arriving before the present silence, so that it counts in a mass disconnect.
	fellSilent bool
	// foundSilent is since when the target has not been Ready that was so at first sight, by its condition; zero for others, and
	// once a heartbeat has arrived.
	foundSilent time.Time
	// ready: the condition Ready is True, and phase is the phase, both as last seen.
	ready bool
	phase workloadv1alpha1.SyncTargetPhase
}

// silentSince is what silence counts from: the last change seen, or when we began to watch, whichever is later.
func (h heartbeatRecord) silentSince() time.Time {
	if h.changed.After(h.watchedSince) {
		return h.changed
	}
	return h.watchedSince
}

// isNew tells whether a heartbeat is another one than the record holds. A heartbeat of a syncer in another cluster than the
// target's is none, nor is what this controller has written. Nor is one of a version from before the one that was read live,
// which a lagging watch delivers late.
func (h heartbeatRecord) isNew(source heartbeatSource, shown heartbeat) bool {
	last := h.last[source]
	isOwn := source == sourceStatus && (shown.at.Equal(h.reported) || shown.at.Equal(h.reportedBefore))
	if shown.at.IsZero() || isOwn || isOther(shown.clusterID, h.clusterID) || shown.at.Equal(last.at) {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(shown.version, last.version)
	return err != nil || order >= 0
}

// received takes in a new heartbeat.
func (h heartbeatRecord) received(source heartbeatSource, shown heartbeat, now time.Time) heartbeatRecord {
	h.last[source] = shown
	h.source, h.changed, h.otherCluster = source, now, ""
	h.alive, h.silence, h.fellSilent, h.foundSilent = true, silenceUnverified, false, time.Time{}
	return h
}

// mustVerify tells whether the next verdict on the silence needs a live read.
func (h heartbeatRecord) mustVerify(now time.Time, threshold time.Duration) bool {
	silent := now.Sub(h.silentSince())
	return h.silence == silenceUnverified && silent >= threshold || h.silence == silencePaused && silent >= pauseFactor*threshold
}

// fromOtherCluster tells whether the reporting syncer runs in another cluster than the pinned one.
func fromOtherCluster(status *workloadv1alpha1.SyncTargetStatus) bool {
	return status.Syncer != nil && isOther(status.Syncer.ClusterID, status.ClusterID)
}

// isOther tells whether a cluster is known not to be the pinned one.
func isOther(clusterID, pinned string) bool {
	return clusterID != "" && pinned != "" && clusterID != pinned
}
