package synctarget

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"

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

// heartbeatRecord is what this controller knows of one target's heartbeats. All times are by the controller's clock, except
// the heartbeat itself.
type heartbeatRecord struct {
	// endpoint serves the target's logical cluster.
	endpoint string
	// heartbeat is the last one, by the syncer's clock: compared with the next one, never with our time.
	heartbeat metav1.Time
	// version is the resourceVersion of the target that has shown it.
	version string
	// watchedSince is since when a heartbeat would have been seen: since this controller first saw the target, or since
	// kcp last failed to answer.
	watchedSince time.Time
	// changed is when this controller last saw the heartbeat change; zero before the first change.
	changed time.Time
	// alive: heartbeats were arriving, so that the target can fall silent. Cleared when its silence is verified.
	alive bool
	// silence is what a live read has shown of the present silence.
	silence silence
	// fellSilent: heartbeats were arriving before the present silence, so that it counts in a mass disconnect.
	fellSilent bool
	// phase as last seen, for the metrics.
	phase workloadv1alpha1.SyncTargetPhase
}

// silentSince is what silence counts from: the last change seen, or when we began to watch, whichever is later.
func (h heartbeatRecord) silentSince() time.Time {
	if h.changed.After(h.watchedSince) {
		return h.changed
	}
	return h.watchedSince
}

// isNew tells whether the target shows a heartbeat that the record does not hold. A heartbeat of a syncer in another
// cluster than the pinned one is none. Nor is one of a version from before the one that was read live, which a lagging watch
// delivers late.
func (h heartbeatRecord) isNew(target *workloadv1alpha1.SyncTarget) bool {
	heartbeat := target.Status.LastHeartbeatTime
	if heartbeat == nil || fromOtherCluster(&target.Status) || heartbeat.Equal(&h.heartbeat) {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(target.ResourceVersion, h.version)
	return err != nil || order >= 0
}

// received takes in a new heartbeat.
func (h heartbeatRecord) received(target *workloadv1alpha1.SyncTarget, now time.Time) heartbeatRecord {
	h.heartbeat, h.version, h.changed = *target.Status.LastHeartbeatTime, target.ResourceVersion, now
	h.alive, h.silence, h.fellSilent = true, silenceUnverified, false
	return h
}

// mustVerify tells whether the next verdict on the silence needs a live read.
func (h heartbeatRecord) mustVerify(now time.Time, threshold time.Duration) bool {
	silent := now.Sub(h.silentSince())
	return h.silence == silenceUnverified && silent >= threshold || h.silence == silencePaused && silent >= pauseFactor*threshold
}

// heartbeatTracker follows the heartbeats of all targets by the controller's own clock. A syncer whose clock is wrong is as
// alive as any other, and a heartbeat that was already there at first sight proves nothing: the syncer may have died
// long ago.
type heartbeatTracker struct {
	clock     clock.PassiveClock
	threshold time.Duration

	mu      sync.Mutex
	targets map[types.UID]heartbeatRecord
	// stalled are the endpoints whose watch has delivered nothing since a live read showed that it has missed a heartbeat, or
	// since kcp did not answer one, by which of these it was.
	stalled map[string]pauseCause
}

func newHeartbeatTracker(c clock.PassiveClock, threshold time.Duration) *heartbeatTracker {
	return &heartbeatTracker{clock: c, threshold: threshold, targets: map[types.UID]heartbeatRecord{}, stalled: map[string]pauseCause{}}
}

// observe takes in a version of the target that the watch of the endpoint has delivered. It returns true if this ends a
// stall of the watch.
func (t *heartbeatTracker) observe(endpoint string, target *workloadv1alpha1.SyncTarget) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(endpoint, target)
	_, recovered := t.stalled[endpoint]
	delete(t.stalled, endpoint)
	return recovered
}

// add takes in a version of the target. The first one is no heartbeat.
func (t *heartbeatTracker) add(endpoint string, target *workloadv1alpha1.SyncTarget) heartbeatRecord {
	record, known := t.targets[target.UID]
	switch {
	case !known:
		record.watchedSince = t.clock.Now()
		record.alive = meta.IsStatusConditionTrue(target.Status.Conditions, workloadv1alpha1.ConditionReady)
		if record.isNew(target) {
			record.heartbeat, record.version = *target.Status.LastHeartbeatTime, target.ResourceVersion
		}
	case record.isNew(target):
		record = record.received(target, t.clock.Now())
	}
	record.endpoint, record.phase = endpoint, target.Status.Phase
	if !target.DeletionTimestamp.IsZero() || isScaledToZero(target) {
		record.alive = false // its syncer is removed, or stopped, on purpose
	}
	t.targets[target.UID] = record
	return record
}

