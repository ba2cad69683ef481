package sync

import (
	"context"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/source/workspace"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

var (
	testOwner     = transform.Owner{Key: "0123456789abcdef", UID: "uid-1", Name: "edge-1", Workspace: "2vkq1d7w9hx0a3bc"}
	shopNamespace = namespaceNamed("shop")
)

// The handlers of client-go's errors sleep by a clock of their own, which does not fit the clock of a synctest bubble.
func init() { utilruntime.ErrorHandlers = nil }

// namespaceNamed is a Namespace of the workspace.
func namespaceNamed(name string) source.Namespace {
	return source.Namespace{Cluster: testOwner.Workspace, Name: name}
}

// testSource is a workspace whose SyncTarget, as the cache shows it, is set by show.
type testSource struct {
	*workspace.Source
	shown atomic.Pointer[source.Plan]
}

func newTestSource(config workspace.Config) *testSource {
	config.Owner = testOwner
	return &testSource{Source: workspace.New(config)}
}

// newDiscoverable is a source of which a Controller may ask what it serves.
func newDiscoverable(t *testing.T) *testSource {
	t.Helper()
	served, err := discovery.NewClient(&rest.Config{}, clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	return newTestSource(workspace.Config{Served: served})
}

// sourceIn is the source of a Controller that newTestSource has made.
func sourceIn(e *Controller) *testSource { return e.source.(*testSource) }

func (s *testSource) Plan() *source.Plan { return s.shown.Load() }

func (s *testSource) show(target *workloadv1alpha1.SyncTarget) {
	s.shown.Store(s.PlanOf(target.DeepCopy()))
}

// testObjects are the objects of a resource as the clients of its cache and of the Controller's source read and write them.
type testObjects struct {
	*workspace.Objects
	controller *Controller
	resource   *resourceSync
}

func (o *testObjects) ListMetadata(ctx context.Context, options metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	return sourceIn(o.controller).Metadata.Resource(o.resource.api.Upstream()).Namespace("shop").List(ctx, options)
}

// setSource makes a Controller the one that a resource belongs to.
func setSource(e *Controller, l *resourceSync) {
	l.source = &testObjects{&workspace.Objects{ResourceCache: l.up, Key: testOwner.Key}, e, l}
}

// mustPack is an object as an informer keeps it.
func mustPack(t *testing.T, object *unstructured.Unstructured) any {
	t.Helper()
	packed, err := cache.Pack(object.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// planOf is what a SyncTarget with this status says is to be synced.
func planOf(status workloadv1alpha1.SyncTargetStatus) *source.Plan {
	return newTestSource(workspace.Config{}).PlanOf(&workloadv1alpha1.SyncTarget{Status: status})
}
