package resource

import (
	"maps"
	"slices"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// lateAfter is how long a change may be on its way to the physical cluster before its Namespace is not synced any more.
const lateAfter = 10 * time.Second

// syncedNamespaces are the open ones in which nothing is missing, and no change has waited for long.
func (e *Engine) syncedNamespaces(catalog []Resource, told workloadv1alpha1.SyncTargetStatus) []string {
	e.mu.Lock()
	places := maps.Clone(e.places)
	e.mu.Unlock()
	names := []string{}
	for _, n := range told.Namespaces {
		if n.State == workloadv1alpha1.NamespaceOpen && e.isSynced(places[n.Name], catalog, slices.Contains(told.SyncedNamespaces, n.Name)) {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}

// isSynced tells it of one; until everything has been looked at once, as after a start, it is as was told before.
func (e *Engine) isSynced(p *place, catalog []Resource, told bool) bool {
	if p == nil {
		return told
	}
	begun := true
	for _, r := range catalog {
		switch l := p.lane(r.GroupResource); {
		case !r.followed(), l != nil && l.isBarred():
		case l == nil, !l.begun.Load():
			begun = false
		case e.isLate(p, l):
			return false
		}
	}
	all, before := p.missesNothing() // a lane that has begun has said before what it misses
	if all = all && begun; all {
		p.setComplete()
	}
	return p.ending() == nil && (all || told && !before)
}

// isLate tells whether a change of an object has been on its way for long, or its copy has been gone, and the object does not
// say why. It counts from when the lane began.
func (e *Engine) isLate(p *place, l *lane) (late bool) {
	of := func(name string) bool {
		o, _ := l.up.objects.get(p.namespace + "/" + name)
		return o != nil && wanted(o) && !e.isExplained(p, l, o)
	}
	isOld := func(since time.Time) bool {
		return e.clock.Since(since) > lateAfter && e.clock.Since(l.began) > lateAfter
	}
	l.up.waiting(func(name string, since time.Time) bool {
		late = isOld(since) && of(name)
		return !late
	})
	if late || l.down == nil {
		return late
	}
	l.down.waiting(func(name string, since time.Time) bool {
		copy, _ := l.down.objects.get(p.counterpart + "/" + name)
		late = copy == nil && isOld(since) && of(name)
		return !late
	})
	return late
}

// isExplained tells whether it is told that, and why, an object is not as it should be.
func (e *Engine) isExplained(p *place, l *lane, o *unstructured.Unstructured) bool {
	report := parseReport(e.told(o))
	return isUnmarked(p, l, o) || report.blamed() || report.Ready == string(kstatus.FailedStatus)
}

// isUnmarked tells whether the workspace refuses our marks on an object.
func isUnmarked(p *place, l *lane, o *unstructured.Unstructured) bool {
	return !p.remembered(l.resource.GroupResource, o.GetName()).unmarked.IsZero()
}

// miss notes what is to be brought to the physical cluster before the place is synced.
func (p *place) miss(l *lane, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lanes[l.resource.GroupResource] != l {
		return // it is followed no more, or anew
	}
	for _, name := range l.up.names() {
		p.missing[item{namespace: p.namespace, resource: l.resource.GroupResource, name: name}] = true
	}
	if !l.begun.Load() {
		l.began = now
		l.begun.Store(true)
	}
}

// met notes that a pass has dealt with an object, and tells whether it was the last one that was missing.
func (p *place) met(i item) (last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.missing[i] {
		return false
	}
	if delete(p.missing, i); len(p.missing) > 0 {
		return false
	}
	p.missing = map[item]bool{} // a map does not shrink
	return true
}

// missesNothing tells whether all is there that was to be brought, and before, whether that was so before.
func (p *place) missesNothing() (now, before bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.missing) == 0, p.complete
}

// setComplete notes that nothing was missing, or that what is from now on is new.
func (p *place) setComplete() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complete = true
}
