package resource

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// plan opens and closes places as the SyncTarget's status says.
func (e *Engine) plan(ctx context.Context) error {
	target, catalog := e.current(), e.catalog.Load()
	if target == nil {
		return nil
	}
	if catalog == nil || !names(*catalog, target.Spec.Synced()) {
		signal(e.asked)
		return nil // comes back when it is known
	}
	followed := followable(*catalog, target)
	live := sync.OnceValues(func() (*workloadv1alpha1.SyncTarget, error) { return e.ask(ctx) })
	named := map[string]bool{}
	var failures []error
	for _, n := range target.Status.Namespaces {
		named[n.Name] = true
		drained := slices.Contains(target.Status.DrainedNamespaces, n.Name)
		var err error
		switch n.State {
		case workloadv1alpha1.NamespaceOpen:
			if drained {
				// Taken back before anything is begun: our rights are about to be withdrawn on it.
				if err = e.reportDrained(ctx, n.Name, false); err != nil {
					break
				}
			}
			e.openPlace(ctx, n.Name, nil, followed)
		case workloadv1alpha1.NamespaceClosing:
			if drained {
				e.stopLeft(n.Name) // if the answer to our report was lost
				continue
			}
			var said *workloadv1alpha1.SyncTarget
			if said, err = live(); err != nil {
				break
			}
			if ending := e.endOf(said, n.Name); ending != nil {
				e.openPlace(ctx, n.Name, ending, followed)
				e.queue.Add(item{namespace: n.Name})
			}
		}
		if err != nil {
			failures = append(failures, err)
		}
	}
	for _, name := range e.closingPlaces() {
		if !named[name] {
			e.stopLeft(name)
		}
	}
	for _, name := range target.Status.DrainedNamespaces {
		if !named[name] {
			failures = append(failures, e.reportDrained(ctx, name, false))
		}
	}
	return errors.Join(failures...)
}

// followable returns the resources of which the SyncTarget's status tells already: should the spec no longer name one, it is
// known by that that something may have to be removed, and the rights on it stay.
func followable(catalog []Resource, target *workloadv1alpha1.SyncTarget) []Resource {
	return slices.DeleteFunc(slices.Clone(catalog), func(r Resource) bool {
		return !r.followed() || !slices.ContainsFunc(target.Status.SyncedResources, func(s workloadv1alpha1.SyncedResourceStatus) bool {
			return s.Group == r.Group && s.Resource == r.Resource
		})
	})
}

// openPlace makes a place what it should be, and has everything in it looked at when that is something new.
func (e *Engine) openPlace(ctx context.Context, namespace string, ending *closing, followed []Resource) {
	e.mu.Lock()
	p := e.places[namespace]
	if p == nil {
		p = newPlace(e.owner.Key, namespace)
		e.places[namespace] = p
		listening, cancel := context.WithCancel(context.Background()) // ends with the place
		p.deafen = cancel
		e.listen(listening, p)
		log.FromContext(ctx).Info("Opening", "namespace", namespace, "counterpart", p.counterpart, "closing", ending != nil)
	}
	e.mu.Unlock()
	if p.setEnding(ending) {
		p.setComplete()
		for _, l := range p.all() {
			if ending == nil && l.begun.Load() {
				p.miss(l, e.clock.Now())
			}
			e.lookAtAll(p, l)
		}
		signal(e.learned) // that it is not synced any more, before it may be opened again
	}
	e.ensureLanes(p, followed)
}

// ensureLanes follows these resources. One that is no longer served is only no longer followed.
func (e *Engine) ensureLanes(p *place, followed []Resource) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	keep := map[workloadv1alpha1.GroupResource]bool{}
	for _, r := range followed {
		keep[r.GroupResource] = true
		if l := p.lanes[r.GroupResource]; l != nil {
			if l.resource.sameWay(r) {
				continue
			}
			p.end(l)
		}
		p.lanes[r.GroupResource] = e.newLane(p, r)
	}
	for gr, l := range p.lanes {
		if !keep[gr] {
			p.end(l)
		}
	}
}

