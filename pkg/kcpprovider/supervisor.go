package kcpprovider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	"github.com/kcp-dev/logicalcluster/v3"
	"github.com/kcp-dev/multicluster-provider/apiexport"
	"github.com/kcp-dev/multicluster-provider/pkg/handlers"
	"github.com/kcp-dev/multicluster-provider/pkg/provider"
	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
)

var (
	_ multicluster.Provider         = (*Supervisor)(nil)
	_ multicluster.ProviderRunnable = (*Supervisor)(nil)
)

// steady is how long a run must last for the backoff to begin anew.
const steady = time.Minute

// Supervisor is a multicluster provider that does not give up.
type Supervisor struct {
	config        *rest.Config
	endpointSlice string
	scheme        *runtime.Scheme
	log           logr.Logger
	clock         clock.Clock
	// serve makes one run; run, unless a test puts another there.
	serve func(context.Context, multicluster.Aware) error

	mu      sync.RWMutex
	current *apiexport.Provider
	indexes []index
}

type index struct {
	object  client.Object
	field   string
	extract client.IndexerFunc
}

// New returns a Supervisor. The config leads to the workspace of the APIExport; endpointSlice names the export's
// APIExportEndpointSlice. Neither needs to exist yet.
func New(config *rest.Config, endpointSlice string, scheme *runtime.Scheme, log logr.Logger) *Supervisor {
	s := &Supervisor{config: config, endpointSlice: endpointSlice, scheme: scheme, log: log, clock: clock.RealClock{}}
	s.serve = s.run
	return s
}

// Get implements multicluster.Provider.
func (s *Supervisor) Get(ctx context.Context, clusterName multicluster.ClusterName) (cluster.Cluster, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.current == nil {
		return nil, fmt.Errorf("logical cluster %q: %w", clusterName, multicluster.ErrClusterNotFound)
	}
	return s.current.Get(ctx, clusterName)
}

// IndexField implements multicluster.Provider. An index outlives every run of the provider.
func (s *Supervisor) IndexField(ctx context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.indexes = append(s.indexes, index{object, field, extract})
	if s.current == nil {
		return nil
	}
	return s.current.IndexField(ctx, object, field, extract)
}

// Served counts the logical clusters that are served now.
func (s *Supervisor) Served() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.current == nil {
		return 0
	}
	return len(s.current.Clusters.ClusterNames())
}

// EndpointOf returns the URL of the endpoint of the virtual workspace that serves a logical cluster; ok is false if none does.
func (s *Supervisor) EndpointOf(clusterName multicluster.ClusterName) (url string, ok bool) {
	cl, err := s.Get(context.Background(), clusterName)
	if err != nil {
		return "", false
	}
	return strings.TrimSuffix(cl.GetConfig().Host, "/clusters/"+clusterName.String()), true
}

// Start implements multicluster.ProviderRunnable: it runs the provider until ctx ends.
func (s *Supervisor) Start(ctx context.Context, aware multicluster.Aware) error {
	fresh := wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 8, Cap: time.Minute}
	backoff := fresh
	for {
		began := s.clock.Now()
		err := s.serve(ctx, aware)
		if ctx.Err() != nil {
			return nil
		}
		if s.clock.Since(began) > steady {
			backoff = fresh
		}
		pause := backoff.Step()
		s.log.Info("Running the kcp provider anew", "reason", fmt.Sprint(err), "after", pause.Round(time.Millisecond).String())
		select {
		case <-ctx.Done():
			return nil
		case <-s.clock.After(pause):
		}
	}
}

// run makes a provider and runs it until it fails, or until something that it will not retry has failed in it.
func (s *Supervisor) run(ctx context.Context, aware multicluster.Aware) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	listed := &endpoints{ask: s.ask, stop: stop, clock: s.clock, log: s.log, answered: map[string]bool{}}
	verbose := s.log.V(4)
	var current *apiexport.Provider
	p, err := provider.NewProvider(s.config, s.endpointSlice, provider.Options{
		Scheme:              s.scheme,
		Log:                 &verbose,
		EndpointSliceObject: &apisv1alpha1.APIExportEndpointSlice{},
		ExtractURLsFromEndpointSlice: func(slice client.Object) ([]string, error) {
			urls, err := provider.DefaultExtractURLsFromEndpointSlice(slice)
			if err != nil {
				return nil, err
			}
			return listed.answering(ctx, urls), nil
		},
		ObjectToWatch: &apisv1alpha2.APIBinding{},
		AddFilter:     bound,
		UpdateFilter:  bound,
		Handlers: handlers.Handlers{&engagementCheck{engaged: func(clusterName multicluster.ClusterName) bool {
			_, err := current.Get(ctx, clusterName)
			return err == nil || ctx.Err() != nil
		}, failed: func(clusterName multicluster.ClusterName) {
			stop(fmt.Errorf("logical cluster %q could not be engaged", clusterName))
		}}},
	})
	if err != nil {
		return fmt.Errorf("creating the provider: %w", err)
	}
	current = &apiexport.Provider{Provider: p}

	s.mu.Lock()
	for _, i := range s.indexes {
		if err := current.IndexField(ctx, i.object, i.field, i.extract); err != nil {
			s.mu.Unlock()
			return fmt.Errorf("indexing %T by %s: %w", i.object, i.field, err)
		}
	}
	s.current = current
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.current = nil
		s.mu.Unlock()
	}()

	err = current.Start(ctx, &patientAware{aware: aware, log: s.log, clock: s.clock})
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// bound lets a logical cluster in once its APIBinding is bound, and keeps it while the binding is being deleted: its
// SyncTargets have finalizers of ours.
func bound(o client.Object) (bool, error) {
	binding, ok := o.(*apisv1alpha2.APIBinding)
	if !ok {
		return false, fmt.Errorf("expected an APIBinding, got %T", o)
	}
	return binding.Status.Phase == apisv1alpha2.APIBindingPhaseBound, nil
}

// engagementCheck is called by the provider behind every try to engage a logical cluster.
type engagementCheck struct {
	engaged func(multicluster.ClusterName) bool
	failed  func(multicluster.ClusterName)
}

// OnAdd implements handlers.Handler.
func (e *engagementCheck) OnAdd(o client.Object) { e.check(o) }

// OnUpdate implements handlers.Handler.
func (e *engagementCheck) OnUpdate(_, o client.Object) { e.check(o) }

// OnDelete implements handlers.Handler.
func (e *engagementCheck) OnDelete(client.Object) {}

func (e *engagementCheck) check(o client.Object) {
	if name := multicluster.ClusterName(logicalcluster.From(o).String()); !e.engaged(name) {
		e.failed(name)
	}
}
