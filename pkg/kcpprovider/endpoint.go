package kcpprovider

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	kcpcache "github.com/kcp-dev/apimachinery/v2/pkg/cache"
	"github.com/kcp-dev/logicalcluster/v3"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
)

const (
	// probeTimeout bounds the first look at one kind at an endpoint.
	probeTimeout = 10 * time.Second
	// endpointRetryMax is the longest pause before an endpoint that could not be served is tried again.
	endpointRetryMax = 30 * time.Second
	// optionalRetryMax is the longest pause before an optional kind is looked for again.
	optionalRetryMax = time.Minute
)

// endpoint is one URL of the virtual workspace: it serves the logical clusters of one shard.
type endpoint struct {
	supervisor *Supervisor
	url        string
	aware      multicluster.Aware
	log        logr.Logger
	// ctx ends with the endpoint, by end.
	ctx context.Context
	end context.CancelFunc

	// cache is set by addCache, and guarded by the Supervisor's mutex.
	cache *wildcardCache

	mu sync.Mutex
	// bindings are the APIBindings of all logical clusters here; nil until the caches are filled.
	bindings toolscache.Indexer
	// retrying are the logical clusters that could not be engaged and are tried again.
	retrying sets.Set[logicalcluster.Name]
}

func newEndpoint(ctx context.Context, s *Supervisor, url string, aware multicluster.Aware) *endpoint {
	ctx, end := context.WithCancel(ctx)
	return &endpoint{supervisor: s, url: url, aware: aware, log: s.Log.WithValues("url", url), ctx: ctx, end: end, retrying: sets.New[logicalcluster.Name]()}
}

// run serves the endpoint until it ends.
func (e *endpoint) run() {
	var last string
	serve := func() error {
		err := e.serve(e.ctx)
		if err != nil && e.ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			e.log.Info("Waiting for an endpoint of the virtual workspace", "reason", last)
		}
		return err
	}
	if serve() != nil {
		retry(e.ctx, e.supervisor.clock, endpointRetryMax, serve)
	}
}

// serve engages the logical clusters of the endpoint when everything can be read there, and disengages them when ctx ends.
func (e *endpoint) serve(ctx context.Context) error {
	if err := e.probe(ctx); err != nil {
		return err
	}
	caches, err := newWildcardCache(ctx, e.supervisor, e.url)
	if err != nil {
		return err
	}
	if err := e.supervisor.addCache(ctx, e, caches); err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	running.Go(func() { stop(caches.Start(ctx)) })

	e.log.Info("Filling the caches of an endpoint of the virtual workspace")
	if !caches.WaitForCacheSync(ctx) {
		return context.Cause(ctx)
	}
	for _, kind := range e.supervisor.Optional {
		running.Go(func() { e.watchOptional(ctx, caches, kind) })
	}
	defer e.disengageAll()
	if err := e.watchBindings(caches); err != nil {
		return err
	}
	e.log.Info("Serving an endpoint of the virtual workspace")
	<-ctx.Done()
	return context.Cause(ctx)
}

// probe lists one object of each kind that is not optional. A kind that cannot be listed would leave its cache empty, and every logical
// cluster of this endpoint half served.
func (e *endpoint) probe(ctx context.Context) error {
	for _, kind := range e.supervisor.Kinds {
		if err := e.probeKind(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

// watchOptional watches an optional kind from when it can be listed.
func (e *endpoint) watchOptional(ctx context.Context, caches *wildcardCache, kind client.Object) {
	watch := func() error {
		if err := e.probeKind(ctx, kind); err != nil {
			return err
		}
		e.log.Info("Watching an optional kind", "kind", fmt.Sprintf("%T", kind))
		return caches.watch(ctx, kind)
	}
	if err := watch(); err != nil && ctx.Err() == nil {
		e.log.Info("An optional kind is not watched until it can be listed", "kind", fmt.Sprintf("%T", kind), "reason", err.Error())
		retry(ctx, e.supervisor.clock, optionalRetryMax, watch)
	}
}

// probeKind lists one object of a kind.
func (e *endpoint) probeKind(ctx context.Context, kind client.Object) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	reader, err := client.New(configFor(e.supervisor.Config, e.url+"/clusters/*"), client.Options{HTTPClient: e.supervisor.httpClient, Scheme: e.supervisor.Scheme, Mapper: e.supervisor.Mapper})
	if err != nil {
		return fmt.Errorf("making a client for %s: %w", e.url, err)
	}
	gvk, err := apiutil.GVKForObject(kind, e.supervisor.Scheme)
	if err != nil {
		return fmt.Errorf("finding the kind of %T: %w", kind, err)
	}
	list, err := e.newList(kind, gvk)
	if err != nil {
		return err
	}
	if err := reader.List(ctx, list, client.Limit(1)); err != nil {
		return fmt.Errorf("listing objects of kind %s: %w", gvk.Kind, err)
	}
	return nil
}

// newList returns an empty list of a kind: of metadata, if that is how the kind is watched.
func (e *endpoint) newList(kind client.Object, gvk schema.GroupVersionKind) (client.ObjectList, error) {
	gvk.Kind += "List"
	if _, ok := kind.(*metav1.PartialObjectMetadata); ok {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk)
		return list, nil
	}
	object, err := e.supervisor.Scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("making a list of kind %s: %w", gvk.Kind, err)
	}
	return object.(client.ObjectList), nil
}

