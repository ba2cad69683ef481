package heartbeat

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// missedBeats is how many intervals may pass before a silence counts.
const missedBeats = 3

// vitals are when the Heart last succeeded at what. The readiness probes read them while it beats.
type vitals struct {
	clock     clock.PassiveClock
	tolerance time.Duration

	mu sync.Mutex
	// contact is when the own cluster last answered.
	contact time.Time
	// leading is whether this replica has to report.
	leading bool
	// report is when kcp last accepted a heartbeat; zero before the first.
	report time.Time
	// refused is whether kcp answered the last one, and did not accept it.
	refused bool
}

func (v *vitals) contacted() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.contact = v.clock.Now()
}

func (v *vitals) elected() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leading = true
}

func (v *vitals) reported() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report, v.refused = v.clock.Now(), false
}

func (v *vitals) unreported(refused bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refused = refused
}

// OwnClusterAnswers is a readiness check: the physical cluster's API has answered within three intervals.
func (h *Heart) OwnClusterAnswers(*http.Request) error {
	v := h.vitals
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.clock.Since(v.contact) > v.tolerance {
		return errors.New("the physical cluster's API does not answer; the log says why")
	}
	return nil
}

// HeartbeatsAreAccepted is a readiness check: kcp has accepted a heartbeat of this leader, and has not refused them
// for three intervals since. A standby, which sends none, passes. So does a leader that kcp does not answer: a
// restarted pod would reach it no better, and all syncers would be unready at once.
func (h *Heart) HeartbeatsAreAccepted(*http.Request) error {
	v := h.vitals
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.leading || v.clock.Since(v.report) <= v.tolerance || !v.report.IsZero() && !v.refused {
		return nil
	}
	return errors.New("kcp accepts no heartbeats; the log says why")
}
