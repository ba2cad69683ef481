package kcpprovider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	kcpcache "github.com/kcp-dev/apimachinery/v2/pkg/cache"
	"github.com/kcp-dev/logicalcluster/v3"
	mcpcache "github.com/kcp-dev/multicluster-provider/pkg/cache"
)

// wildcardCache holds the objects of all logical clusters of one endpoint, of a fixed set of kinds. Of an optional kind it holds
// none before watch.
type wildcardCache struct {
	mcpcache.WildcardCache
	scheme       *runtime.Scheme
	distributors map[kind]*distributor
}

// kind is what one informer watches.
type kind struct {
	schema.GroupVersionKind
	// metadataOnly: only the metadata of the objects are watched.
	metadataOnly bool
}

// kindOf returns the kind of an object, or of the items of a list.
func kindOf(object runtime.Object, scheme *runtime.Scheme) (kind, error) {
	gvk, err := apiutil.GVKForObject(object, scheme)
	if err != nil {
		return kind{}, fmt.Errorf("finding the kind of %T: %w", object, err)
	}
	if meta.IsListType(object) {
		gvk.Kind = strings.TrimSuffix(gvk.Kind, "List") // a list of metadata may have the kind of its items
	}
	switch object.(type) {
	case *metav1.PartialObjectMetadata, *metav1.PartialObjectMetadataList:
		return kind{gvk, true}, nil
	}
	return kind{gvk, false}, nil
}

// configFor returns a copy of a config that leads to another URL.
func configFor(base *rest.Config, url string) *rest.Config {
	config := rest.CopyConfig(base)
	config.Host = url
	return config
}

