package kcpprovider

import (
	"context"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"

	"github.com/kcp-dev/logicalcluster/v3"
	mcpcache "github.com/kcp-dev/multicluster-provider/pkg/cache"
)

// logicalCluster is one logical cluster. Its HTTP client, scheme, mapper and event recorders are those of all logical
// clusters, and its cache is a view of the cache of its endpoint.
type logicalCluster struct {
	endpoint *endpoint
	name     logicalcluster.Name
	config   *rest.Config
	client   client.Client
	cache    *scopedCache
}

var _ cluster.Cluster = (*logicalCluster)(nil)

// newLogicalCluster sends no request.
func newLogicalCluster(e *endpoint, name logicalcluster.Name) (*logicalCluster, error) {
	// Only its cache is kept: it has an HTTP client and a mapper of its own.
	scoped, err := mcpcache.NewScopedCluster(configFor(e.supervisor.Config, e.url), name, e.cache, e.supervisor.Scheme, nil)
	if err != nil {
		return nil, fmt.Errorf("creating the cache of logical cluster %q: %w", name, err)
	}
	config := scoped.GetConfig()
	live, err := client.New(config, client.Options{HTTPClient: e.supervisor.httpClient, Scheme: e.supervisor.Scheme, Mapper: e.supervisor.Mapper})
	if err != nil {
		return nil, fmt.Errorf("creating a client of logical cluster %q: %w", name, err)
	}
	return &logicalCluster{endpoint: e, name: name, config: config, client: live, cache: &scopedCache{scoped.GetCache(), e.cache, name}}, nil
}

// GetHTTPClient implements cluster.Cluster.
func (l *logicalCluster) GetHTTPClient() *http.Client { return l.endpoint.supervisor.httpClient }

// GetConfig implements cluster.Cluster.
func (l *logicalCluster) GetConfig() *rest.Config { return l.config }

// GetCache implements cluster.Cluster.
func (l *logicalCluster) GetCache() cache.Cache { return l.cache }

// GetScheme implements cluster.Cluster.
func (l *logicalCluster) GetScheme() *runtime.Scheme { return l.endpoint.supervisor.Scheme }

// GetClient implements cluster.Cluster. The client does not read from the cache.
func (l *logicalCluster) GetClient() client.Client { return l.client }

// GetAPIReader implements cluster.Cluster.
func (l *logicalCluster) GetAPIReader() client.Reader { return l.client }

// GetFieldIndexer implements cluster.Cluster.
func (l *logicalCluster) GetFieldIndexer() client.FieldIndexer { return l.cache }

// GetRESTMapper implements cluster.Cluster.
func (l *logicalCluster) GetRESTMapper() meta.RESTMapper { return l.endpoint.supervisor.Mapper }

// GetEventRecorderFor implements recorder.Provider. The writer of the Events is started by the first call.
func (l *logicalCluster) GetEventRecorderFor(component string) record.EventRecorder {
	return l.endpoint.supervisor.recorders.GetEventRecorderFor(configFor(l.endpoint.supervisor.Config, l.endpoint.url), logicalcluster.Name(component), l.name)
}

// GetEventRecorder implements recorder.Provider. The writer of the Events is started by the first call.
func (l *logicalCluster) GetEventRecorder(component string) events.EventRecorder {
	return l.endpoint.supervisor.recorders.GetEventRecorder(configFor(l.endpoint.supervisor.Config, l.endpoint.url), logicalcluster.Name(component), l.name)
}

// Start implements cluster.Cluster. Its cache is started by the endpoint.
func (l *logicalCluster) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// scopedCache is the view of one logical cluster on the cache of its endpoint.
type scopedCache struct {
	cache.Cache
	wildcard *wildcardCache
	name     logicalcluster.Name
}

// WaitForCacheSync implements cache.Cache. A logical cluster is not engaged before the caches of its endpoint are filled.
func (c *scopedCache) WaitForCacheSync(context.Context) bool { return true }

// GetInformer implements cache.Cache. It does not wait.
func (c *scopedCache) GetInformer(_ context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	d, err := c.wildcard.distributor(object)
	if err != nil {
		return nil, err
	}
	return &scopedInformer{d, c.name}, nil
}

// GetInformerForKind implements cache.Cache. It does not wait.
func (c *scopedCache) GetInformerForKind(ctx context.Context, gvk schema.GroupVersionKind, opts ...cache.InformerGetOption) (cache.Informer, error) {
	object, err := c.wildcard.scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("making an object of kind %s: %w", gvk.Kind, err)
	}
	return c.GetInformer(ctx, object.(client.Object), opts...)
}
