package pcluster

import (
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

// probeBackoff is when a dead cluster is called again: after 5 s at first, once a minute in the end, jitter included.
func probeBackoff() wait.Backoff {
	return wait.Backoff{Duration: 5 * time.Second, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 50 * time.Second}
}

// relapse is how soon after a probe found it alive a dead cluster counts as the same case: one that answers probes and
// nothing else is probed ever more rarely, for each success costs a worker a whole budget.
const relapse = 5 * time.Minute

// isVerdict reports whether an error says something about the cluster or the kubeconfig, not about us.
func isVerdict(err error) bool {
	var known *problem
	return errors.As(err, &known)
}

// isDeadly reports whether, after this error, nothing else needs to be asked of the cluster.
func isDeadly(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrInvalid) || isVerdict(err) && apierrors.IsUnauthorized(err)
}

// remembered returns why the cluster is dead, or nil.
func (c *Cluster) remembered() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

func (c *Cluster) markAlive(uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil {
		c.revived = c.owner.clock.Now()
	}
	c.uid, c.learned, c.dead = uid, c.owner.clock.Now(), nil
}

// markDead makes everybody fail with this error until a probe succeeds. It does nothing if the cluster is dead already.
func (c *Cluster) markDead(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil || c.ctx.Err() != nil {
		return
	}
	c.dead = err
	if c.revived.IsZero() || c.owner.clock.Since(c.revived) >= relapse {
		c.backoff = probeBackoff()
	}
	c.owner.queue.AddAfter(c.id, c.backoff.Step())
}

// stillDead notes how a probe failed, schedules the next, and reports whether there is something new to tell.
func (c *Cluster) stillDead(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	news := c.dead == nil || c.dead.Error() != err.Error()
	c.dead = err
	c.owner.queue.AddAfter(c.id, c.backoff.Step())
	return news
}

// probeNext starts the probe of the next dead cluster whose time has come, and reports whether there may be more. The
// probe waits at the gate in a goroutine of its own, so that none holds up the next.
func (c *Clusters) probeNext() bool {
	id, ended := c.queue.Get()
	if ended {
		return false
	}
	probe := func() {
		defer c.queue.Done(id)
		if cluster := c.current(id); cluster != nil && cluster.remembered() != nil && cluster.probe() {
			c.onChange(id)
		}
	}
	return c.spawn(probe)
}

// probe calls a dead cluster, when there is a place for that, and reports whether there is something new to tell.
func (c *Cluster) probe() bool {
	uid, err := c.contact(c.owner.probes)
	switch {
	case err == nil:
		c.markAlive(uid)
		return true
	case isVerdict(err):
		return c.stillDead(err)
	default:
		return false // shutting down, or replaced
	}
}
