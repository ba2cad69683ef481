package sync

import (
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// manyCreations is how many copies of a Namespace are being created at the same time when the reports on others are postponed.
	// Objects that are created one after the other, as by a user or a GitOps tool at rest, do not come to that.
	manyCreations = 4
	// reportDelayMax is how long after the creation of a copy the report on it can be postponed.
	reportDelayMax = 10 * time.Second
	// reportDelay is the least time after which an object with a postponed report is looked at again. It is jittered by as much.
	reportDelay = time.Second
)

// reportCanWait tells whether the report on the copy can be postponed while many others of its Namespace are being created: a new copy
// without a status, of which the report says no more than that it is there. A report costs the workspace as much as the finalizer, so
// a burst of new objects reaches the physical cluster sooner if the reports follow it.
func (o *objectReconciler) reportCanWait() bool {
	created := o.state.unreportedSince
	return !created.IsZero() && o.clock.Since(created) < reportDelayMax && o.namespace.creations.Load() >= manyCreations && !hasStatus(o.dst)
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
		o.namespace.creations.Add(1)
	}
}

// endCreation counts it no longer.
func (o *objectReconciler) endCreation() {
	if o.creates {
		o.creates = false
		o.namespace.creations.Add(-1)
	}
}
