package sync

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// reconcileNamespaces opens and drains Namespaces as the source says.
func (e *Controller) reconcileNamespaces(ctx context.Context) error {
	plan, catalog := e.source.Plan(), e.catalog.Load()
	if plan == nil {
		return nil
	}
	if catalog == nil || !namesResources(*catalog, plan.Resources) {
		signal(e.rediscover)
		return nil // discovery enqueues this again
	}
	resources := watchable(*catalog, plan)
	named := map[source.Namespace]bool{}
	var toDrain []*source.Assignment
	for i := range plan.Assignments {
		a := &plan.Assignments[i]
		named[a.Namespace] = true
		e.updateRole(a)
		switch {
		case a.IsWithdrawn():
			e.stopReported(a.Namespace)
		case a.Intent == source.Prepare:
			e.stopDraining(a.Namespace)
		case a.Intent == source.Run:
			e.ensureNamespace(ctx, a, nil, resources)
		case !e.isDraining(a, drainOf(plan, a.Namespace), resources):
			toDrain = append(toDrain, a)
		}
	}
	e.forgetUnnamed(named)
	return e.drainNamespaces(ctx, toDrain, resources)
}

// updateRole takes over what this cluster does for a Namespace that is synced.
func (e *Controller) updateRole(a *source.Assignment) {
	p := e.namespace(a.Namespace)
	if p == nil {
		return
	}
	role := roleOf(a)
	before := p.setRole(role)
	if before.first != role.first || before.writesStatus != role.writesStatus {
		for _, l := range p.allResources() {
			e.enqueueAll(p, l)
		}
	}
	if before.record != role.record {
		e.requestReport(p, soon)
	}
}

// isDraining tells whether a Namespace is being drained in this way already, by an earlier live read. Then its resources alone
// may be others.
func (e *Controller) isDraining(a *source.Assignment, ending *drain, resources []discovery.Resource) bool {
	p := e.namespace(a.Namespace)
	if p == nil || !ending.isLike(p.draining()) {
		return false
	}
	e.ensureResources(p, resources)
	return true
}

// drainNamespaces drains Namespaces if a live read of the source says so too.
func (e *Controller) drainNamespaces(ctx context.Context, assignments []*source.Assignment, resources []discovery.Resource) error {
	if len(assignments) == 0 {
		return nil
	}
	live, err := e.source.ReadPlan(ctx)
	if err != nil {
		return err
	}
	for _, a := range assignments {
		if ending := drainOf(live, a.Namespace); ending != nil {
			e.ensureNamespace(ctx, a, ending, resources)
			e.queue.Add(queueKey{namespace: a.Namespace})
		}
	}
	return nil
}

// forgetUnnamed ends the drains of Namespaces that the source no longer names. What is synced in others goes on: that an
// Assignment has vanished ends nothing.
func (e *Controller) forgetUnnamed(named map[source.Namespace]bool) {
	for _, name := range e.drainingNamespaces() {
		if !named[name] {
			e.stopDraining(name)
		}
	}
}

// watchable returns the resources that were reported already: should one no longer be wanted, it is known by that that
// something may have to be removed, and the rights on it stay.
func watchable(catalog []discovery.Resource, plan *source.Plan) []discovery.Resource {
	return slices.DeleteFunc(slices.Clone(catalog), func(r discovery.Resource) bool {
		return !r.IsWatchable() || !slices.ContainsFunc(plan.Reported, func(s workloadv1alpha1.SyncedResourceStatus) bool {
			return s.Group == r.Group && s.Resource == r.Resource
		})
	})
}

// ensureNamespace starts the sync of a Namespace, or changes whether and how it is drained; then all its objects are enqueued.
func (e *Controller) ensureNamespace(ctx context.Context, a *source.Assignment, ending *drain, followed []discovery.Resource) {
	e.mu.Lock()
	p := e.namespaces[a.Namespace]
	if p == nil {
		p = newNamespaceSync(e.owner.Key, a.Namespace)
		p.role = roleOf(a)
		e.namespaces[a.Namespace] = p
		listening, cancel := context.WithCancel(context.Background()) // ends with the Namespace
		p.stopEvents = cancel
		e.watchEvents(listening, p)
		log.FromContext(ctx).Info("Opening", "namespace", a.Namespace.Name, "epoch", a.Epoch, "downstreamNamespace", p.downstreamNamespace, "drain", ending != nil)
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
		e.requestReport(p, soon)
	}
	e.ensureResources(p, followed)
}

