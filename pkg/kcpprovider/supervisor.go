package kcpprovider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/go-logr/logr"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	"github.com/kcp-dev/logicalcluster/v3"
	mcrecorder "github.com/kcp-dev/multicluster-provider/pkg/events/recorder"
	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
)

var (
	_ multicluster.Provider         = (*Supervisor)(nil)
	_ multicluster.ProviderRunnable = (*Supervisor)(nil)
)

// Options are what a Supervisor is made from.
type Options struct {
	// Config leads to the workspace of the APIExport.
	Config *rest.Config
	// EndpointSlice is the name of the export's APIExportEndpointSlice. It need not exist yet.
	EndpointSlice string
	// Kinds are watched at every endpoint, beside APIBindings. The caches of logical clusters have these kinds and no others.
	Kinds []client.Object
	// Optional are kinds that are watched at an endpoint if it serves them, and from when it does; it serves no kind that the
	// APIExport does not claim. No logical cluster waits for them.
	Optional []client.Object
	// ByObject narrows what is watched of a kind.
	ByObject map[client.Object]cache.ByObject
	Scheme   *runtime.Scheme
	// Mapper knows these kinds, APIBindings and APIExportEndpointSlices, so that nothing has to be discovered.
	Mapper meta.RESTMapper
	Log    logr.Logger
}

// Supervisor is the provider of the logical clusters that are served at the endpoints of an APIExport.
type Supervisor struct {
	Options
	httpClient *http.Client
	recorders  *mcrecorder.Manager
	clock      clock.Clock
	// newCluster is newLogicalCluster; tests make it fail.
	newCluster func(*endpoint, logicalcluster.Name) (*logicalCluster, error)

	mu        sync.RWMutex
	indexes   []index
	endpoints map[string]*endpoint // by URL
	engaged   map[multicluster.ClusterName]engagement
}

// index is an index of the caches of all logical clusters.
type index struct {
	object  client.Object
	field   string
	extract client.IndexerFunc
}

// engagement is a logical cluster that is served.
type engagement struct {
	cluster  *logicalCluster
	endpoint *endpoint
	// end cancels the context with which it was engaged.
	end context.CancelFunc
}

// New returns a Supervisor. It sends no request.
func New(opts Options) (*Supervisor, error) {
	httpClient, err := rest.HTTPClientFor(opts.Config)
	if err != nil {
		return nil, fmt.Errorf("creating the HTTP client for %q: %w", opts.Config.Host, err)
	}
	if !slices.ContainsFunc(opts.Kinds, isBinding) {
		opts.Kinds = append(slices.Clone(opts.Kinds), &apisv1alpha2.APIBinding{})
	}
	return &Supervisor{
		Options: opts, httpClient: httpClient, clock: clock.RealClock{}, newCluster: newLogicalCluster,
		recorders: mcrecorder.NewManager(opts.Scheme, opts.Log),
		endpoints: map[string]*endpoint{}, engaged: map[multicluster.ClusterName]engagement{},
	}, nil
}

func isBinding(object client.Object) bool {
	_, ok := object.(*apisv1alpha2.APIBinding)
	return ok
}

// Get implements multicluster.Provider.
func (s *Supervisor) Get(_ context.Context, clusterName multicluster.ClusterName) (cluster.Cluster, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found, ok := s.engaged[clusterName]
	if !ok {
		return nil, fmt.Errorf("logical cluster %q: %w", clusterName, multicluster.ErrClusterNotFound)
	}
	return found.cluster, nil
}

// EndpointOf returns the URL of the endpoint that serves a logical cluster; ok is false if none does.
func (s *Supervisor) EndpointOf(clusterName multicluster.ClusterName) (url string, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found, ok := s.engaged[clusterName]
	if !ok {
		return "", false
	}
	return found.endpoint.url, true
}

// Served counts the logical clusters that are served now.
func (s *Supervisor) Served() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.engaged)
}

