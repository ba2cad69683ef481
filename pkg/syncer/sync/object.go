package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

const (
	// reportDelay and reportPatience are how long the first write to an object that is plain data waits, again and again
	// and in all, while many others want their copies.
	reportDelay    = time.Second
	reportPatience = 5 * time.Second
	// stepPace is how long one more step of a copy that is on its way waits for the next, so that a rollout costs a write a
	// second and not one for each Pod.
	stepPace = time.Second
	// restorePace is the least time between two applies that bring a copy back: who changes it again and again is not outrun.
	restorePace = 10 * time.Second
	// reportTimeout bounds what is told after the time of a pass is over.
	reportTimeout = 5 * time.Second
	// immediately is for a moment that may just have passed; 0 would be never.
	immediately = time.Millisecond
)

// objectReconciler is one look at one object on both sides.
type objectReconciler struct {
	*Controller
	namespace *namespaceSync
	resource  *resourceSync
	name      string
	// src is the object in the workspace, dst its copy; nil where the cache shows none. Not to be changed.
	src, dst *unstructured.Unstructured
	// changedAt and answeredAt are since when a change of the object, and of the copy, wait; zero where none does.
	changedAt, answeredAt time.Time
	// state is what the last pass has left, and what this one leaves.
	state objectState
	// began is when the pass did.
	began time.Time
	// again is when what is told now is looked at again without an event; 0 is never.
	again time.Duration
	// deferred tells that the copy is not what it should be, and that there is nothing to tell yet.
	deferred bool
	// noCopy tells that there is no copy and is to be none, so that there is nothing to hold the object for.
	noCopy bool
}

// syncObject brings one object one step further, and returns when to look again without an event; 0 is never.
func (e *Controller) syncObject(ctx context.Context, p *namespaceSync, l *resourceSync, name string) (time.Duration, error) {
	if !l.hasSynced() && !l.isListDenied() {
		return 0, nil // everything is looked at when it has
	}
	src, srcAhead := l.up.Objects.Get(p.upstreamNamespace + "/" + name)
	o := &objectReconciler{Controller: e, namespace: p, resource: l, name: name, src: src, changedAt: l.up.TakePending(name), state: p.objectState(l.api.GroupResource, name), began: e.clock.Now()}
	defer l.up.Done(name)
	if l.isListDenied() {
		again, err := o.reportListDenied(ctx)
		if p.draining() != nil && o.hasNothing() && !o.hasReport() {
			e.queue.Add(queueKey{namespace: p.upstreamNamespace})
		}
		return again, err
	}
	dstAhead := false
	if l.down != nil {
		o.answeredAt = l.down.TakePending(name)
		defer l.down.Done(name)
		o.dst, dstAhead = l.down.Objects.Get(p.downstreamNamespace + "/" + name)
	}
	again, err := o.run(ctx)
	if o.hasNothing() && !o.hasReport() {
		o.state = objectState{merged: o.state.merged, metadataRejectedAt: o.state.metadataRejectedAt}
		if err == nil && p.draining() != nil {
			e.queue.Add(queueKey{namespace: p.upstreamNamespace}) // was it the last?
		}
	}
	if err == nil {
		o.state.metadataRejectedAt = time.Time{}
	} else {
		o.warnMetadataRejected(ctx, err)
		l.up.RequeuePending(name, o.changedAt)
		if l.down != nil {
			l.down.RequeuePending(name, o.answeredAt)
		}
	}
	p.setObjectState(o.key(), o.state)
	if done := err == nil && !o.deferred || o.src != nil && e.isFailing(p, l, o.src); done && p.markSynced(o.key()) {
		signal(e.statusUrgent)
	}
	if (srcAhead || dstAhead) && again == 0 {
		again = cache.AssumedLifetime // for an event that never comes
	}
	return again, err
}

func (o *objectReconciler) run(ctx context.Context) (time.Duration, error) {
	if err := o.giveBackMerged(ctx); err != nil {
		return 0, err
	}
	if o.namespace.draining() != nil {
		return o.removeDrained(ctx)
	}
	if o.resource.api.Removing {
		return 0, o.removeResource(ctx)
	}
	switch {
	case o.src != nil && transform.IsWanted(o.src):
		return o.reconcileWanted(ctx)
	case o.hasNothing() && !o.hasReport():
		return 0, nil
	}
	unwanted, err := o.confirmUnwanted(ctx)
	if err != nil || !unwanted {
		return time.Second, err // the cache will follow
	}
	return 0, o.remove(ctx, false)
}

