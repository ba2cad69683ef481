package resource

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	// reportDelay and reportPatience are how long the first report on an object waits, again and again and in all, while
	// others wait for their copies.
	reportDelay    = 500 * time.Millisecond
	reportPatience = 5 * time.Second
)

// pass is one look at one object on both sides.
type pass struct {
	*Engine
	place *place
	lane  *lane
	name  string
	// src is the object in the workspace, dst its copy; nil where the cache shows none. Not to be changed.
	src, dst *unstructured.Unstructured
	// changed and answered are since when a change of the object, and of the copy, wait; zero where none does.
	changed, answered time.Time
}

// syncObject brings one object one step further, and returns when to look again without an event; 0 is never.
func (e *Engine) syncObject(ctx context.Context, p *place, l *lane, name string) (time.Duration, error) {
	if !l.synced() {
		return 0, nil // everything is looked at when it has
	}
	src, srcAhead := l.up.objects.get(p.namespace + "/" + name)
	o := &pass{Engine: e, place: p, lane: l, name: name, src: src, changed: l.up.takeSeen(name)}
	dstAhead := false
	if l.down != nil {
		o.answered = l.down.takeSeen(name)
		o.dst, dstAhead = l.down.objects.get(p.counterpart + "/" + name)
	}
	again, err := o.run(ctx)
	if err != nil {
		l.up.stillSeen(name, o.changed)
		if l.down != nil {
			l.down.stillSeen(name, o.answered)
		}
	}
	if (srcAhead || dstAhead) && again == 0 {
		again = overlayLifetime // for an event that never comes
	}
	return again, err
}

func (o *pass) run(ctx context.Context) (time.Duration, error) {
	if ending := o.place.ending(); ending != nil {
		return 0, o.withdraw(ctx, ending.orphan)
	}
	if o.lane.resource.Leaving {
		return 0, o.withdraw(ctx, false)
	}
	switch {
	case o.src != nil && wanted(o.src):
		return o.carry(ctx)
	case !o.holds() && !o.ours(o.dst):
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
	if !o.holds() {
		if err := o.hold(ctx); err != nil {
			return 0, err
		}
	}
	desired, err := o.owner.Copy(o.src)
	if err != nil {
		return 0, err
	}
	before := o.reported()
	report := Report{Time: before.Time}
	switch {
	case o.dst != nil && !o.ours(o.dst) && o.dst.GetAnnotations()[workloadv1alpha1.AnnotationAdopt] != o.owner.Key:
		report.Refused = fmt.Sprintf("%s %q exists in Namespace %q of the physical cluster and is not a copy; delete it there, or annotate it there with %s=%s to hand it over",
			o.lane.resource.Kind, o.name, o.place.counterpart, workloadv1alpha1.AnnotationAdopt, o.owner.Key)
	case o.dst != nil && o.dst.GetDeletionTimestamp() != nil:
		report.Generation, report.Ready, report.Message = before.Generation, "Terminating", "the copy is being deleted, and is made anew when it is gone"
	case o.dst != nil && (upToDate(o.dst, desired) || o.settled(desired)):
	default:
		if report, err = o.apply(ctx, desired, report); err != nil {
			return 0, err
		}
	}
	if o.dst != nil && o.ours(o.dst) && !report.blamed() && report.Ready == "" {
		report = report.of(o.dst)
		report.Message = cmp.Or(report.Message, scaledElsewhere(o.dst, desired))
	}
	if before == (Report{}) && !report.blamed() && o.inBurst() {
		o.lane.up.stillSeen(o.name, o.changed)
		return reportDelay, nil
	}
	if err := o.tell(ctx, report, before); err != nil {
		return 0, err
	}
	if report.blamed() {
		return refusalRetry, nil
	}
	return 0, nil
}

// inBurst tells whether others wait for a turn while this one has waited less than reportPatience.
func (o *pass) inBurst() bool {
	return !o.changed.IsZero() && o.queue.Len() > 0 && o.clock.Since(o.changed) < reportPatience
}

// holds tells whether our finalizer is on the object.
func (o *pass) holds() bool {
	return o.src != nil && slices.Contains(o.src.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(o.owner.Key))
}

// ours tells whether an object of the physical cluster is a copy of ours.
func (o *pass) ours(dst *unstructured.Unstructured) bool {
	return dst != nil && dst.GetLabels()[workloadv1alpha1.LabelKey] == o.owner.Key
}

// String names the object as its user does.
func (o *pass) String() string {
	return fmt.Sprintf("%s %q", o.lane.resource.Kind, o.place.namespace+"/"+o.name)
}

func (o *pass) id() item {
	return item{namespace: o.place.namespace, resource: o.lane.resource.GroupResource, name: o.name}
}
