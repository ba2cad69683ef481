package pcluster

import (
	"errors"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// checkInterval is when a cluster that answers is asked again whether it still accepts the credentials, up to a fifth later.
	// Its watches do not tell: an API server authenticates a request when it begins, so an open watch outlives its token.
	checkInterval = 20 * time.Second
	// checksPerSecond bounds these requests over all clusters: with more than a thousand, each is asked more rarely.
	checksPerSecond = 50
)

// newCheckLimiter lets the checks of an interval be scheduled at once.
func newCheckLimiter() *rate.Limiter {
	return rate.NewLimiter(checksPerSecond, checksPerSecond*int(checkInterval/time.Second))
}

// probeBackoff is when a dead cluster is called again: after 5 s at first, once a minute in the end, jitter included.
func probeBackoff() wait.Backoff {
	return wait.Backoff{Duration: 5 * time.Second, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 50 * time.Second}
}

// relapseTime is how soon after a probe found it alive a dead cluster counts as the same case: one that answers probes and
// nothing else is probed ever more rarely, for each success costs a worker a whole budget.
const relapseTime = 5 * time.Minute

// isAboutCluster reports whether an error says something about the cluster or the kubeconfig, not about us.
func isAboutCluster(err error) bool {
	var known *problem
	return errors.As(err, &known)
}

// endsContact reports whether, after this error, nothing else needs to be asked of the cluster.
func endsContact(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrInvalid) || isAboutCluster(err) && apierrors.IsUnauthorized(err)
}

// remembered returns why the cluster is dead, or nil.
func (c *Cluster) remembered() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// markAlive notes that the cluster answers, and schedules the first check of its credentials.
func (c *Cluster) markAlive(uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil {
		c.revived = c.owner.clock.Now()
	}
	c.uid, c.learned, c.dead = uid, c.owner.clock.Now(), nil
	c.owner.queue.AddAfter(c.id, c.owner.untilCheck())
}

// untilCheck is the time until the next check of a cluster.
func (c *Clusters) untilCheck() time.Duration {
	now := c.clock.Now()
	return max(wait.Jitter(checkInterval, 0.2), c.checks.ReserveN(now, 1).DelayFrom(now))
}

// markDead makes everybody fail with this error until a probe succeeds. It does nothing if the cluster is dead already.
func (c *Cluster) markDead(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil || c.ctx.Err() != nil {
		return
	}
	c.dead = err
	if c.revived.IsZero() || c.owner.clock.Since(c.revived) >= relapseTime {
		c.backoff = probeBackoff()
	}
	c.owner.queue.AddAfter(c.id, c.backoff.Step())
}

// stillDead notes how a probe failed, schedules the next, and reports whether there is something that callers do not know.
func (c *Cluster) stillDead(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	isNew := c.dead == nil || c.dead.Error() != err.Error()
	c.dead = err
	c.owner.queue.AddAfter(c.id, c.backoff.Step())
	return isNew
}

// probeNext starts the probe or the check of the next cluster whose time has come, and reports whether there may be more. A
// probe waits for its place in a goroutine of its own, so that none holds up the next.
func (c *Clusters) probeNext() bool {
	id, ended := c.queue.Get()
	if ended {
		return false
	}
	probe := func() {
		defer c.queue.Done(id)
		if cluster := c.current(id); cluster != nil && cluster.probeOrCheck() {
			c.onChange(id)
		}
	}
	return c.spawn(probe)
}

// probeOrCheck calls the cluster and reports whether there is something that callers do not know. One whose first contact is under
// way is not called.
func (c *Cluster) probeOrCheck() bool {
	c.mu.Lock()
	dead, met := c.dead != nil, c.uid != ""
	c.mu.Unlock()
	switch {
	case dead:
		return c.probe()
	case met:
		return c.check()
	}
	return false
}

// check asks a cluster that answers whether it still accepts the credentials, and reports whether it does not. Whether it can
// be reached, its watches tell.
func (c *Cluster) check() bool {
	_, err := c.identify(c.ctx, contactTimeout)
	if isAboutCluster(err) && apierrors.IsUnauthorized(err) {
		c.markDead(err)
		return true
	}
	if c.ctx.Err() == nil {
		c.owner.queue.AddAfter(c.id, c.owner.untilCheck())
	}
	return false
}

// probe calls a dead cluster, when there is a place for that, and reports whether there is something that callers do not know.
func (c *Cluster) probe() bool {
	uid, err := c.contact(c.owner.probes)
	switch {
	case err == nil:
		c.markAlive(uid)
		return true
	case isAboutCluster(err):
		return c.stillDead(err)
	default:
		return c.stillDead(c.remembered()) // shutting down, replaced, or errBusy: nothing new is known
	}
}
