package sync

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
)

// reconcileNamespaces opens and closes places as the SyncTarget's status says.
func (e *Controller) reconcileNamespaces(ctx context.Context) error {
	target, catalog := e.cachedTarget(), e.catalog.Load()
	if target == nil {
		return nil
	}
	if catalog == nil || !namesResources(*catalog, target.Spec.Synced()) {
		signal(e.rediscover)
		return nil // comes back when it is known
	}
	followed := watchable(*catalog, target)
	live := sync.OnceValues(func() (*workloadv1alpha1.SyncTarget, error) { return e.readTarget(ctx) })
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
				if err = e.writeDrained(ctx, n.Name, false); err != nil {
					break
				}
			}
			e.ensureNamespace(ctx, n.Name, nil, followed)
		case workloadv1alpha1.NamespaceClosing:
			if drained {
				e.stopDrained(n.Name) // if the answer to our report was lost
				continue
			}
			var said *workloadv1alpha1.SyncTarget
			if said, err = live(); err != nil {
				break
			}
			if ending := e.drainOf(said, n.Name); ending != nil {
				e.ensureNamespace(ctx, n.Name, ending, followed)
				e.queue.Add(queueKey{namespace: n.Name})
			}
		}
		if err != nil {
			failures = append(failures, err)
		}
	}
	for _, name := range e.drainingNamespaces() {
		if !named[name] {
			e.stopDrained(name)
		}
	}
	for _, name := range target.Status.DrainedNamespaces {
		if !named[name] {
			failures = append(failures, e.writeDrained(ctx, name, false))
		}
	}
	return errors.Join(failures...)
}

// watchable returns the resources of which the SyncTarget's status tells already: should the spec no longer name one, it is
// known by that that something may have to be removed, and the rights on it stay.
func watchable(catalog []discovery.Resource, target *workloadv1alpha1.SyncTarget) []discovery.Resource {
	return slices.DeleteFunc(slices.Clone(catalog), func(r discovery.Resource) bool {
		return !r.IsWatchable() || !slices.ContainsFunc(target.Status.SyncedResources, func(s workloadv1alpha1.SyncedResourceStatus) bool {
			return s.Group == r.Group && s.Resource == r.Resource
		})
	})
}

// ensureNamespace makes a place what it should be, and has everything in it looked at when that is something new.
func (e *Controller) ensureNamespace(ctx context.Context, namespace string, ending *drain, followed []discovery.Resource) {
	e.mu.Lock()
	p := e.namespaces[namespace]
	if p == nil {
		p = newNamespaceSync(e.owner.Key, namespace)
		e.namespaces[namespace] = p
		listening, cancel := context.WithCancel(context.Background()) // ends with the place
		p.stopEvents = cancel
		e.watchEvents(listening, p)
		log.FromContext(ctx).Info("Opening", "namespace", namespace, "counterpart", p.downstreamNamespace, "closing", ending != nil)
	}
	e.mu.Unlock()
	if p.setDrain(ending) {
		p.setInitiallySynced()
		for _, l := range p.allResources() {
			if ending == nil && l.listed.Load() {
				p.markUnsynced(l, e.clock.Now())
			}
			e.enqueueAll(p, l)
		}
		signal(e.statusUrgent) // that it is not synced any more, before it may be opened again
	}
	e.ensureResources(p, followed)
}

// ensureResources follows these resources. One that is no longer served is only no longer followed.
func (e *Controller) ensureResources(p *namespaceSync, followed []discovery.Resource) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	keep := map[workloadv1alpha1.GroupResource]bool{}
	for _, r := range followed {
		keep[r.GroupResource] = true
		if l := p.resources[r.GroupResource]; l != nil {
			if l.api.SyncsLike(r) {
				continue
			}
			p.stopResource(l)
		}
		p.resources[r.GroupResource] = e.startResource(p, r)
	}
	for gr, l := range p.resources {
		if !keep[gr] {
			p.stopResource(l)
		}
	}
}

