package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

const (
	// stepPace is the least time between two reports on the progress of a rollout, so that it costs a write a second and not one
	// for each Pod.
	stepPace = time.Second
	// restorePace is the least time between two applies that restore a copy which somebody changes again and again.
	restorePace = 10 * time.Second
	// lagRetry is when an object is looked at again whose cache lags behind a live read.
	lagRetry = time.Second
	// immediately is for a moment that may just have passed; 0 would be never.
	immediately = time.Millisecond
	// maxActions bounds the actions of one pass. The longest sequence has nine.
	maxActions = 16
)

// objectReconciler is one pass over one object: it observes both sides, decides, acts, and observes again, until there is nothing
// left to do now.
type objectReconciler struct {
	*Controller
	namespace *namespaceSync
	resource  *resourceSync
	name      string
	// changedAt and answeredAt are since when a change of the object, and of the copy, wait; zero where none does.
	changedAt, answeredAt time.Time
	// began is when the pass did.
	began time.Time

	// src is the object in the workspace and dst its copy, by the caches at first and by the answers to our writes later; nil for
	// none. They are not changed.
	src, dst *unstructured.Unstructured
	// confirmed is what live reads and writes of this pass have shown.
	confirmed confirmations
	// report is what is to be written on the object.
	report rejection.Report
	// state is what the last pass has left, and what this one leaves.
	state objectState
	// again is when the object is looked at again without an event; 0 is never.
	again time.Duration
	// pending tells that the copy is not what it should be, and that there is nothing to report yet.
	pending bool
	// noCopy tells that there is no copy and is to be none, so that the finalizer goes with the report.
	noCopy bool
	// creates tells that this pass counts among the creations of its Namespace.
	creates bool
}

// syncObject takes one object as far as it can be taken now, and returns when to look again without an event; 0 is never.
func (e *Controller) syncObject(ctx context.Context, p *namespaceSync, l *resourceSync, name string) (time.Duration, error) {
	if !l.hasSynced() && !l.isListDenied() {
		return 0, nil // everything is enqueued when it has
	}
	o := e.newObjectReconciler(p, l, name)
	defer l.counts.passed(name) // also if the pass panics
	defer o.endCreation()
	ahead := o.load()
	defer o.doneWithChanges()
	again, err := o.run(ctx)
	o.finish(ctx, err)
	if ahead && again == 0 {
		again = cache.AssumedLifetime // for an event that never comes
	}
	return again, err
}

func (e *Controller) newObjectReconciler(p *namespaceSync, l *resourceSync, name string) *objectReconciler {
	return &objectReconciler{
		Controller: e, namespace: p, resource: l, name: name, began: e.clock.Now(), state: p.objectState(l.api.GroupResource, name),
	}
}

// load reads both caches, and tells whether one of them shows a write of ours that its watch has yet to deliver.
func (o *objectReconciler) load() (ahead bool) {
	o.src, ahead = o.resource.up.Objects.Get(o.namespace.upstream.Key(o.name))
	o.changedAt = o.resource.up.TakePending(o.name)
	if o.resource.down == nil || o.resource.isListDenied() {
		return false
	}
	o.answeredAt = o.resource.down.TakePending(o.name)
	dst, dstAhead := o.resource.down.Objects.Get(o.namespace.downstreamNamespace + "/" + o.name)
	o.dst = dst
	return ahead || dstAhead
}

func (o *objectReconciler) doneWithChanges() {
	o.resource.up.Done(o.name)
	if o.resource.down != nil {
		o.resource.down.Done(o.name)
	}
}

// requeueChanges puts back the changes that this pass has not dealt with, so that their latency and lateness count on.
func (o *objectReconciler) requeueChanges() {
	o.resource.up.RequeuePending(o.name, o.changedAt)
	if o.resource.down != nil {
		o.resource.down.RequeuePending(o.name, o.answeredAt)
	}
}

// finish keeps what the next pass needs to know, and tells those who wait for this object.
func (o *objectReconciler) finish(ctx context.Context, err error) {
	if o.hasNothing() && !o.hasReport() {
		o.state = objectState{metadataRejectedAt: o.state.metadataRejectedAt, neverSyncedWarned: o.state.neverSyncedWarned}
		if err == nil && o.namespace.draining() != nil {
			o.queue.Add(queueKey{namespace: o.namespace.upstream}) // was it the last?
		}
	}
	if err == nil {
		o.state.metadataRejectedAt = time.Time{}
	} else {
		o.warnMetadataRejected(ctx, err)
		o.requeueChanges()
	}
	if neverSyncedWarning(o.src) == "" {
		o.state.neverSyncedWarned = ""
	}
	o.namespace.setObjectState(o.key(), o.state)
	fails, changed := o.recordCount()
	done := err == nil && !o.pending || fails
	isLast := done && o.namespace.markSynced(o.key())
	if isLast {
		signal(o.statusUrgent)
	}
	if isLast || changed {
		o.requestReport(o.namespace, atOnce)
	}
}

