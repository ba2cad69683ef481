package resource

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
	"github.com/synctarget/synctarget/pkg/syncer/mapping"
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
	// tellTime bounds what is told after the time of a pass is over.
	tellTime = 5 * time.Second
	// soon is for a moment that may just have passed; 0 would be never.
	soon = time.Millisecond
)

// pass is one look at one object on both sides.
type pass struct {
	*Engine
	place *place
	lane  *lane
	name  string
	// src is the object in the workspace, dst its copy; nil where the cache shows none. Not to be changed.
	src, dst *unstructured.Unstructured
	// changedAt and answeredAt are since when a change of the object, and of the copy, wait; zero where none does.
	changedAt, answeredAt time.Time
	// memory is what the last pass has left, and what this one leaves.
	memory memory
	// began is when the pass did.
	began time.Time
	// again is when what is told now is looked at again without an event; 0 is never.
	again time.Duration
	// putOff tells that the copy is not what it should be, and that there is nothing to tell yet.
	putOff bool
	// copyless tells that there is no copy and is to be none, so that there is nothing to hold the object for.
	copyless bool
}

// syncObject brings one object one step further, and returns when to look again without an event; 0 is never.
func (e *Engine) syncObject(ctx context.Context, p *place, l *lane, name string) (time.Duration, error) {
	if !l.synced() && !l.isBarred() {
		return 0, nil // everything is looked at when it has
	}
	src, srcAhead := l.up.objects.get(p.namespace + "/" + name)
	o := &pass{Engine: e, place: p, lane: l, name: name, src: src, changedAt: l.up.takeSeen(name), memory: p.remembered(l.resource.GroupResource, name), began: e.clock.Now()}
	defer l.up.dealtWith(name)
	if l.isBarred() {
		again, err := o.explainBarred(ctx)
		if p.ending() != nil && o.free() && !o.marked() {
			e.queue.Add(item{namespace: p.namespace})
		}
		return again, err
	}
	dstAhead := false
	if l.down != nil {
		o.answeredAt = l.down.takeSeen(name)
		defer l.down.dealtWith(name)
		o.dst, dstAhead = l.down.objects.get(p.counterpart + "/" + name)
	}
	again, err := o.run(ctx)
	if o.free() && !o.marked() {
		o.memory = memory{merged: o.memory.merged, unmarked: o.memory.unmarked}
		if err == nil && p.ending() != nil {
			e.queue.Add(item{namespace: p.namespace}) // was it the last?
		}
	}
	if err == nil {
		o.memory.unmarked = time.Time{}
	} else {
		o.warn(ctx, err)
		l.up.stillSeen(name, o.changedAt)
		if l.down != nil {
			l.down.stillSeen(name, o.answeredAt)
		}
	}
	p.remember(o.id(), o.memory)
	if done := err == nil && !o.putOff || o.src != nil && e.isExplained(p, l, o.src); done && p.met(o.id()) {
		signal(e.learned)
	}
	if (srcAhead || dstAhead) && again == 0 {
		again = overlayLifetime // for an event that never comes
	}
	return again, err
}

func (o *pass) run(ctx context.Context) (time.Duration, error) {
	if err := o.giveBackMerged(ctx); err != nil {
		return 0, err
	}
	if o.place.ending() != nil {
		return o.end(ctx)
	}
	if o.lane.resource.Leaving {
		return 0, o.leave(ctx)
	}
	switch {
	case o.src != nil && wanted(o.src):
		return o.carry(ctx)
	case o.free() && !o.marked():
		return 0, nil
	}
	unwanted, err := o.unwanted(ctx)
	if err != nil || !unwanted {
		return time.Second, err // the cache will follow
	}
	return 0, o.withdraw(ctx, false)
}

