package sync

import (
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// lateAfter is how long a change may take to reach the physical cluster before its Namespace no longer counts as synced.
const lateAfter = 10 * time.Second

// findings finds out how an assigned Namespace fares. What was reported before is about the same epoch, or empty.
func (e *Controller) findings(p *namespaceSync, catalog []discovery.Resource, before source.Report) findings {
	told := meta.IsStatusConditionTrue(before.Conditions, workloadv1alpha1.ConditionApplied)
	found := findings{synced: e.isNamespaceSynced(p, catalog, told), counted: true}
	for _, r := range catalog {
		l := p.resource(r.GroupResource)
		if l == nil {
			found.counted = found.counted && !r.IsWatchable()
			continue
		}
		found.counted = found.counted && (l.counts.isComplete() || l.isListDenied())
		found.add(l)
	}
	if !found.counted {
		found.objects = atLeast(found.objects, before.Objects)
	}
	return found
}

// add adds the objects of a resource.
func (f *findings) add(l *resourceSync) {
	sum := l.counts.sum()
	f.objects.Applied += sum.Applied
	f.objects.Failing += sum.Failing
	f.objects.BoundClaims += sum.BoundClaims
	failing, notReady := l.counts.first()
	if failing != "" && f.failing == "" {
		f.failing = objectNamed(l.api.GroupResource, failing)
	}
	if notReady != "" && f.notReady == "" {
		f.notReady = objectNamed(l.api.GroupResource, notReady)
	}
}

// atLeast is the greater of each count.
func atLeast(a, b workloadv1alpha1.AssignmentObjects) workloadv1alpha1.AssignmentObjects {
	return workloadv1alpha1.AssignmentObjects{
		Applied: max(a.Applied, b.Applied), Failing: max(a.Failing, b.Failing), BoundClaims: max(a.BoundClaims, b.BoundClaims),
	}
}

// isNamespaceSynced tells whether a Namespace is synced. Until all its objects have been dealt with once, as after a
// restart, what was reported before stands. It also stands while a watch fails and nothing is known to be missing, since
// there may be changes that are not seen.
func (e *Controller) isNamespaceSynced(p *namespaceSync, catalog []discovery.Resource, told bool) bool {
	if p == nil {
		return told
	}
	begun, healthy := true, true
	for _, r := range catalog {
		switch l := p.resource(r.GroupResource); {
		case !r.IsWatchable(), l != nil && l.isListDenied():
		case l == nil, !l.listed.Load():
			begun = false
		case e.isLate(p, l):
			return false
		case l.hasUnhealthyWatch(e.clock.Now()):
			healthy = false
		}
	}
	complete, before := p.allSynced() // a resource that has been listed has marked its objects before
	switch {
	case p.draining() != nil:
		return false
	case complete && begun && healthy:
		p.setInitiallySynced()
		return true
	case complete && begun:
		return told
	}
	return told && !before
}

// isLate tells whether a change of an object has waited for long, or its copy has been missing for long, and the object does not say
// why. The time counts from when the resource was listed. Only objects of which a change has waited for long are read.
func (e *Controller) isLate(p *namespaceSync, l *resourceSync) (late bool) {
	of := func(name string) bool {
		o, _ := l.up.Objects.Get(p.upstream.Key(name))
		return o != nil && transform.IsWanted(o) && !e.isFailing(p, l, o)
	}
	isMissing := func(name string) bool {
		dst, _ := l.down.Objects.Get(p.downstreamNamespace + "/" + name)
		return dst == nil
	}
	isOld := func(since time.Time) bool {
		return e.clock.Since(since) > lateAfter && e.clock.Since(l.listedAt) > lateAfter
	}
	l.up.RangePending(func(name string, since time.Time) bool {
		late = isOld(since) && of(name)
		return !late
	})
	if late || l.down == nil {
		return late
	}
	l.down.RangePending(func(name string, since time.Time) bool {
		late = isOld(since) && isMissing(name) && of(name)
		return !late
	})
	return late
}

// isFailing tells whether the object says itself that, and why, its copy is not as it should be.
func (e *Controller) isFailing(p *namespaceSync, l *resourceSync, o *unstructured.Unstructured) bool {
	report := rejection.ParseReport(e.syncAnnotation(o))
	return isMetadataRejected(p, l, o) || report.Rejected() || report.Deviates() || report.Ready == string(kstatus.FailedStatus)
}

// isMetadataRejected tells whether the workspace refuses our finalizer and annotation on an object.
func isMetadataRejected(p *namespaceSync, l *resourceSync, o *unstructured.Unstructured) bool {
	return !p.objectState(l.api.GroupResource, o.GetName()).metadataRejectedAt.IsZero()
}

// markUnsynced notes the objects that must be dealt with before the Namespace counts as synced.
func (p *namespaceSync) markUnsynced(l *resourceSync, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resources[l.api.GroupResource] != l {
		return // it is no longer watched, or watched anew
	}
	names := l.up.Names()
	for _, name := range names {
		p.unsynced[queueKey{namespace: p.upstream, resource: l.api.GroupResource, name: name}] = true
	}
	if !l.listed.Load() {
		l.listedAt = now
		l.counts.expect(names)
		l.listed.Store(true)
	}
}

// markSynced notes that a pass has dealt with an object, and tells whether it was the last one that was waited for.
func (p *namespaceSync) markSynced(i queueKey) (last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.unsynced[i] {
		return false
	}
	if delete(p.unsynced, i); len(p.unsynced) > 0 {
		return false
	}
	p.unsynced = map[queueKey]bool{} // a map does not shrink
	return true
}

// allSynced tells whether all noted objects have been dealt with, now and at some time before.
func (p *namespaceSync) allSynced() (now, before bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.unsynced) == 0, p.initiallySynced
}

// setInitiallySynced notes that all noted objects have been dealt with once, or that those noted from now on are new.
func (p *namespaceSync) setInitiallySynced() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.initiallySynced = true
}
