package sync

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// manyCreations is how many copies of a Namespace are created at the same time in a burst. Objects that are created one after the
	// other, as by a user or a GitOps tool at rest, do not come to that.
	manyCreations = 4
	// burstEnd is how long after the last moment with so many creations a burst is over.
	burstEnd = time.Second
	// reportDelayMax is how long after the creation of a copy the report on it can be postponed.
	reportDelayMax = 10 * time.Second
	// reportDelay is the least time after which an object with a postponed report is looked at again. It is jittered by as much.
	reportDelay = time.Second
)

// creations are the creations of copies in one Namespace: each from when the finalizer is written to the answer of the physical
// cluster.
type creations struct {
	mu       sync.Mutex
	underWay int
	// manyAt is when there were last manyCreations under way.
	manyAt time.Time
}

// begin counts one more.
func (c *creations) begin(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.underWay++; c.underWay >= manyCreations {
		c.manyAt = now
	}
}

// end counts one less.
func (c *creations) end(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.underWay >= manyCreations {
		c.manyAt = now
	}
	c.underWay--
}

// isBurst tells whether there are, or were a moment ago, many at the same time.
func (c *creations) isBurst(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.underWay >= manyCreations || !c.manyAt.IsZero() && now.Sub(c.manyAt) < burstEnd
}

// reportCanWait tells whether the report on the copy can be postponed during a burst of creations in its Namespace: on a new copy
// without a status it says no more than that it is there. A report costs the workspace as much as the finalizer, so the copies of a
// burst are there sooner if the reports follow them.
func (o *objectReconciler) reportCanWait() bool {
	created, now := o.state.unreportedSince, o.clock.Now()
	return !created.IsZero() && now.Sub(created) < reportDelayMax && o.namespace.creations.isBurst(now) && !hasStatus(o.dst)
}

// postponeReport leaves the report to a later pass.
func (o *objectReconciler) postponeReport() {
	o.pending = true
	o.again = wait.Jitter(reportDelay, 1)
}

// beginCreation counts this pass among the creations of its Namespace, unless there is a copy.
func (o *objectReconciler) beginCreation() {
	if o.dst == nil && !o.creates {
		o.creates = true
		o.namespace.creations.begin(o.clock.Now())
	}
}

// endCreation counts it no longer.
func (o *objectReconciler) endCreation() {
	if o.creates {
		o.creates = false
		o.namespace.creations.end(o.clock.Now())
	}
}