// IndexField implements multicluster.Provider, for all endpoints of now and later.
func (s *Supervisor) IndexField(ctx context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.indexes = append(s.indexes, index{object, field, extract})
	var errs []error
	for url, e := range s.endpoints {
		if e.cache == nil {
			continue
		}
		if err := e.cache.IndexField(ctx, object, field, extract); err != nil {
			errs = append(errs, fmt.Errorf("indexing %T by %s at %s: %w", object, field, url, err))
		}
	}
	return errors.Join(errs...)
}

// Start implements multicluster.ProviderRunnable: it serves the endpoints until ctx ends.
func (s *Supervisor) Start(ctx context.Context, aware multicluster.Aware) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	endpointSlices, err := cache.New(s.Config, cache.Options{
		HTTPClient: s.httpClient, Scheme: s.Scheme, Mapper: s.Mapper,
		ByObject: map[client.Object]cache.ByObject{
			&apisv1alpha1.APIExportEndpointSlice{}: {Field: fields.OneTermEqualSelector("metadata.name", s.EndpointSlice)},
		},
	})
	if err != nil {
		return fmt.Errorf("creating the cache of the APIExportEndpointSlice: %w", err)
	}
	informer, err := endpointSlices.GetInformer(ctx, &apisv1alpha1.APIExportEndpointSlice{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("creating the informer of the APIExportEndpointSlice: %w", err)
	}
	set := func(urls []string) {
		for _, started := range s.setEndpoints(ctx, urls, &retryingAware{aware: aware, log: s.Log, clock: s.clock}) {
			running.Go(started.run)
		}
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(slice any) { set(urlsOf(slice)) },
		UpdateFunc: func(_, slice any) { set(urlsOf(slice)) },
		DeleteFunc: func(any) { set(nil) },
	}); err != nil {
		return fmt.Errorf("watching the APIExportEndpointSlice: %w", err)
	}
	return endpointSlices.Start(ctx)
}

// urlsOf returns the URLs of an APIExportEndpointSlice.
func urlsOf(slice any) (urls []string) {
	for _, e := range slice.(*apisv1alpha1.APIExportEndpointSlice).Status.APIExportEndpoints {
		urls = append(urls, strings.TrimSuffix(e.URL, "/"))
	}
	return urls
}

// setEndpoints ends the endpoints that are no longer listed, and returns those that are new and have to be run.
func (s *Supervisor) setEndpoints(ctx context.Context, urls []string, aware multicluster.Aware) (started []*endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for url, e := range s.endpoints {
		if !slices.Contains(urls, url) {
			e.end()
			delete(s.endpoints, url)
			s.Log.Info("An endpoint of the virtual workspace is no longer listed", "url", url)
		}
	}
	for _, url := range urls {
		if s.endpoints[url] == nil {
			e := newEndpoint(ctx, s, url, aware)
			s.endpoints[url] = e
			started = append(started, e)
		}
	}
	return started
}

// addCache gives an endpoint its cache, with all indexes of now; later ones are added by IndexField.
func (s *Supervisor) addCache(ctx context.Context, e *endpoint, added *wildcardCache) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.indexes {
		if err := added.IndexField(ctx, i.object, i.field, i.extract); err != nil {
			return fmt.Errorf("indexing %T by %s: %w", i.object, i.field, err)
		}
	}
	e.cache = added
	return nil
}

// add records that an endpoint serves a logical cluster. It returns false if one serves it already.
func (s *Supervisor) add(name multicluster.ClusterName, added engagement) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.engaged[name]; ok {
		return false
	}
	s.engaged[name] = added
	return true
}

// remove ends the engagement of a logical cluster that the endpoint serves. It returns false if the endpoint does not.
func (s *Supervisor) remove(name multicluster.ClusterName, server *endpoint) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.engaged[name]
	if !ok || found.endpoint != server {
		return false
	}
	delete(s.engaged, name)
	found.end()
	return true
}

// servedBy returns the logical clusters that an endpoint serves.
func (s *Supervisor) servedBy(server *endpoint) (names []multicluster.ClusterName) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, found := range s.engaged {
		if found.endpoint == server {
			names = append(names, name)
		}
	}
	return names
}

// othersThan returns the endpoints but one.
func (s *Supervisor) othersThan(one *endpoint) (others []*endpoint) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.endpoints {
		if e != one {
			others = append(others, e)
		}
	}
	return others
}
