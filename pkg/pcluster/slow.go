package pcluster

import "time"

const (
	// slowAfter is for how long, in all of one Budget, a cluster lets its callers wait for answers before it is slow. One that
	// lets a single call wait for almost contactTimeout is, and one 150 ms away is not, though a pass has two dozen calls.
	slowAfter = 2 * Budget / 5
	// slowFor is how long a slow cluster counts as slow. It is more than the time between two passes that read everything.
	slowFor = 15 * time.Minute
)

// target names a SyncTarget. A cluster stays slow when the SyncTarget gets another kubeconfig.
type target struct{ clusterName, name string }

func (id ID) target() target { return target{id.ClusterName, id.Name} }

// waiting adds up the time that callers have waited for answers.
type waiting struct {
	since time.Time // when the present Budget of time began
	sum   time.Duration
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

// waited notes how long a caller has waited for an answer.
func (c *Cluster) waited(took time.Duration) {
	now := c.owner.clock.Now()
	c.mu.Lock()
	if now.Sub(c.answers.since) > Budget {
		c.answers = waiting{since: now.Add(-took)}
	}
	c.answers.sum += took
	isSlow := c.answers.sum >= slowAfter
	c.mu.Unlock()
	if isSlow {
		c.owner.mu.Lock()
		defer c.owner.mu.Unlock()
		c.owner.slow[c.id.target()] = now.Add(slowFor)
	}
}
