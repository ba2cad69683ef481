package synctarget

import (
	"fmt"
	"maps"
	"slices"
	"time"
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
			detail = "the watch of SyncTargets has not delivered a heartbeat that kcp holds; silence is verified by live reads"
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

// fallTogether returns the largest number of moments, at among them, that lie within one massWindow that contains at.
func fallTogether(at time.Time, moments []time.Time) int {
	near := slices.DeleteFunc(slices.Clone(moments), func(m time.Time) bool {
		return m.Before(at.Add(-massWindow)) || m.After(at.Add(massWindow))
	})
	slices.SortFunc(near, time.Time.Compare)
	most, end := 0, 0
	for start := 0; start < len(near) && !near[start].After(at); start++ {
		for end < len(near) && !near[end].After(near[start].Add(massWindow)) {
			end++
		}
		most = max(most, end-start)
	}
	return most
}

// overdue is how long before the threshold a syncer that has not been heard counts as falling silent, too. The syncers of a
// mass disconnect reach the threshold one after the other, and the first must already know of the others. It is at
// most a quarter of the threshold, which is at least two heartbeat intervals: a syncer that sends is never overdue.
func overdue(threshold time.Duration) time.Duration { return min(massWindow, threshold/4) }