// watchBindings engages and disengages logical clusters as their APIBindings come and go.
func (e *endpoint) watchBindings(caches *wildcardCache) error {
	informer, _, _, err := caches.GetSharedInformer(&apisv1alpha2.APIBinding{})
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.bindings = informer.GetIndexer()
	e.mu.Unlock()
	changed := func(object any) { e.update(clusterOf(object)) }
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, object any) { changed(object) },
		DeleteFunc: changed,
	})
	if err != nil {
		return fmt.Errorf("watching APIBindings: %w", err)
	}
	return nil
}

// update engages or disengages a logical cluster. Another endpoint takes one over that is disengaged here, if it serves it too.
func (e *endpoint) update(name logicalcluster.Name) {
	if e.updateHere(name) {
		return
	}
	for _, other := range e.supervisor.othersThan(e) {
		other.updateHere(name)
	}
}

// updateHere returns false if the logical cluster was disengaged.
func (e *endpoint) updateHere(name logicalcluster.Name) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bindings == nil || e.ctx.Err() != nil {
		return true
	}
	bindings, err := e.bindings.ByIndex(kcpcache.ClusterIndexName, name.String())
	switch {
	case err != nil:
		e.log.Error(err, "APIBindings cannot be read from the cache")
	case len(bindings) == 0:
		return !e.disengage(name)
	case slices.ContainsFunc(bindings, isBound):
		if err := e.engage(name); err != nil && !e.retrying.Has(name) {
			e.log.Info("Retrying to create a logical cluster", "clusterName", name, "reason", err.Error())
			e.retrying.Insert(name)
			go retry(e.ctx, e.supervisor.clock, engageRetryMax, func() error { return e.retryEngage(name) })
		}
	}
	return true
}

// retryEngage engages a logical cluster that could not be created, unless it is no longer to be engaged here.
func (e *endpoint) retryEngage(name logicalcluster.Name) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bindings != nil {
		bindings, err := e.bindings.ByIndex(kcpcache.ClusterIndexName, name.String())
		if err != nil {
			return fmt.Errorf("reading the APIBindings of logical cluster %q: %w", name, err)
		}
		if slices.ContainsFunc(bindings, isBound) {
			if err := e.engage(name); err != nil {
				return err
			}
		}
	}
	e.retrying.Delete(name)
	return nil
}

// isBound: a logical cluster is engaged once an APIBinding of it is bound, for before that its API is not served, and stays
// engaged while the binding is being deleted, for then its SyncTargets have finalizers of ours.
func isBound(binding any) bool {
	return binding.(*apisv1alpha2.APIBinding).Status.Phase == apisv1alpha2.APIBindingPhaseBound
}

// engage engages a logical cluster, unless it is engaged. It returns an error if the logical cluster could not be created.
func (e *endpoint) engage(name logicalcluster.Name) error {
	clusterName := multicluster.ClusterName(name.String())
	if _, engaged := e.supervisor.EndpointOf(clusterName); engaged {
		return nil
	}
	engaged, err := e.supervisor.newCluster(e, name)
	if err != nil {
		return err
	}
	// It ends by end alone: when the logical cluster is no longer found, and not before.
	ctx, end := context.WithCancel(context.WithoutCancel(e.ctx))
	if !e.supervisor.add(clusterName, engagement{cluster: engaged, endpoint: e, end: end}) {
		end()
		return nil
	}
	// It retries by itself.
	_ = e.aware.Engage(ctx, clusterName, engaged)
	return nil
}

// disengage returns false if the logical cluster was not engaged by this endpoint.
func (e *endpoint) disengage(name logicalcluster.Name) bool {
	if !e.supervisor.remove(multicluster.ClusterName(name.String()), e) {
		return false
	}
	e.supervisor.recorders.StopProvider(context.WithoutCancel(e.ctx), name)
	return true
}

// disengageAll disengages all logical clusters, when the endpoint ends. Those that another one serves are taken over.
func (e *endpoint) disengageAll() {
	e.mu.Lock()
	e.bindings = nil
	e.mu.Unlock()
	for _, clusterName := range e.supervisor.servedBy(e) {
		name := logicalcluster.Name(clusterName)
		e.disengage(name)
		for _, other := range e.supervisor.othersThan(e) {
			other.updateHere(name)
		}
	}
}