// ensureResources watches these resources. One that is no longer served is only no longer watched: nothing is deleted.
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
		e.requestReport(p, soon)
	}
	for gr, l := range p.resources {
		if !keep[gr] {
			p.stopResource(l)
			e.requestReport(p, soon)
			e.queue.Add(queueKey{namespace: p.upstream}) // of which the end may have waited for this resource
		}
	}
}

// startResource starts the informers of a resource in a Namespace.
func (e *Controller) startResource(p *namespaceSync, r discovery.Resource) *resourceSync {
	ctx, cancel := context.WithCancel(context.Background()) // ends with the Namespace
	l := &resourceSync{api: r, stop: cancel, source: e.source.Objects(p.upstream, r.Upstream())}
	l.up = l.source.Cache()
	sides := map[string]*cache.ResourceCache{workspaceSide: l.up}
	if !r.NotServedDownstream() {
		l.down = cache.New(e.down, r.Downstream(), p.downstreamNamespace, e.clock, "")
		sides[clusterSide] = l.down
	}
	for where, s := range sides {
		e.watchSide(ctx, p, l, where, s)
	}
	go e.awaitLists(ctx, p, l)
	return l
}

// watchSide starts the informer of a resource on one side.
func (e *Controller) watchSide(ctx context.Context, p *namespaceSync, l *resourceSync, where string, s *cache.ResourceCache) {
	s.OnChange(func(name string, _ bool) {
		s.NotePending(name)
		e.queue.Add(queueKey{namespace: p.upstream, resource: l.api.GroupResource, name: name})
	})
	s.OnError(func(err error) { e.handleWatchError(ctx, p, l, where, s, err) })
	go s.Run(ctx)
}

// handleWatchError notes that a list or a watch has failed. What a side refuses is reported on each object.
func (e *Controller) handleWatchError(ctx context.Context, p *namespaceSync, l *resourceSync, where string, s *cache.ResourceCache, err error) {
	denied := s.ListError.Load() != nil
	if why := s.RecordListError(err, where, e.clock.Now()); why != "" {
		e.recordListError(l.api.GroupResource, where, listFailure{why, p.upstream, e.clock.Now()})
		if !denied {
			log.FromContext(ctx).Info("A resource cannot be watched", "resource", l.api.String(), "namespace", p.upstream.Name, "cause", why)
			e.enqueueAll(p, l)
		}
	}
	if apierrors.IsNotFound(err) {
		signal(e.rediscover) // it may not be served any more
	}
}

// awaitLists enqueues all objects of a resource when both sides have been listed.
func (e *Controller) awaitLists(ctx context.Context, p *namespaceSync, l *resourceSync) {
	if !l.up.WaitForSync(ctx) {
		return
	}
	if l.isListDenied() {
		e.enqueueAll(p, l) // which may have become known before
	}
	if l.down != nil && !l.down.WaitForSync(ctx) {
		return
	}
	e.clearListError(l.api.GroupResource)
	p.markUnsynced(l, e.clock.Now())
	e.enqueueAll(p, l)
	e.requestReport(p, atOnce)
}

// enqueueAll enqueues all known objects of a resource in a Namespace, and the Namespace, which may wait for nothing else.
func (e *Controller) enqueueAll(p *namespaceSync, l *resourceSync) {
	names := l.up.Names()
	if l.down != nil {
		names = append(names, l.down.Names()...)
	}
	for _, name := range names {
		e.queue.Add(queueKey{namespace: p.upstream, resource: l.api.GroupResource, name: name})
	}
	e.queue.Add(queueKey{namespace: p.upstream})
}

// stopNamespace ends the sync of a Namespace that has been drained.
func (e *Controller) stopNamespace(p *namespaceSync) {
	p.stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.namespaces[p.upstream] == p {
		delete(e.namespaces, p.upstream)
	}
}

// stopReported ends the sync of a Namespace that was reported as drained, if the answer to the report was lost.
func (e *Controller) stopReported(namespace source.Namespace) {
	if p := e.namespace(namespace); p != nil {
		e.stopNamespace(p)
	}
}

// stopDraining ends the sync of a Namespace that was being drained, and in which the syncer has no rights any more. Nothing is
// deleted by that.
func (e *Controller) stopDraining(namespace source.Namespace) {
	if p := e.namespace(namespace); p != nil && p.draining() != nil {
		e.stopNamespace(p)
	}
}

// namespace returns the sync of a Namespace, nil for none.
func (e *Controller) namespace(name source.Namespace) *namespaceSync {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.namespaces[name]
}

// drainingNamespaces are the Namespaces that are being left.
func (e *Controller) drainingNamespaces() []source.Namespace {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []source.Namespace
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
	namespace source.Namespace
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