// run decides and acts until an action ends the pass.
func (o *objectReconciler) run(ctx context.Context) (time.Duration, error) {
	o.report = o.lastReport().WithoutOutcome()
	if created := o.state.unreportedSince; !created.IsZero() {
		o.report.Time = timestamp(created)
	}
	for range maxActions {
		observed, desired, err := o.observe()
		if err != nil {
			return 0, err
		}
		done, err := o.act(ctx, decide(observed), desired)
		if err != nil {
			return 0, err
		}
		if done {
			return o.again, nil
		}
	}
	return 0, fmt.Errorf("%s needs more than %d actions in one pass", o, maxActions)
}

// act carries out one action, and tells whether it ends the pass.
func (o *objectReconciler) act(ctx context.Context, next action, desired *unstructured.Unstructured) (done bool, err error) {
	switch next {
	case waitForCache:
		o.again = lagRetry
		return true, nil
	case waitDeferred:
		return true, o.waitDeferred()
	case postponeReport:
		o.postponeReport()
		return true, nil
	case confirmRemoval:
		return false, o.confirmRemoval(ctx)
	case confirmSource:
		return false, o.confirmSource(ctx)
	case confirmNoCopy:
		return o.confirmNoCopy(ctx)
	case addFinalizer:
		o.beginCreation()
		return false, o.addFinalizer(ctx)
	case dryRunCreate, createCopy, applyCopy:
		return o.write(ctx, next, desired)
	case deleteCopy, replaceJob, orphanCopy, releaseCopy:
		return o.endCopy(ctx, next)
	case releaseSource:
		if o.mustWarnNeverSynced() {
			o.again = lagRetry // no event follows on our own write
		}
		return true, o.releaseSource(ctx)
	case warnNeverSynced:
		o.warnNeverSynced(ctx)
		return true, nil
	case reportCopy, reportTerminating, reportDeleting, reportUnmanaged, reportFinishedJob, reportElsewhere, reportRejection, reportNotAccepted, reportListDenied:
		return true, o.writeReport(ctx, next, desired)
	}
	return true, nil
}

// waitDeferred waits as long as the physical cluster has asked for.
func (o *objectReconciler) waitDeferred() error {
	o.pending = true
	o.again = max(o.state.lastOutcome.until.Sub(o.clock.Now()), immediately)
	o.requeueChanges()
	return nil
}

// String names the object as its user does.
func (o *objectReconciler) String() string {
	return fmt.Sprintf("%s %q", o.resource.api.Kind, o.namespace.upstream.Key(o.name))
}

func (o *objectReconciler) key() queueKey {
	return queueKey{namespace: o.namespace.upstream, resource: o.resource.api.GroupResource, name: o.name}
}

// classify says what the failure of a request means for the object. That there was no answer says nothing about it, unless
// others have been answered since its last attempt.
func (o *objectReconciler) classify(err error) (rejection.Report, rejection.Class) {
	report, class := rejection.Classify(err)
	if err == nil || class != rejection.Transient || o.failures() < rejection.ReportAfter || rejection.IsOverload(err) || isThrottled(err) ||
		o.resource.hasUnhealthyWatch(o.clock.Now()) {
		return report, class
	}
	lastAttempt := o.began.Add(-pause(o.failures()-1, err))
	if !time.Unix(0, o.lastApplyAnswer.Load()).After(lastAttempt) {
		return report, class
	}
	why := rejection.Clip(err.Error())
	if errors.Is(err, context.DeadlineExceeded) {
		why = fmt.Sprintf("it does not answer within %s; a webhook there may hang", passTimeout)
	}
	return rejection.Report{Refused: "the physical cluster takes others, but not this one: " + why}, rejection.Persistent
}

// failures is how often the object has failed in a row.
func (o *objectReconciler) failures() int { return o.queue.NumRequeues(o.key()) }

// takesOver tells whether the user wants the fields of the object even where others own them downstream.
func (o *objectReconciler) takesOver() bool {
	return o.src.GetAnnotations()[workloadv1alpha1.AnnotationTakeOver] == "true"
}