// reconcileWanted brings the copy to what the object says, and tells the user how it fares.
func (o *objectReconciler) reconcileWanted(ctx context.Context) (time.Duration, error) {
	if o.resource.api.State != workloadv1alpha1.ResourceAccepted {
		return 0, o.reportNotAccepted(ctx)
	}
	desired, err := o.owner.Copy(o.src)
	if err != nil {
		return 0, err
	}
	before := o.lastReport()
	report, again, err := o.ensureCopy(ctx, desired, before.WithoutOutcome())
	switch {
	case errors.Is(err, errPutOff):
		o.deferred = true
		o.resource.up.RequeuePending(o.name, o.changedAt)
		o.resource.down.RequeuePending(o.name, o.answeredAt)
		return again, nil
	case err != nil && !report.Rejected():
		return 0, err
	case !o.hasFinalizer() && !report.Rejected() && !before.Rejected() && o.mayWait():
		o.resource.up.RequeuePending(o.name, o.changedAt)
		return reportDelay, nil
	case o.isStep(report, before):
		o.resource.down.RequeuePending(o.name, o.answeredAt)
		return max(stepPace-o.clock.Since(o.answeredAt), immediately), nil
	}
	failure := o.writeUpstream(ctx, report)
	return cmp.Or(again, o.again), cmp.Or(failure, err)
}

// finalizerFirst tells whether the object is held before its copy exists: always, but for plain data that comes in a burst
// without a limit. There the write that reports on it holds it too, a little after: its copy carries our mark, so one whose
// object has gone before that is found by it, and is removed.
func (o *objectReconciler) finalizerFirst() bool { return o.resource.api.HasStatus || !o.isBurst() }

// ensureCopy makes the copy what it should be, and says how it fares. With an error there is something to tell only if it is
// the object's fault, as far as anybody can tell.
func (o *objectReconciler) ensureCopy(ctx context.Context, wanted *unstructured.Unstructured, report rejection.Report) (rejection.Report, time.Duration, error) {
	if o.isManaged(o.dst) && !o.hasFinalizer() && (o.rateLimited || o.resource.api.HasStatus) {
		// A copy that there is without a finalizer, as when somebody has taken it off, is not touched before it is back. What a
		// burst without a limit has copied is held by its report.
		if err := o.addFinalizer(ctx); err != nil {
			return report, 0, err
		}
	}
	desired, again := wanted, time.Duration(0)
	if o.isLeftScaled(wanted) {
		desired = withoutReplicas(wanted)
	}
	switch {
	case o.isUnmanaged():
		if o.hasFinalizer() {
			if copy, err := o.findCopy(ctx); err != nil {
				return report, 0, err
			} else if copy != nil {
				o.dst = copy
				return o.ensureCopy(ctx, wanted, report)
			}
		}
		o.noCopy = true
		return o.unmanagedReport(report), 0, nil
	case o.dst != nil && o.dst.GetDeletionTimestamp() != nil:
		return o.terminating(report, "and is made anew when it is gone"), 0, nil
	case o.dst != nil && o.isManaged(o.dst) && o.isEarlierJob():
		return o.terminating(report, "and is made anew when it is gone"), 0, o.reportRemovalFailure(ctx, o.replaceCopy(ctx))
	case o.dst != nil && transform.Matches(o.dst, desired):
	case o.dst == nil && naming.HasFinished(o.src):
		if o.hasFinalizer() {
			// The finalizer stands for a copy, whatever the cache shows.
			if err := o.verifyAbsent(ctx); err != nil {
				return o.recordFailure(desired, report, err)
			}
		}
		o.noCopy = true
		return report.WithFinishedJob(o.src), 0, nil
	default:
		known, ok := o.validOutcome(desired)
		if wait := max(known.until.Sub(o.clock.Now()), immediately); known.putOff {
			return report, wait, errPutOff
		} else if known.report.Rejected() {
			return o.withCopyReadiness(known.report), wait, nil
		}
		if again = o.untilRestored(desired); ok || again > 0 {
			break
		}
		var err error
		if report, again, err = o.apply(ctx, desired, report); err != nil || report.Rejected() {
			return o.withCopyReadiness(report), again, err
		}
	}
	report = report.WithReadiness(o.dst, o.resource.api.HasStatus)
	report.Message = cmp.Or(report.Message, rejection.ScaledElsewhere(o.dst, wanted))
	return report, again, nil
}

