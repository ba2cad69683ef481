package synctarget

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// pauseCause is why the silence of the targets of an endpoint is not held against them.
type pauseCause string

const (
	// pauseWatchStalled: a live read has shown a heartbeat that the watch of the endpoint has not delivered.
	pauseWatchStalled pauseCause = "WatchStalled"
	// pauseNoAnswer: kcp did not answer a live read, so that silence cannot be verified.
	pauseNoAnswer pauseCause = "NoAnswer"
	// pauseMassSilence: many targets of the endpoint have fallen silent together.
	pauseMassSilence pauseCause = "MassSilence"
)

// healthDetails says for each endpoint, in order, whether the health of its targets can be judged, and if not, why.
func healthDetails(paused map[string]map[pauseCause]bool) []string {
	var details []string
	for _, endpoint := range slices.Sorted(maps.Keys(paused)) {
		detail := "heartbeats are judged"
		switch causes := paused[endpoint]; {
		case causes[pauseWatchStalled]:
			detail = "the watch of SyncTargets or of Leases has not delivered a heartbeat that kcp holds; silence is verified by live reads"
		case causes[pauseNoAnswer]:
			detail = "kcp did not answer a live read by which the silence of a syncer is verified; the condition Ready of its SyncTarget stays as it is"
		case causes[pauseMassSilence]:
			detail = "the heartbeats of many SyncTargets stopped within a minute; their condition Ready is Unknown"
		}
		details = append(details, fmt.Sprintf("endpoint %q: %s", endpoint, detail))
	}
	return details
}

const (
	// massWindow is the time within which many targets must fall silent to count as one mass disconnect.
	massWindow = time.Minute
	// massMinimum and massPercent: more targets than the larger of the two are many.
	massMinimum = 3
	massPercent = 20
	// pauseFactor times the threshold is how long a syncer may be silent in a mass disconnect before it is Unhealthy.
	pauseFactor = 2
)

// massLimit is how many of the targets that sent heartbeats may fall silent within massWindow.
func massLimit(targets int) int { return max(massMinimum, targets*massPercent/100) }

// silenceIndex holds what is asked about all targets of one endpoint when one of them falls silent, so that the answer does not
// need all of them. The times are those at which targets reach the threshold.
type silenceIndex struct {
	// alive are those of the targets whose heartbeats arrive.
	alive sortedTimes
	// fellSilent are those of the targets whose silence is verified or paused, and began while their heartbeats were arriving.
	fellSilent sortedTimes
	// foundSilent are when the targets fell silent whose silence was there at first sight, and lasts.
	foundSilent sortedTimes
	// paused is how many targets wait for a mass silence to end.
	paused int
}

// put replaces the record of a target.
func (t *heartbeatTracker) put(uid types.UID, record heartbeatRecord) {
	t.drop(uid)
	t.targets[uid] = record
	index := t.byEndpoint[record.endpoint]
	if index == nil {
		index = &silenceIndex{}
		t.byEndpoint[record.endpoint] = index
	}
	if of := index.timesOf(record); of != nil {
		of.add(record.silentAt(t.threshold))
	}
	if record.silence == silencePaused {
		index.paused++
	}
}

// drop removes the record of a target, if there is one.
func (t *heartbeatTracker) drop(uid types.UID) {
	record, known := t.targets[uid]
	if !known {
		return
	}
	delete(t.targets, uid)
	index := t.byEndpoint[record.endpoint]
	if of := index.timesOf(record); of != nil {
		of.remove(record.silentAt(t.threshold))
	}
	if record.silence == silencePaused {
		index.paused--
	}
}

// timesOf returns the times among which a target counts, or nil.
func (i *silenceIndex) timesOf(record heartbeatRecord) *sortedTimes {
	switch {
	case record.alive:
		return &i.alive
	case record.fellSilent:
		return &i.fellSilent
	case !record.foundSilent.IsZero():
		return &i.foundSilent
	}
	return nil
}

// massSilence tells whether a target, whose heartbeats were arriving, falls silent together with many others of its endpoint.
func (t *heartbeatTracker) massSilence(record heartbeatRecord, now time.Time) bool {
	index, at := t.byEndpoint[record.endpoint], record.silentSince().Add(t.threshold)
	sending := len(index.alive) + len(index.fellSilent.from(at.Add(-massWindow)))
	return fallSilentTogether(at, index.alive.until(now.Add(overdue(t.threshold))), index.fellSilent, massLimit(sending))
}

// hasPaused tells whether a target of the endpoint waits for a mass silence to end.
func (t *heartbeatTracker) hasPaused(endpoint string) bool {
	index := t.byEndpoint[endpoint]
	return index != nil && index.paused > 0
}

// sortedTimes are in ascending order. Equal ones may occur.
type sortedTimes []time.Time

func (m *sortedTimes) add(at time.Time) {
	i, _ := slices.BinarySearchFunc(*m, at, time.Time.Compare)
	*m = slices.Insert(*m, i, at)
}

func (m *sortedTimes) remove(at time.Time) {
	if i, found := slices.BinarySearchFunc(*m, at, time.Time.Compare); found {
		*m = slices.Delete(*m, i, i+1)
	}
}

// from returns the times that are not before at.
func (m sortedTimes) from(at time.Time) sortedTimes {
	i, _ := slices.BinarySearchFunc(m, at, time.Time.Compare)
	return m[i:]
}

// until returns the times that are not after at.
func (m sortedTimes) until(at time.Time) sortedTimes {
	i, _ := slices.BinarySearchFunc(m, at.Add(1), time.Time.Compare)
	return m[:i]
}

// within returns how many times lie within the massWindow that begins at start.
func (m sortedTimes) within(start time.Time) int {
	return len(m.from(start).until(start.Add(massWindow)))
}

// fallSilentTogether tells whether more than limit times of a and b lie within one massWindow that contains at, which is one of them.
// It ends at the first such window, so a large number of times makes it no slower.
func fallSilentTogether(at time.Time, a, b sortedTimes, limit int) bool {
	for _, starts := range []sortedTimes{a, b} {
		for _, start := range starts.from(at.Add(-massWindow)).until(at) {
			if a.within(start)+b.within(start) > limit {
				return true
			}
		}
	}
	return false
}

// overdue is how long before the threshold a syncer that has not been heard counts as falling silent, too. The syncers of a
// mass disconnect reach the threshold one after the other, and the first must already know of the others. It is at
// most a quarter of the threshold, which is at least two heartbeat intervals: a syncer that sends is never overdue.
func overdue(threshold time.Duration) time.Duration { return min(massWindow, threshold/4) }
