package synctarget

import (
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// heartbeatTracker follows the heartbeats of all targets by the controller's own clock. A syncer whose clock is wrong is as
// alive as any other, and a heartbeat that was already there at first sight proves nothing: the syncer may have died
// long ago.
type heartbeatTracker struct {
	clock     clock.PassiveClock
	threshold time.Duration

	mu      sync.Mutex
	targets map[types.UID]heartbeatRecord
	// byEndpoint indexes targets; put and drop keep it.
	byEndpoint map[string]*silenceIndex
	// stalled are the watches that have delivered nothing since a live read showed that they have missed a heartbeat, or since
	// kcp did not answer one, by which of these it was.
	stalled map[endpointWatch]pauseCause
}

// endpointWatch is the watch of the objects of a source at an endpoint.
type endpointWatch struct {
	endpoint string
	source   heartbeatSource
}

func newHeartbeatTracker(c clock.PassiveClock, threshold time.Duration) *heartbeatTracker {
	return &heartbeatTracker{
		clock: c, threshold: threshold,
		targets: map[types.UID]heartbeatRecord{}, byEndpoint: map[string]*silenceIndex{}, stalled: map[endpointWatch]pauseCause{},
	}
}

// observe takes in a version of the target that the watch of the endpoint has delivered. It returns true if this ends a
// stall of the watch.
func (t *heartbeatTracker) observe(endpoint string, target *workloadv1alpha1.SyncTarget) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(endpoint, target)
	return t.delivered(endpoint, sourceStatus)
}

// delivered notes that a watch has delivered something. It returns true if this ends a stall of it.
func (t *heartbeatTracker) delivered(endpoint string, source heartbeatSource) bool {
	watch := endpointWatch{endpoint, source}
	_, recovered := t.stalled[watch]
	delete(t.stalled, watch)
	return recovered
}

// add takes in a version of the target. The first one is no heartbeat.
func (t *heartbeatTracker) add(endpoint string, target *workloadv1alpha1.SyncTarget) heartbeatRecord {
	record, known := t.targets[target.UID]
	record.endpoint, record.phase, record.clusterID = endpoint, target.Status.Phase, target.Status.ClusterID
	record.ready = meta.IsStatusConditionTrue(target.Status.Conditions, workloadv1alpha1.ConditionReady)
	shown := statusHeartbeat(target)
	switch isNew := record.isNew(sourceStatus, shown); {
	case !known:
		record.watchedSince, record.alive, record.foundSilent = t.clock.Now(), record.ready, silentByCondition(target)
		if isNew {
			record.last[sourceStatus] = shown
		}
	case isNew:
		record = record.received(sourceStatus, shown, t.clock.Now())
	}
	if !target.DeletionTimestamp.IsZero() || isScaledToZero(target) {
		record.alive = false // its syncer is removed, or stopped, on purpose
	}
	t.put(target.UID, record)
	return record
}

// observeLease takes in a version of the Lease of a target that the watch of the endpoint has delivered. The first one is no
// heartbeat. It returns whether a pass is needed, because a verdict may change or because status.lastHeartbeatTime is to be written
// from now on, and whether this ends a stall of the watch.
func (t *heartbeatTracker) observeLease(endpoint string, uid types.UID, shown heartbeat) (needsPass, recovered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	recovered = t.delivered(endpoint, sourceLease)
	record, known := t.targets[uid]
	if !known {
		return false, recovered
	}
	hadLease := record.hasLease
	record.hasLease = true
	switch other := isOther(shown.clusterID, record.clusterID); {
	case other && !shown.at.IsZero():
		needsPass = record.otherCluster != shown.clusterID
		record.otherCluster = shown.clusterID
	case !hadLease:
		record.last[sourceLease] = shown
	case record.isNew(sourceLease, shown):
		needsPass = !record.ready || record.otherCluster != "" || record.source != sourceLease
		record = record.received(sourceLease, shown, t.clock.Now())
	}
	t.put(uid, record)
	return needsPass, recovered
}

// get returns what is known of a target's heartbeats. Only the watches and verify bring them in: the target of a pass may be
// older than what they brought meanwhile.
func (t *heartbeatTracker) get(endpoint string, target *workloadv1alpha1.SyncTarget) heartbeatRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	if record, known := t.targets[target.UID]; known {
		return record
	}
	return t.add(endpoint, target)
}