// carry brings the copy to what the object says, and tells the user how it fares.
func (o *pass) carry(ctx context.Context) (time.Duration, error) {
	if o.lane.resource.State != workloadv1alpha1.ResourceAccepted {
		return 0, o.explain(ctx)
	}
	desired, err := o.owner.Copy(o.src)
	if err != nil {
		return 0, err
	}
	before := o.reported()
	report, again, err := o.bring(ctx, desired, before.renewed())
	switch {
	case errors.Is(err, errPutOff):
		o.putOff = true
		o.lane.up.stillSeen(o.name, o.changedAt)
		o.lane.down.stillSeen(o.name, o.answeredAt)
		return again, nil
	case err != nil && !report.blamed():
		return 0, err
	case !o.holds() && !report.blamed() && !before.blamed() && o.mayWait():
		o.lane.up.stillSeen(o.name, o.changedAt)
		return reportDelay, nil
	case o.isStep(report, before):
		o.lane.down.stillSeen(o.name, o.answeredAt)
		return max(stepPace-o.clock.Since(o.answeredAt), soon), nil
	}
	failure := o.tell(ctx, report)
	return cmp.Or(again, o.again), cmp.Or(failure, err)
}

// holdsFirst tells whether the object is held before its copy exists: always, but for plain data that comes in a burst
// without a limit. There the write that reports on it holds it too, a little after: its copy carries our mark, so one whose
// object has gone before that is found by it, and is removed.
func (o *pass) holdsFirst() bool { return o.lane.resource.HasStatus || !o.isCrowded() }

// bring makes the copy what it should be, and says how it fares. With an error there is something to tell only if it is
// the object's fault, as far as anybody can tell.
func (o *pass) bring(ctx context.Context, wanted *unstructured.Unstructured, report Report) (Report, time.Duration, error) {
	if o.ours(o.dst) && !o.holds() && (o.limited || o.lane.resource.HasStatus) {
		// A copy that there is without a finalizer, as when somebody has taken it off, is not touched before it is back. What a
		// burst without a limit has copied is held by its report.
		if err := o.hold(ctx); err != nil {
			return report, 0, err
		}
	}
	desired, again := wanted, time.Duration(0)
	if o.isLeftScaled(wanted) {
		desired = withoutReplicas(wanted)
	}
	switch {
	case o.foreign():
		if o.holds() {
			if copy, err := o.findCopy(ctx); err != nil {
				return report, 0, err
			} else if copy != nil {
				o.dst = copy
				return o.bring(ctx, wanted, report)
			}
		}
		o.copyless = true
		return o.refusedByForeign(report), 0, nil
	case o.dst != nil && o.dst.GetDeletionTimestamp() != nil:
		return o.terminating(report, "and is made anew when it is gone"), 0, nil
	case o.dst != nil && o.ours(o.dst) && o.isRerun():
		return o.terminating(report, "and is made anew when it is gone"), 0, o.heldUp(ctx, o.replaceCopy(ctx))
	case o.dst != nil && upToDate(o.dst, desired):
	case o.dst == nil && mapping.HasRun(o.src):
		if o.holds() {
			// The finalizer stands for a copy, whatever the cache shows.
			if err := o.lacks(ctx); err != nil {
				return o.blame(desired, report, err)
			}
		}
		o.copyless = true
		return report.ofPast(o.src), 0, nil
	default:
		known, ok := o.settled(desired)
		if wait := max(known.until.Sub(o.clock.Now()), soon); known.putOff {
			return report, wait, errPutOff
		} else if known.report.blamed() {
			return o.beside(known.report), wait, nil
		}
		if again = o.untilRestored(desired); ok || again > 0 {
			break
		}
		var err error
		if report, again, err = o.apply(ctx, desired, report); err != nil || report.blamed() {
			return o.beside(report), again, err
		}
	}
	report = report.of(o.dst, o.lane.resource.HasStatus)
	report.Message = cmp.Or(report.Message, scaledElsewhere(o.dst, wanted))
	return report, again, nil
}

// beside adds to what is told of a refusal how the copy fares that there is, of an earlier state of the object.
func (o *pass) beside(report Report) Report {
	if !report.blamed() || !o.ours(o.dst) {
		return report
	}
	return report.of(o.dst, o.lane.resource.HasStatus)
}

