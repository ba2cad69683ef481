package heartbeat

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// missedHeartbeats is how many intervals may pass before a silence counts.
const missedHeartbeats = 3

// readiness is when the Sender last succeeded at what, for the readiness probes, which run meanwhile.
type readiness struct {
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

func (r *readiness) contacted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.contact = r.clock.Now()
}

func (r *readiness) elected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leading = true
}

func (r *readiness) reported() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report, r.refused = r.clock.Now(), false
}

func (r *readiness) unreported(refused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = refused
}

// OwnClusterAnswers is a readiness check: the physical cluster's API has answered within three intervals.
func (s *Sender) OwnClusterAnswers(*http.Request) error {
	r := s.readiness
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clock.Since(r.contact) > r.tolerance {
		return errors.New("the physical cluster's API does not answer; the log says why")
	}
	return nil
}

// HeartbeatsAreAccepted is a readiness check: kcp has accepted a heartbeat of this leader, and has not refused them
// for three intervals since. A standby, which sends none, passes. So does a leader that kcp does not answer: a
// restarted pod would reach it no better, and all syncers would be unready at once.
func (s *Sender) HeartbeatsAreAccepted(*http.Request) error {
	r := s.readiness
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.leading || r.clock.Since(r.report) <= r.tolerance || !r.report.IsZero() && !r.refused {
		return nil
	}
	return errors.New("kcp accepts no heartbeats; the log says why")
}
