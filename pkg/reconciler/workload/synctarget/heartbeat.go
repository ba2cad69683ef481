package synctarget

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// pulse is what this controller saw of one target's heartbeats.
type pulse struct {
	// value is the last heartbeat, by the agent's clock: compared with the next one, never with our time.
	value metav1.Time
	// listening is since when a heartbeat would have been seen: since this controller first saw the target, or since kcp
	// last failed to answer, by our clock.
	listening time.Time
	// changed is when this controller last saw the heartbeat change; zero before the first change.
	changed time.Time
	// phase as last seen, for the metrics.
	phase workloadv1alpha1.SyncTargetPhase
}

// since is what silence counts from: the last change seen, or when we began to listen, whichever is later.
func (p pulse) since() time.Time {
	if p.changed.After(p.listening) {
		return p.changed
	}
	return p.listening
}

// pulses watches the heartbeats of all targets by the controller's own clock. An agent whose clock is wrong is as
// alive as any other, and a value that was already there at first sight proves nothing: the agent may have died
// long ago.
type pulses struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	byUID map[types.UID]pulse
}

func newPulses(c clock.PassiveClock) *pulses {
	return &pulses{clock: c, byUID: map[types.UID]pulse{}}
}

// observe takes in a version of the target and returns what is known of its heartbeats. A heartbeat of a syncer in
// another cluster than the pinned one is not taken in.
func (p *pulses) observe(target *workloadv1alpha1.SyncTarget) pulse {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	seen, known := p.byUID[target.UID]
	if !known {
		seen.listening = now
	}
	if beat := target.Status.LastHeartbeatTime; beat != nil && !beatsElsewhere(&target.Status) && !beat.Equal(&seen.value) {
		seen.value = *beat
		if known {
			seen.changed = now
		}
	}
	seen.phase = target.Status.Phase
	p.byUID[target.UID] = seen
	return seen
}

// get returns what is known of a target's heartbeats. The events alone bring them in: the target of a pass may be
// older than what they brought meanwhile.
func (p *pulses) get(target *workloadv1alpha1.SyncTarget) pulse {
	p.mu.Lock()
	seen, known := p.byUID[target.UID]
	p.mu.Unlock()
	if !known {
		return p.observe(target)
	}
	return seen
}

// deafen notes that kcp did not answer just now: a heartbeat may have come that nobody could bring us, so silence
// counts anew.
func (p *pulses) deafen(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if seen, known := p.byUID[uid]; known {
		seen.listening = p.clock.Now()
		p.byUID[uid] = seen
	}
}

// forget drops a target that is gone.
func (p *pulses) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byUID, uid)
}

// snapshot returns the number of targets by phase and the age of the oldest heartbeat among those that are Ready.
func (p *pulses) snapshot() (byPhase map[workloadv1alpha1.SyncTargetPhase]int, oldest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	byPhase = map[workloadv1alpha1.SyncTargetPhase]int{}
	for _, seen := range p.byUID {
		byPhase[seen.phase]++
		if seen.phase != workloadv1alpha1.PhaseReady {
			continue
		}
		last := seen.changed
		if last.IsZero() {
			last = seen.listening
		}
		oldest = max(oldest, now.Sub(last))
	}
	return byPhase, oldest
}

// beatsElsewhere tells whether the reporting syncer runs in another cluster than the pinned one.
func beatsElsewhere(status *workloadv1alpha1.SyncTargetStatus) bool {
	return status.ClusterID != "" && status.Syncer != nil && status.Syncer.ClusterID != "" && status.Syncer.ClusterID != status.ClusterID
}