// newLane starts the informers of a resource in a place.
func (e *Engine) newLane(p *place, r Resource) *lane {
	ctx, cancel := context.WithCancel(context.Background()) // ends with the place
	l := &lane{
		resource: r, stop: cancel,
		up: newSide(e.up, r.upstream(), p.namespace, e.clock, ""),
	}
	sides := map[string]*side{workspaceSide: l.up}
	if !r.stranded() {
		l.down = newSide(e.down, r.downstream(), p.counterpart, e.clock, "")
		sides[clusterSide] = l.down
	}
	for where, s := range sides {
		_ = s.follow(func(name string, _ bool) {
			s.seen.LoadOrStore(name, e.clock.Now())
			e.queue.Add(item{namespace: p.namespace, resource: r.GroupResource, name: name})
		})
		_ = s.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			barred := s.barred.Load() != nil
			if why := s.bar(err, where, e.clock.Now()); why != "" {
				e.note(r.GroupResource, where, refused{why, p.namespace, e.clock.Now()})
				if !barred {
					log.FromContext(ctx).Info("A resource cannot be followed", "resource", r.String(), "namespace", p.namespace, "cause", why)
					e.lookAtAll(p, l) // each object is told
				}
			}
			if apierrors.IsNotFound(err) {
				signal(e.asked) // it is served no more
			}
		})
		go s.informer.RunWithContext(ctx)
	}
	go func() {
		if !cache.WaitFor(ctx, "", l.up.informer.HasSyncedChecker()) {
			return
		}
		if l.isBarred() {
			e.lookAtAll(p, l) // which may have become known before
		}
		if l.down == nil || cache.WaitFor(ctx, "", l.down.informer.HasSyncedChecker()) {
			e.listed(r.GroupResource)
			p.miss(l, e.clock.Now())
			e.lookAtAll(p, l)
			if all, _ := p.missesNothing(); all {
				signal(e.learned)
			}
		}
	}()
	return l
}

// lookAtAll queues everything that is known of a resource in a place, and the place, which may wait for nothing else.
func (e *Engine) lookAtAll(p *place, l *lane) {
	names := l.up.names()
	if l.down != nil {
		names = append(names, l.down.names()...)
	}
	for _, name := range names {
		e.queue.Add(item{namespace: p.namespace, resource: l.resource.GroupResource, name: name})
	}
	e.queue.Add(item{namespace: p.namespace})
}

// stopPlace ends a place that has been left.
func (e *Engine) stopPlace(p *place) {
	p.stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.places[p.namespace] == p {
		delete(e.places, p.namespace)
	}
}

// stopLeft ends the place of a Namespace that is known to have been left: we have no rights in it any more.
func (e *Engine) stopLeft(namespace string) {
	e.mu.Lock()
	p := e.places[namespace]
	e.mu.Unlock()
	if p != nil {
		e.stopPlace(p)
	}
}

// closingPlaces are the Namespaces that are being left.
func (e *Engine) closingPlaces() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for name, p := range e.places {
		if p.ending() != nil {
			names = append(names, name)
		}
	}
	return names
}

// refusalLife is how long it is told that a side refuses to list a resource: the informer asks again twice a minute at least.
const refusalLife = 2 * time.Minute

// The two sides.
const (
	workspaceSide = "workspace"
	clusterSide   = "physical cluster"
)

// refused is how a side refuses to list a resource in a Namespace, and when it last did.
type refused struct {
	message   string
	namespace string
	at        time.Time
}

// followedOn is a resource on a side.
type followedOn struct {
	resource workloadv1alpha1.GroupResource
	side     string
}

// note keeps what is said of one Namespace as long as it is: of another the words differ, if only by its name, and each
// change is a write.
func (e *Engine) note(resource workloadv1alpha1.GroupResource, side string, r refused) {
	e.mu.Lock()
	defer e.mu.Unlock()
	on := followedOn{resource, side}
	before, ok := e.refused[on]
	if ok && before.namespace != r.namespace && e.places[before.namespace] != nil && e.clock.Since(before.at) <= refusalLife {
		return
	}
	e.refused[on] = r
	signal(e.changed)
}

// listed notes that a side does not refuse any more. Should it do so in another Namespace, that is heard again.
func (e *Engine) listed(resource workloadv1alpha1.GroupResource) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.refused, followedOn{resource, workspaceSide})
	delete(e.refused, followedOn{resource, clusterSide})
	signal(e.changed)
}

// forgetRefusals lets go of those that have not been heard again.
func (e *Engine) forgetRefusals() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for on, r := range e.refused {
		if e.clock.Since(r.at) > refusalLife {
			delete(e.refused, on)
			signal(e.changed)
		}
	}
}
