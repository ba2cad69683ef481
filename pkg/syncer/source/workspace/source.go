package workspace

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/ratelimit"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// SyncTarget is the SyncTarget in kcp; its errors wrap the API server's.
type SyncTarget interface {
	Get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error)
	PatchStatus(ctx context.Context, patch []byte) error
}

// Config is what a Source consists of.
type Config struct {
	// Client and Metadata read and write the objects of the workspace, with and without their content.
	Client   dynamic.Interface
	Metadata metadata.Interface
	// Served tells what the workspace serves.
	Served *discovery.Client
	Target SyncTarget
	// Owner identifies the SyncTarget and its workspace.
	Owner transform.Owner
	Clock clock.PassiveClock
}

// Source is one workspace.
type Source struct {
	Config

	targets, assignments toolscache.SharedIndexInformer
	cached               cachedPlan
	reads                sharedRead
}

// cachedPlan is the Plan by the cache, until that changes.
type cachedPlan struct {
	mu    sync.Mutex
	known bool
	plan  *source.Plan
}

// forget makes the next Plan anew.
func (c *cachedPlan) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.plan = false, nil
}

var _ source.Source = &Source{}

// NewForConfig returns the source that is the workspace which config leads to.
func NewForConfig(config *rest.Config, target SyncTarget, owner transform.Owner, clock clock.PassiveClock) (*Source, error) {
	c := Config{Target: target, Owner: owner, Clock: clock}
	var err error
	if c.Served, err = discovery.NewClient(config, clock); err != nil {
		return nil, fmt.Errorf("preparing discovery: %w", err)
	}
	if c.Client, c.Metadata, err = ratelimit.NewClients(config); err != nil {
		return nil, err
	}
	return New(c), nil
}

// New returns a source that is ready to Run.
func New(config Config) *Source {
	s := &Source{Config: config}
	s.targets, s.assignments = s.newTargetInformer(), s.newAssignmentInformer()
	return s
}

// Run watches the SyncTarget and its Assignments until ctx ends, and calls changed after each change of them.
func (s *Source) Run(ctx context.Context, changed func()) error {
	renew := func() {
		s.cached.forget()
		changed()
	}
	handler := toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { renew() }, UpdateFunc: func(any, any) { renew() }, DeleteFunc: func(any) { renew() },
	}
	var running sync.WaitGroup
	for what, informer := range map[string]toolscache.SharedIndexInformer{"the SyncTarget": s.targets, "its Assignments": s.assignments} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("watching %s: %w", what, err)
		}
		running.Go(func() { informer.RunWithContext(ctx) })
	}
	if toolscache.WaitForCacheSync(ctx.Done(), s.targets.HasSynced, s.assignments.HasSynced) {
		renew() // of an empty list comes no event
	}
	running.Wait()
	return nil
}

// newTargetInformer watches the SyncTarget that this syncer acts for.
func (s *Source) newTargetInformer() toolscache.SharedIndexInformer {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, s.Owner.Name).String()
	client := func() dynamic.ResourceInterface {
		return s.Client.Resource(workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets"))
	}
	return toolscache.NewSharedIndexInformerWithOptions(toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			return client().List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return client().Watch(ctx, options)
		},
	}, s.Client), &unstructured.Unstructured{}, toolscache.SharedIndexInformerOptions{ObjectDescription: "SyncTarget"})
}

// Discovery tells what the workspace serves.
func (s *Source) Discovery() *discovery.Client { return s.Served }

// Objects are those of a resource in a Namespace of the workspace.
func (s *Source) Objects(namespace source.Namespace, resource schema.GroupVersionResource) source.Objects {
	return &Objects{
		ResourceCache: cache.New(s.Client, resource, namespace.Name, s.Clock, ""),
		Metadata:      s.Metadata.Resource(resource).Namespace(namespace.Name),
		Key:           s.Owner.Key,
	}
}