// get returns what is known of a target's heartbeats. Only the watch and verify bring them in: the target of a pass may be
// older than what they brought meanwhile.
func (t *heartbeatTracker) get(endpoint string, target *workloadv1alpha1.SyncTarget) heartbeatRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	if record, known := t.targets[target.UID]; known {
		return record
	}
	return t.add(endpoint, target)
}

// verify compares the record of a target that seems silent with a live read of it. It returns why health cannot be judged
// for the endpoint, and whether that is new; empty if it can.
//
// The live read decides for the target that was read, whatever the state of the watch. If it shows another heartbeat, the
// watch has missed it, so that silence proves nothing, and the heartbeat counts as of now. If it shows the same
// one, no heartbeat has reached kcp for the whole threshold: a lagging or hanging watch could not have delivered any.
func (t *heartbeatTracker) verify(live *workloadv1alpha1.SyncTarget) (cause pauseCause, began bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	record, known := t.targets[live.UID]
	now := t.clock.Now()
	switch {
	case !known || !record.mustVerify(now, t.threshold): // a heartbeat arrived meanwhile, or the target has left
		return "", false
	case record.isNew(live):
		t.targets[live.UID] = record.received(live, now)
		began = t.stalled[record.endpoint] != pauseWatchStalled
		t.stalled[record.endpoint] = pauseWatchStalled
		return pauseWatchStalled, began
	}
	if t.stalled[record.endpoint] == pauseNoAnswer {
		delete(t.stalled, record.endpoint)
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
	t.targets[live.UID] = record
	return cause, began
}

// unanswered notes that kcp did not answer a live read. It returns true if that is new for the endpoint.
func (t *heartbeatTracker) unanswered(endpoint string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.stalled[endpoint]; known {
		return false
	}
	t.stalled[endpoint] = pauseNoAnswer
	return true
}

// massSilence tells whether a target falls silent together with many others of its endpoint.
func (t *heartbeatTracker) massSilence(record heartbeatRecord, now time.Time) bool {
	at := record.silentSince().Add(t.threshold)
	var others []time.Time
	alive := 0
	for _, other := range t.targets {
		if other.endpoint != record.endpoint {
			continue
		}
		fell := other.silentSince().Add(t.threshold)
		recently := other.fellSilent && !fell.Before(at.Add(-massWindow))
		if other.alive || recently {
			alive++
		}
		if recently || other.alive && !fell.After(now.Add(overdue(t.threshold))) {
			others = append(others, fell)
		}
	}
	return fallTogether(at, others) > massLimit(alive)
}

// hasPaused tells whether a target of the endpoint waits for a mass silence to end.
func (t *heartbeatTracker) hasPaused(endpoint string) bool {
	for _, record := range t.targets {
		if record.endpoint == endpoint && record.silence == silencePaused {
			return true
		}
	}
	return false
}

// resetSilence notes that kcp did not answer just now: a heartbeat may have come that nobody could bring us, so silence
// counts anew.
func (t *heartbeatTracker) resetSilence(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if record, known := t.targets[uid]; known {
		record.watchedSince, record.silence = t.clock.Now(), silenceUnverified
		t.targets[uid] = record
	}
}

// forget drops a target that is gone.
func (t *heartbeatTracker) forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.targets, uid)
}

// heartbeatSummary is the state of all targets at one moment.
type heartbeatSummary struct {
	byPhase map[workloadv1alpha1.SyncTargetPhase]int
	// oldest is the age of the oldest heartbeat among the targets that are Ready.
	oldest time.Duration
	// paused are the causes that keep health from being judged, by endpoint. Every endpoint with a target has an entry.
	paused map[string]map[pauseCause]bool
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
			causes = map[pauseCause]bool{pauseWatchStalled: false, pauseNoAnswer: false, pauseMassSilence: false}
			if cause, stalled := t.stalled[record.endpoint]; stalled {
				causes[cause] = true
			}
			s.paused[record.endpoint] = causes
		}
		if record.silence == silencePaused {
			causes[pauseMassSilence] = true
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

// fromOtherCluster tells whether the reporting syncer runs in another cluster than the pinned one.
func fromOtherCluster(status *workloadv1alpha1.SyncTargetStatus) bool {
	return status.ClusterID != "" && status.Syncer != nil && status.Syncer.ClusterID != "" && status.Syncer.ClusterID != status.ClusterID
}