// startResource starts the informers of a resource in a place.
func (e *Controller) startResource(p *namespaceSync, r discovery.Resource) *resourceSync {
	ctx, cancel := context.WithCancel(context.Background()) // ends with the place
	l := &resourceSync{
		api: r, stop: cancel,
		up: cache.New(e.up, r.Upstream(), p.upstreamNamespace, e.clock, ""),
	}
	sides := map[string]*cache.ResourceCache{workspaceSide: l.up}
	if !r.NotServedDownstream() {
		l.down = cache.New(e.down, r.Downstream(), p.downstreamNamespace, e.clock, "")
		sides[clusterSide] = l.down
	}
	for where, s := range sides {
		_ = s.AddEventHandler(func(name string, _ bool) {
			s.NotePending(name)
			e.queue.Add(queueKey{namespace: p.upstreamNamespace, resource: r.GroupResource, name: name})
		})
		_ = s.Informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *toolscache.Reflector, err error) {
			barred := s.ListError.Load() != nil
			if why := s.RecordListError(err, where, e.clock.Now()); why != "" {
				e.recordListError(r.GroupResource, where, listFailure{why, p.upstreamNamespace, e.clock.Now()})
				if !barred {
					log.FromContext(ctx).Info("A resource cannot be followed", "resource", r.String(), "namespace", p.upstreamNamespace, "cause", why)
					e.enqueueAll(p, l) // each object is told
				}
			}
			if apierrors.IsNotFound(err) {
				signal(e.rediscover) // it is served no more
			}
		})
		go s.Informer.RunWithContext(ctx)
	}
	go func() {
		if !toolscache.WaitFor(ctx, "", l.up.Informer.HasSyncedChecker()) {
			return
		}
		if l.isListDenied() {
			e.enqueueAll(p, l) // which may have become known before
		}
		if l.down == nil || toolscache.WaitFor(ctx, "", l.down.Informer.HasSyncedChecker()) {
			e.clearListError(r.GroupResource)
			p.markUnsynced(l, e.clock.Now())
			e.enqueueAll(p, l)
			if all, _ := p.allSynced(); all {
				signal(e.statusUrgent)
			}
		}
	}()
	return l
}

// enqueueAll queues everything that is known of a resource in a place, and the place, which may wait for nothing else.
func (e *Controller) enqueueAll(p *namespaceSync, l *resourceSync) {
	names := l.up.Names()
	if l.down != nil {
		names = append(names, l.down.Names()...)
	}
	for _, name := range names {
		e.queue.Add(queueKey{namespace: p.upstreamNamespace, resource: l.api.GroupResource, name: name})
	}
	e.queue.Add(queueKey{namespace: p.upstreamNamespace})
}

// stopNamespace ends a place that has been left.
func (e *Controller) stopNamespace(p *namespaceSync) {
	p.stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.namespaces[p.upstreamNamespace] == p {
		delete(e.namespaces, p.upstreamNamespace)
	}
}

// stopDrained ends the place of a Namespace that is known to have been left: we have no rights in it any more.
func (e *Controller) stopDrained(namespace string) {
	e.mu.Lock()
	p := e.namespaces[namespace]
	e.mu.Unlock()
	if p != nil {
		e.stopNamespace(p)
	}
}

// drainingNamespaces are the Namespaces that are being left.
func (e *Controller) drainingNamespaces() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for name, p := range e.namespaces {
		if p.draining() != nil {
			names = append(names, name)
		}
	}
	return names
}

// The two sides.
const (
	workspaceSide = "workspace"
	clusterSide   = "physical cluster"
)

// listFailure is how a side refuses to list a resource in a Namespace, and when it last did.
type listFailure struct {
	message   string
	namespace string
	at        time.Time
}

// resourceOnSide is a resource on a side.
type resourceOnSide struct {
	resource workloadv1alpha1.GroupResource
	side     string
}

// recordListError keeps what is said of one Namespace as long as it is: of another the words differ, if only by its name, and each
// change is a write.
func (e *Controller) recordListError(resource workloadv1alpha1.GroupResource, side string, r listFailure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	on := resourceOnSide{resource, side}
	before, ok := e.listErrors[on]
	if ok && before.namespace != r.namespace && e.namespaces[before.namespace] != nil && e.clock.Since(before.at) <= cache.ListErrorLifetime {
		return
	}
	e.listErrors[on] = r
	signal(e.statusDirty)
}

// clearListError notes that a side does not refuse any more. Should it do so in another Namespace, that is heard again.
func (e *Controller) clearListError(resource workloadv1alpha1.GroupResource) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.listErrors, resourceOnSide{resource, workspaceSide})
	delete(e.listErrors, resourceOnSide{resource, clusterSide})
	signal(e.statusDirty)
}

// expireListErrors lets go of those that have not been heard again.
func (e *Controller) expireListErrors() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for on, r := range e.listErrors {
		if e.clock.Since(r.at) > cache.ListErrorLifetime {
			delete(e.listErrors, on)
			signal(e.statusDirty)
		}
	}
}