// withCopyReadiness adds to what is told of a refusal how the copy fares that there is, of an earlier state of the object.
func (o *objectReconciler) withCopyReadiness(report rejection.Report) rejection.Report {
	if !report.Rejected() || !o.isManaged(o.dst) {
		return report
	}
	return report.WithReadiness(o.dst, o.resource.api.HasStatus)
}

// terminating says what a copy that is being deleted waits for.
func (o *objectReconciler) terminating(report rejection.Report, then string) rejection.Report {
	report.Ready, report.Message = string(kstatus.TerminatingStatus), "the copy is being deleted "+then
	if finalizers := o.dst.GetFinalizers(); len(finalizers) > 0 {
		report.Message = rejection.Clip(fmt.Sprintf("the copy is being deleted in the physical cluster, where finalizers %q hold it, %s", finalizers, then))
	}
	return report
}

// isBurst tells whether copies of many were made together just now, as fast as the servers can: where there is a limit,
// they come one by one.
func (e *Controller) isBurst() bool {
	return !e.rateLimited && e.clock.Since(time.Unix(0, e.burstSince.Load())) < reportDelay
}

// mayWait tells whether the report of one of many has waited less than reportPatience.
func (o *objectReconciler) mayWait() bool {
	return !o.changedAt.IsZero() && o.isBurst() && o.clock.Since(o.changedAt) < reportPatience
}

// isStep tells whether a copy that was on its way, and still is, has only come further a moment ago.
func (o *objectReconciler) isStep(report, before rejection.Report) bool {
	underWay := report.Ready == string(kstatus.InProgressStatus) && !report.Rejected()
	same := report.Ready == before.Ready && report.Generation == before.Generation && report.Time == before.Time
	return underWay && same && o.hasFinalizer() && !o.answeredAt.IsZero() && o.clock.Since(o.answeredAt) < stepPace
}

// hasNothing tells that neither side holds anything of ours.
func (o *objectReconciler) hasNothing() bool { return !o.hasFinalizer() && !o.isManaged(o.dst) }

// hasFinalizer tells whether our finalizer is on the object.
func (o *objectReconciler) hasFinalizer() bool { return o.Controller.hasFinalizer(o.src) }

func (e *Controller) hasFinalizer(src *unstructured.Unstructured) bool {
	return src != nil && slices.Contains(src.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(e.owner.Key))
}

// hasReport tells whether we have told something on the object.
func (o *objectReconciler) hasReport() bool { return o.src != nil && o.syncAnnotation(o.src) != "" }

func (e *Controller) syncAnnotation(src *unstructured.Unstructured) string {
	return src.GetAnnotations()[workloadv1alpha1.SyncAnnotation(e.owner.Key)]
}

// hasOurMetadata tells whether anything of ours is on an object of the workspace.
func (e *Controller) hasOurMetadata(src *unstructured.Unstructured) bool {
	return e.hasFinalizer(src) || e.syncAnnotation(src) != ""
}

// isUnmanaged tells whether what has the copy's name is somebody's, who does not hand it over. What is in every Namespace is
// everybody's.
func (o *objectReconciler) isUnmanaged() bool {
	return o.dst != nil && !o.isManaged(o.dst) && !o.isClusterDefault() && o.dst.GetAnnotations()[workloadv1alpha1.AnnotationAdopt] != o.owner.Key
}

// unmanagedReport says that something of somebody else stands in the way.
func (o *objectReconciler) unmanagedReport(report rejection.Report) rejection.Report {
	report.Refused = fmt.Sprintf("%s %q exists in Namespace %q of the physical cluster and is not a copy; delete it there, or annotate it there with %s=%s to hand it over",
		o.resource.api.Kind, o.name, o.namespace.downstreamNamespace, workloadv1alpha1.AnnotationAdopt, o.owner.Key)
	return report
}

// isClusterDefault tells whether the copy is of what every Namespace has, made by the cluster itself: it is not ours to delete.
func (o *objectReconciler) isClusterDefault() bool {
	return o.resource.api.Group == "" && naming.IsClusterDefault(o.resource.api.Kind, o.name)
}

// isManaged tells whether an object of the physical cluster is a copy of ours.
func (e *Controller) isManaged(dst *unstructured.Unstructured) bool {
	return dst != nil && naming.IsManaged(dst, e.owner.Key)
}

// String names the object as its user does.
func (o *objectReconciler) String() string {
	return fmt.Sprintf("%s %q", o.resource.api.Kind, o.namespace.upstreamNamespace+"/"+o.name)
}

func (o *objectReconciler) key() queueKey {
	return queueKey{namespace: o.namespace.upstreamNamespace, resource: o.resource.api.GroupResource, name: o.name}
}