// verify compares the record of a target that seems silent with live reads of it and of its Lease, nil where it has none. It
// returns why health cannot be judged for the endpoint, and whether that is new; empty if it can.
//
// The live reads decide for the target that was read, whatever the state of the watches. If they show another heartbeat, a
// watch has missed it, so that silence proves nothing, and the heartbeat counts as of now. If they show the same
// one, no heartbeat has reached kcp for the whole threshold: a lagging or hanging watch could not have delivered any. A Lease
// that is seen here for the first time proves neither, so silence counts anew.
func (t *heartbeatTracker) verify(live *workloadv1alpha1.SyncTarget, lease *coordinationv1.Lease) (cause pauseCause, began bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	record, known := t.targets[live.UID]
	now := t.clock.Now()
	if !known || !record.mustVerify(now, t.threshold) { // a heartbeat arrived meanwhile, or the target has left
		return "", false
	}
	shown := [sources]heartbeat{sourceStatus: statusHeartbeat(live)}
	if lease != nil {
		shown[sourceLease] = leaseHeartbeat(lease)
	}
	if !record.hasLease && !shown[sourceLease].at.IsZero() {
		record.hasLease, record.last[sourceLease] = true, shown[sourceLease]
		record.watchedSince, record.silence = now, silenceUnverified
		t.put(live.UID, record)
		return "", false
	}
	for source, shown := range shown {
		if source := heartbeatSource(source); record.isNew(source, shown) {
			t.put(live.UID, record.received(source, shown, now))
			watch := endpointWatch{record.endpoint, source}
			began = t.stalled[watch] != pauseWatchStalled
			t.stalled[watch] = pauseWatchStalled
			return pauseWatchStalled, began
		}
	}
	return t.verifySilent(live.UID, record, now)
}

// verifySilent notes that no heartbeat of a target has reached kcp. Its results are those of verify.
func (t *heartbeatTracker) verifySilent(uid types.UID, record heartbeatRecord, now time.Time) (cause pauseCause, began bool) {
	if watch := (endpointWatch{record.endpoint, sourceStatus}); t.stalled[watch] == pauseNoAnswer {
		delete(t.stalled, watch)
	}
	paused := record.alive && t.massSilence(record, now)
	if paused {
		began = !t.hasPaused(record.endpoint)
		cause = pauseMassSilence
	}
	record.silence = silenceVerified
	if paused {
		record.silence = silencePaused
	}
	record.alive, record.fellSilent = false, record.alive || record.fellSilent
	t.put(uid, record)
	return cause, began
}

// unanswered notes that kcp did not answer a live read. It returns true if that is new for the endpoint.
func (t *heartbeatTracker) unanswered(endpoint string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for source := range sources {
		if _, known := t.stalled[endpointWatch{endpoint, source}]; known {
			return false
		}
	}
	t.stalled[endpointWatch{endpoint, sourceStatus}] = pauseNoAnswer
	return true
}

// resetSilence notes that kcp did not answer just now: a heartbeat may have come that nobody could bring us, so silence
// counts anew.
func (t *heartbeatTracker) resetSilence(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if record, known := t.targets[uid]; known {
		record.watchedSince, record.silence = t.clock.Now(), silenceUnverified
		t.put(uid, record)
	}
}

// forget drops a target that is gone.
func (t *heartbeatTracker) forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(uid)
}

// heartbeatSummary is the state of all targets at one moment.
type heartbeatSummary struct {
	byPhase map[workloadv1alpha1.SyncTargetPhase]int
	// oldest is the age of the oldest heartbeat among the targets that are Ready.
	oldest time.Duration
	// paused are the causes that keep health from being judged, by endpoint. Every endpoint with a target has an entry.
	paused map[string]map[pauseCause]bool
	// evictionsPaused counts the targets that are not Ready, and that nothing leaves because of their silence.
	evictionsPaused int
}

func (t *heartbeatTracker) summary() heartbeatSummary {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	s := heartbeatSummary{byPhase: map[workloadv1alpha1.SyncTargetPhase]int{}, paused: map[string]map[pauseCause]bool{}}
	for _, record := range t.targets {
		s.byPhase[record.phase]++
		causes := s.paused[record.endpoint]
		if causes == nil {
			causes = t.stallsOf(record.endpoint)
			s.paused[record.endpoint] = causes
		}
		if record.silence == silencePaused {
			causes[pauseMassSilence] = true
		}
		if record.phase == workloadv1alpha1.PhaseNotReady && t.evictionPaused(record, now) {
			s.evictionsPaused++
		}
		if record.phase == workloadv1alpha1.PhaseReady {
			last := record.changed
			if last.IsZero() {
				last = record.watchedSince
			}
			s.oldest = max(s.oldest, now.Sub(last))
		}
	}
	return s
}

// stallsOf returns, for each cause, whether it keeps the heartbeats of an endpoint from being judged; a mass silence is left to
// the caller.
func (t *heartbeatTracker) stallsOf(endpoint string) map[pauseCause]bool {
	causes := map[pauseCause]bool{pauseWatchStalled: false, pauseNoAnswer: false, pauseMassSilence: false}
	for source := range sources {
		if cause, stalled := t.stalled[endpointWatch{endpoint, source}]; stalled {
			causes[cause] = true
		}
	}
	return causes
}
