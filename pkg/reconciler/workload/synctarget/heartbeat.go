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
	// firstSeen is when this controller first saw the target, by our clock.
	firstSeen time.Time
	// changed is when this controller last saw the heartbeat change; zero before the first change.
	changed time.Time
	// phase as last seen, for the metrics.
	phase workloadv1alpha1.SyncTargetPhase
}

// since is what silence counts from: the last change seen, or the first sight.
func (p pulse) since() time.Time {
	if p.changed.IsZero() {
		return p.firstSeen
	}
	return p.changed
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
		seen.firstSeen = now
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
		oldest = max(oldest, now.Sub(seen.since()))
	}
	return byPhase, oldest
}

// beatsElsewhere tells whether the reporting syncer runs in another cluster than the pinned one.
func beatsElsewhere(status *workloadv1alpha1.SyncTargetStatus) bool {
	return status.ClusterID != "" && status.Syncer != nil && status.Syncer.ClusterID != "" && status.Syncer.ClusterID != status.ClusterID
}
