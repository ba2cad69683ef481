package pcluster

import "time"

const (
	// slowAfter is for how long, in all of one Budget, a cluster lets its callers wait for answers before it is slow. One that
	// lets a single call wait for almost contactTimeout is, and one 150 ms away is not, though a pass has two dozen calls.
	// Calls at the same time count once.
	slowAfter = 2 * Budget / 5
	// slowFor is how long a slow cluster counts as slow. It is more than the time between two passes that read everything.
	slowFor = 15 * time.Minute
)

// target names a SyncTarget. A cluster stays slow when the SyncTarget gets another kubeconfig.
type target struct{ clusterName, name string }

func (id ID) target() target { return target{id.ClusterName, id.Name} }

// callTimes adds up the time in which at least one call of a cluster is in flight.
type callTimes struct {
	inFlight int
	since    time.Time // the time before is added up
	window   time.Time // when the present Budget of time began
	sum      time.Duration
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

// callBegins notes that a call is in flight.
func (c *Cluster) callBegins() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls.inFlight == 0 {
		c.calls.since = c.owner.clock.Now()
	}
	c.calls.inFlight++
}

// callEnds notes that a call has ended, by an answer or without one. Without answers a cluster is dead, not slow.
func (c *Cluster) callEnds(answered bool) {
	now := c.owner.clock.Now()
	c.mu.Lock()
	calls := &c.calls
	if now.Sub(calls.window) > Budget {
		calls.window, calls.sum = calls.since, 0
	}
	calls.sum += now.Sub(calls.since)
	calls.since = now
	calls.inFlight--
	isSlow := answered && calls.sum >= slowAfter
	c.mu.Unlock()
	if isSlow {
		c.owner.mu.Lock()
		defer c.owner.mu.Unlock()
		c.owner.slow[c.id.target()] = now.Add(slowFor)
	}
}