// newWildcardCache returns a cache that is not started. It sends no request.
func newWildcardCache(ctx context.Context, s *Supervisor, url string) (*wildcardCache, error) {
	base, err := mcpcache.NewWildcardCache(configFor(s.Config, url), cache.Options{
		HTTPClient: s.httpClient, Scheme: s.Scheme, Mapper: s.Mapper, DefaultTransform: cache.TransformStripManagedFields(), ByObject: s.ByObject,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the caches of %s: %w", url, err)
	}
	w := &wildcardCache{WildcardCache: base, scheme: s.Scheme, distributors: map[kind]*distributor{}}
	for _, object := range slices.Concat(s.Kinds, s.Optional) {
		watched, err := kindOf(object, s.Scheme)
		if err != nil {
			return nil, err
		}
		w.distributors[watched] = newDistributor(slices.Contains(s.Optional, object))
	}
	for _, object := range s.Kinds {
		if err := w.watch(ctx, object); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// watch gives a kind its informer, and hands the events of it to the handlers of all logical clusters, those included that were
// added before. It does not wait until the informer is filled.
func (w *wildcardCache) watch(ctx context.Context, object client.Object) error {
	d, err := w.distributor(object)
	if err != nil {
		return err
	}
	informer, err := w.GetInformer(ctx, object, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("creating the informer of %T: %w", object, err)
	}
	if err := d.follow(informer.(toolscache.SharedIndexInformer)); err != nil {
		return fmt.Errorf("watching objects of %T: %w", object, err)
	}
	return nil
}

// distributor returns the distributor of the kind of an object or list, or an error if the kind is not watched.
func (w *wildcardCache) distributor(object runtime.Object) (*distributor, error) {
	wanted, err := kindOf(object, w.scheme)
	if err != nil {
		return nil, err
	}
	found := w.distributors[wanted]
	if found == nil {
		return nil, fmt.Errorf("objects of kind %s (metadata only: %t) are not watched in logical clusters", wanted.Kind, wanted.metadataOnly)
	}
	return found, nil
}

// GetSharedInformer implements mcpcache.WildcardCache. It never starts an informer: that would block a caller until the
// informer has listed all objects.
func (w *wildcardCache) GetSharedInformer(object runtime.Object) (toolscache.SharedIndexInformer, schema.GroupVersionKind, meta.RESTScopeName, error) {
	d, err := w.distributor(object)
	if err != nil {
		return nil, schema.GroupVersionKind{}, "", err
	}
	if informer := d.source(); informer == nil || d.optional && !informer.HasSynced() {
		return nil, schema.GroupVersionKind{}, "", fmt.Errorf("objects of %T are not in the cache of this endpoint yet", object)
	}
	return w.WildcardCache.GetSharedInformer(object)
}

// distributor is the one handler of an informer for all logical clusters. It hands each event to the handlers of the logical
// cluster of the object, so that the cost of an event does not depend on how many there are.
type distributor struct {
	// optional: nobody waits until the informer is filled.
	optional bool
	// informer is nil until the kind is watched. It is not guarded by mu: handlers read from the cache.
	informer atomic.Pointer[toolscache.SharedIndexInformer]
	mu       sync.RWMutex
	handlers map[logicalcluster.Name][]*registration
}

// registration is a handler of one logical cluster.
type registration struct {
	*distributor
	name    logicalcluster.Name
	handler toolscache.ResourceEventHandler
}

// HasSynced implements cache.ResourceEventHandlerRegistration: what was in the cache was delivered by register.
func (r *registration) HasSynced() bool { return r.hasSynced() }

// HasSyncedChecker implements cache.ResourceEventHandlerRegistration.
func (r *registration) HasSyncedChecker() toolscache.DoneChecker { return r.hasSyncedChecker() }

func newDistributor(optional bool) *distributor {
	return &distributor{optional: optional, handlers: map[logicalcluster.Name][]*registration{}}
}

// follow distributes the events of an informer.
func (d *distributor) follow(informer toolscache.SharedIndexInformer) error {
	d.informer.Store(&informer)
	_, err := informer.AddEventHandler(d)
	return err
}

// source returns the informer, nil while the kind is not watched.
func (d *distributor) source() toolscache.SharedIndexInformer {
	if informer := d.informer.Load(); informer != nil {
		return *informer
	}
	return nil
}

func (d *distributor) hasSynced() bool { return d.optional || d.source().HasSynced() }

func (d *distributor) hasSyncedChecker() toolscache.DoneChecker {
	if d.optional {
		return done{}
	}
	return d.source().HasSyncedChecker()
}

// done is the checker of what nobody waits for.
type done struct{}

// Name implements toolscache.DoneChecker.
func (done) Name() string { return "optional kind" }

// Done implements toolscache.DoneChecker.
func (done) Done() <-chan struct{} {
	closed := make(chan struct{})
	close(closed)
	return closed
}

// register adds a handler for one logical cluster, and delivers what the cache holds of that logical cluster. An event that
// is under way may be delivered once more, but none is lost: the cache is updated before its event is distributed.
func (d *distributor) register(name logicalcluster.Name, handler toolscache.ResourceEventHandler) (*registration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if informer := d.source(); informer != nil {
		objects, err := informer.GetIndexer().ByIndex(kcpcache.ClusterIndexName, name.String())
		if err != nil {
			return nil, fmt.Errorf("reading the cache of logical cluster %q: %w", name, err)
		}
		for _, object := range objects {
			handler.OnAdd(object, true)
		}
	}
	added := &registration{distributor: d, name: name, handler: handler}
	d.handlers[name] = append(d.handlers[name], added)
	return added, nil
}

// unregister removes a handler.
func (d *distributor) unregister(removed *registration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(d.handlers[removed.name]), func(r *registration) bool { return r == removed })
	if len(left) == 0 {
		delete(d.handlers, removed.name)
		return
	}
	d.handlers[removed.name] = left
}

// of returns the handlers of the logical cluster of an object.
func (d *distributor) of(object any) []*registration {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.handlers[clusterOf(object)]
}

// OnAdd implements cache.ResourceEventHandler.
func (d *distributor) OnAdd(object any, isInInitialList bool) {
	for _, r := range d.of(object) {
		r.handler.OnAdd(object, isInInitialList)
	}
}

// OnUpdate implements cache.ResourceEventHandler.
func (d *distributor) OnUpdate(before, after any) {
	for _, r := range d.of(after) {
		r.handler.OnUpdate(before, after)
	}
}

// OnDelete implements cache.ResourceEventHandler.
func (d *distributor) OnDelete(object any) {
	for _, r := range d.of(object) {
		r.handler.OnDelete(object)
	}
}

// clusterOf returns the logical cluster of an object, or of the last known state of one that was deleted.
func clusterOf(object any) logicalcluster.Name {
	if deleted, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = deleted.Obj
	}
	return logicalcluster.From(object.(client.Object))
}

// errFixed: the informers of a logical cluster are those of its endpoint.
var errFixed = errors.New("not supported by the informers of a logical cluster")

// scopedInformer is the informer of one kind in one logical cluster.
type scopedInformer struct {
	*distributor
	name logicalcluster.Name
}

var _ cache.Informer = (*scopedInformer)(nil)

// AddEventHandler implements cache.Informer.
func (i *scopedInformer) AddEventHandler(handler toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.register(i.name, handler)
}

// AddEventHandlerWithResyncPeriod implements cache.Informer. There are no resyncs.
func (i *scopedInformer) AddEventHandlerWithResyncPeriod(handler toolscache.ResourceEventHandler, period time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	if period != 0 {
		return nil, fmt.Errorf("a resync every %s: %w", period, errFixed)
	}
	return i.register(i.name, handler)
}

// AddEventHandlerWithOptions implements cache.Informer. There are no resyncs.
func (i *scopedInformer) AddEventHandlerWithOptions(handler toolscache.ResourceEventHandler, options toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	if options.ResyncPeriod != nil {
		return i.AddEventHandlerWithResyncPeriod(handler, *options.ResyncPeriod)
	}
	return i.register(i.name, handler)
}

// RemoveEventHandler implements cache.Informer.
func (i *scopedInformer) RemoveEventHandler(handle toolscache.ResourceEventHandlerRegistration) error {
	r, ok := handle.(*registration)
	if !ok || r.distributor != i.distributor {
		return fmt.Errorf("removing %T: %w", handle, errFixed)
	}
	i.unregister(r)
	return nil
}

// AddIndexers implements cache.Informer; see Supervisor.IndexField.
func (i *scopedInformer) AddIndexers(toolscache.Indexers) error {
	return fmt.Errorf("adding indexers: %w", errFixed)
}

// HasSynced implements cache.Informer.
func (i *scopedInformer) HasSynced() bool { return i.hasSynced() }

// HasSyncedChecker implements cache.Informer.
func (i *scopedInformer) HasSyncedChecker() toolscache.DoneChecker { return i.hasSyncedChecker() }

// IsStopped implements cache.Informer.
func (i *scopedInformer) IsStopped() bool {
	informer := i.source()
	return informer != nil && informer.IsStopped()
}