// terminating says what a copy that is being deleted waits for.
func (o *pass) terminating(report Report, then string) Report {
	report.Ready, report.Message = string(kstatus.TerminatingStatus), "the copy is being deleted "+then
	if finalizers := o.dst.GetFinalizers(); len(finalizers) > 0 {
		report.Message = clip(fmt.Sprintf("the copy is being deleted in the physical cluster, where finalizers %q hold it, %s", finalizers, then))
	}
	return report
}

// isCrowded tells whether copies of many were made together just now, as fast as the servers can: where there is a limit,
// they come one by one.
func (e *Engine) isCrowded() bool {
	return !e.limited && e.clock.Since(time.Unix(0, e.crowded.Load())) < reportDelay
}

// mayWait tells whether the report of one of many has waited less than reportPatience.
func (o *pass) mayWait() bool {
	return !o.changedAt.IsZero() && o.isCrowded() && o.clock.Since(o.changedAt) < reportPatience
}

// isStep tells whether a copy that was on its way, and still is, has only come further a moment ago.
func (o *pass) isStep(report, before Report) bool {
	underWay := report.Ready == string(kstatus.InProgressStatus) && !report.blamed()
	same := report.Ready == before.Ready && report.Generation == before.Generation && report.Time == before.Time
	return underWay && same && o.holds() && !o.answeredAt.IsZero() && o.clock.Since(o.answeredAt) < stepPace
}

// free tells that neither side holds anything of ours.
func (o *pass) free() bool { return !o.holds() && !o.ours(o.dst) }

// holds tells whether our finalizer is on the object.
func (o *pass) holds() bool { return o.Engine.holds(o.src) }

func (e *Engine) holds(src *unstructured.Unstructured) bool {
	return src != nil && slices.Contains(src.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(e.owner.Key))
}

// marked tells whether we have told something on the object.
func (o *pass) marked() bool { return o.src != nil && o.told(o.src) != "" }

func (e *Engine) told(src *unstructured.Unstructured) string {
	return src.GetAnnotations()[workloadv1alpha1.SyncAnnotation(e.owner.Key)]
}

// marks tells whether anything of ours is on an object of the workspace.
func (e *Engine) marks(src *unstructured.Unstructured) bool { return e.holds(src) || e.told(src) != "" }

// foreign tells whether what has the copy's name is somebody's, who does not hand it over. What is in every Namespace is
// everybody's.
func (o *pass) foreign() bool {
	return o.dst != nil && !o.ours(o.dst) && !o.isFixture() && o.dst.GetAnnotations()[workloadv1alpha1.AnnotationAdopt] != o.owner.Key
}

// refusedByForeign says that something of somebody else stands in the way.
func (o *pass) refusedByForeign(report Report) Report {
	report.Refused = fmt.Sprintf("%s %q exists in Namespace %q of the physical cluster and is not a copy; delete it there, or annotate it there with %s=%s to hand it over",
		o.lane.resource.Kind, o.name, o.place.counterpart, workloadv1alpha1.AnnotationAdopt, o.owner.Key)
	return report
}

// isFixture tells whether the copy is of what every Namespace has, made by the cluster itself: it is not ours to delete.
func (o *pass) isFixture() bool {
	return o.lane.resource.Group == "" && mapping.IsFixture(o.lane.resource.Kind, o.name)
}

// ours tells whether an object of the physical cluster is a copy of ours.
func (e *Engine) ours(dst *unstructured.Unstructured) bool {
	return dst != nil && mapping.IsCopy(dst, e.owner.Key)
}

// String names the object as its user does.
func (o *pass) String() string {
	return fmt.Sprintf("%s %q", o.lane.resource.Kind, o.place.namespace+"/"+o.name)
}

func (o *pass) id() item {
	return item{namespace: o.place.namespace, resource: o.lane.resource.GroupResource, name: o.name}
}
