package synctarget

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// deletions records, by UID, what this process has seen and tried of the deletions of SyncTargets. A new process starts
// with an empty record, so it abandons nothing that it has not tried itself.
type deletions struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	byUID map[types.UID]*deletionRecord
}

// deletionRecord is what is known of one SyncTarget.
type deletionRecord struct {
	// seenAlive: this process saw the SyncTarget before it was deleted.
	seenAlive bool
	// seenDeleted is when this process first saw the deletion, by its own clock; zero before that.
	seenDeleted time.Time
	steps       map[string]stepRecord
}

// stepRecord is what is known of one step of a deletion.
type stepRecord struct {
	// tried is when this process first tried the step; zero before that.
	tried time.Time
	// triedForced is when it first tried the step after the deadline or the annotation; zero before that.
	triedForced time.Time
	// done: nothing was left to do.
	done bool
	// abandoned: the step was abandoned, and that was announced.
	abandoned bool
	// searched: no Namespace was found of which no Assignment tells.
	searched bool
}

func newDeletions(c clock.PassiveClock) *deletions {
	return &deletions{clock: c, byUID: map[types.UID]*deletionRecord{}}
}

// observe takes in a version of a SyncTarget.
func (d *deletions) observe(target *workloadv1alpha1.SyncTarget) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record(target)
}

// record returns the record of a SyncTarget, with this version of it taken in. d.mu is held.
func (d *deletions) record(target *workloadv1alpha1.SyncTarget) *deletionRecord {
	found := d.byUID[target.UID]
	if found == nil {
		found = &deletionRecord{}
		d.byUID[target.UID] = found
	}
	switch {
	case target.DeletionTimestamp == nil:
		found.seenAlive = true
	case found.seenDeleted.IsZero():
		found.seenDeleted = d.clock.Now()
	}
	return found
}

// start is when the deletion of a SyncTarget began, by this process's clock.
func (d *deletions) start(target *workloadv1alpha1.SyncTarget) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := d.record(target)
	return deletionStart(target.DeletionTimestamp.Time, found.seenDeleted, found.seenAlive)
}

// step returns what is known of a step.
func (d *deletions) step(target *workloadv1alpha1.SyncTarget, name string) stepRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record(target).steps[name]
}

// setStep changes what is known of a step.
func (d *deletions) setStep(target *workloadv1alpha1.SyncTarget, name string, step stepRecord) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := d.record(target)
	if found.steps == nil {
		found.steps = map[string]stepRecord{}
	}
	found.steps[name] = step
}

// complete records that a step is done.
func (d *deletions) complete(target *workloadv1alpha1.SyncTarget, name string) {
	step := d.step(target, name)
	step.done = true
	d.setStep(target, name, step)
}

// abandon records that a step is abandoned, and reports whether this is the first time.
func (d *deletions) abandon(target *workloadv1alpha1.SyncTarget, name string) bool {
	step := d.step(target, name)
	if step.abandoned {
		return false
	}
	step.abandoned = true
	d.setStep(target, name, step)
	return true
}

// forget drops a SyncTarget that is gone.
func (d *deletions) forget(uid types.UID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.byUID, uid)
}
