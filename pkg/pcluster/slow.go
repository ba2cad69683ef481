package pcluster

import (
	"maps"
	"time"
)

const (
	// slowCall is how long a call may take that does not count as slow. A healthy API server on the other side of the
	// world needs less, so much work, such as opening fifty Namespaces, does not make its cluster slow.
	slowCall = 500 * time.Millisecond
	// slowAfter is how much time of one Budget slow calls take before the cluster is slow. A single call of almost
	// contactTimeout is enough. Calls at the same time count once.
	slowAfter = 2 * Budget / 5
	// busyShare is the share of the time that calls of any length may take in the long run, and busyAfter how much of the time
	// beyond that makes the cluster slow. A pass makes a dozen calls, so one whose answers each take a little less than slowCall,
	// and whose watch never rests, would hold a worker for two thirds of the time.
	busyShare = 5 // one part in
	busyAfter = 4 * Budget
	// slowFor is how long a slow cluster counts as slow. It is more than the time between two passes that read everything.
	slowFor = 15 * time.Minute
)

// target names a SyncTarget. Its cluster stays slow when the SyncTarget gets another kubeconfig, an invalid one or none,
// and when it is created anew. Otherwise a slow cluster could always have the workers of the others.
type target struct{ clusterName, name string }

func (id ID) target() target { return target{id.ClusterName, id.Name} }

// span is a time in which at least one call was in flight.
type span struct{ from, to time.Time }

// spans do not overlap.
type spans []span

// add adds the time of a call that has just ended, and drops what is longer ago than a Budget.
func (s spans) add(call span) spans {
	var kept spans
	for _, earlier := range s {
		switch {
		case call.to.Sub(earlier.to) >= Budget:
		case earlier.to.Before(call.from):
			kept = append(kept, earlier)
		case earlier.from.Before(call.from):
			call.from = earlier.from
		}
	}
	return append(kept, call)
}

// lately is how much time of the last Budget they take.
func (s spans) lately(now time.Time) (sum time.Duration) {
	for _, call := range s {
		sum += max(0, min(call.to.Sub(call.from), Budget-now.Sub(call.to)))
	}
	return sum
}

// IsSlow tells whether the cluster of a SyncTarget answers, but so slowly that it holds a worker for long.
func (c *Clusters) IsSlow(clusterName, name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := target{clusterName, name}
	until, found := c.slow[key]
	if found && !c.clock.Now().Before(until) {
		delete(c.slow, key)
		return false
	}
	return found
}

// use is how long calls have been in flight, in the long run: it grows with that time, and shrinks with all time by the share
// that is allowed. Calls at the same time count once.
type use struct {
	inFlight int
	total    time.Duration
	at       time.Time // of total
}

// begin notes that a call begins.
func (u *use) begin(now time.Time) {
	u.advance(now)
	u.inFlight++
}

// end notes that a call ends.
func (u *use) end(now time.Time) {
	u.advance(now)
	u.inFlight--
}

func (u *use) advance(now time.Time) {
	passed := now.Sub(u.at)
	if u.inFlight > 0 {
		u.total += passed
	}
	u.total, u.at = max(0, u.total-passed/busyShare), now
}

// callBegan notes that a call begins, and returns when. callEnded or callDropped follows.
func (c *Cluster) callBegan() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.owner.clock.Now()
	c.use.begin(now)
	return now
}

// callDropped notes the end of a call that says nothing of the cluster.
func (c *Cluster) callDropped() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use.end(c.owner.clock.Now())
}

// callEnded notes that a call has ended, by an answer or without one. Without answers a cluster is dead, not slow.
func (c *Cluster) callEnded(began time.Time, answered bool) {
	c.mu.Lock()
	now := c.owner.clock.Now()
	c.use.end(now)
	if now.Sub(began) > slowCall {
		c.slowCalls = c.slowCalls.add(span{from: began, to: now})
	}
	isSlow := answered && (c.slowCalls.lately(now) >= slowAfter || c.use.total >= busyAfter)
	c.mu.Unlock()
	if isSlow {
		c.owner.markSlow(c.id.target(), now)
	}
}

// markSlow makes the cluster of a SyncTarget slow from now on. It drops the entries that have expired, so that none stays
// for a SyncTarget that is gone. The calls that can be in flight bound the others: each has taken slowAfter of them.
func (c *Clusters) markSlow(key target, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.slow[key]; !found {
		maps.DeleteFunc(c.slow, func(_ target, until time.Time) bool { return !now.Before(until) })
	}
	c.slow[key] = now.Add(slowFor)
}
