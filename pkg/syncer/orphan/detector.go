package orphan

import "time"

const (
	// DefaultThreshold is how long kcp has to give negative answers: longer than kcp takes to start, and than kubelet takes
	// to update a mounted Secret.
	DefaultThreshold = 2 * time.Minute
	// recreatedAnswers is how many answers in a row have to show another UID.
	recreatedAnswers = 2
)

// Detector decides whether a syncer is orphaned, from the answers of kcp in the order in which they arrive.
//
// A negative answer is one of NotFound, Recreated and Unauthorized. A syncer is orphaned if two answers in a row show
// another UID, or if the negative answers span the threshold with no other answer in between. Unknown counts for nothing.
// Of the time between two negative answers at most a half of the threshold is counted: so it takes three of them, and an
// outage of kcp between two of them is not taken for a refusal.
type Detector struct {
	// Threshold is required.
	Threshold time.Duration

	// last is when the last negative answer arrived; zero if the syncer is not known to be without a SyncTarget.
	last time.Time
	// refused is the time that is counted so far.
	refused time.Duration
	// recreated is how many of the last answers showed another UID.
	recreated int
}

// Observe takes the next answer into account and tells whether the syncer is orphaned.
func (d *Detector) Observe(answer Answer, now time.Time) bool {
	switch answer {
	case Unknown:
		return false
	case Exists:
		*d = Detector{Threshold: d.Threshold}
		return false
	case Recreated:
		d.recreated++
	default:
		d.recreated = 0
	}
	if !d.last.IsZero() {
		d.refused += min(now.Sub(d.last), d.Threshold/2)
	}
	d.last = now
	return d.recreated >= recreatedAnswers || d.refused >= d.Threshold
}
