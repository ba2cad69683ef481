package workspace

import (
	"context"
	"fmt"

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

	targets toolscache.SharedIndexInformer
	reads   sharedRead
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
	s.targets = s.newTargetInformer()
	return s
}

// Run watches the SyncTarget until ctx ends, and calls changed after each change of it.
func (s *Source) Run(ctx context.Context, changed func()) error {
	if _, err := s.targets.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() },
	}); err != nil {
		return fmt.Errorf("watching the SyncTarget: %w", err)
	}
	s.targets.RunWithContext(ctx)
	return nil
}

// newTargetInformer watches the SyncTarget that this syncer acts for.
func (s *Source) newTargetInformer() toolscache.SharedIndexInformer {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, s.Owner.Name).String()
	client := func() dynamic.ResourceInterface {
		return s.Client.Resource(workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets"))
	}
	return toolscache.NewSharedIndexInformerWithOptions(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			return client().List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return client().Watch(ctx, options)
		},
	}, &unstructured.Unstructured{}, toolscache.SharedIndexInformerOptions{ObjectDescription: "SyncTarget"})
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
