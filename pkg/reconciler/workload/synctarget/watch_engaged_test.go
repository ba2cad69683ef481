package synctarget

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	mcmanager "sigs.k8s.io/multicluster-runtime/pkg/manager"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	"github.com/synctarget/synctarget/pkg/pcluster"
	"github.com/synctarget/synctarget/pkg/reconciler/workspacewatch"
)

// watchedWorkspace is a logical cluster that has one SyncTarget. It counts the handlers of events by kind.
type watchedWorkspace struct {
	*workspace
	mu       sync.Mutex
	handlers map[string]int
	// fail is how many handlers are refused.
	fail int
}

func (w *watchedWorkspace) GetCache() cache.Cache {
	return &watchedCache{cached: &cached{reader: w.reader}, workspace: w}
}

// watching returns how many handlers there are, by kind.
func (w *watchedWorkspace) watching() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := map[string]int{}
	for kind, count := range w.handlers {
		if count != 0 {
			left[kind] = count
		}
	}
	return left
}

type watchedCache struct {
	*cached
	workspace *watchedWorkspace
}

func (c *watchedCache) WaitForCacheSync(context.Context) bool { return true }

func (c *watchedCache) GetInformer(_ context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	kind := object.GetObjectKind().GroupVersionKind().Kind
	if kind == "" {
		kind = fmt.Sprintf("%T", object)
	}
	return &watchedInformer{workspace: c.workspace, kind: kind}, nil
}

type registered struct {
	toolscache.ResourceEventHandlerRegistration
}

type watchedInformer struct {
	cache.Informer
	workspace *watchedWorkspace
	kind      string
}

func (i *watchedInformer) AddEventHandlerWithResyncPeriod(handler toolscache.ResourceEventHandler, _ time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	w := i.workspace
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail > 0 && i.kind == "Secret" {
		w.fail--
		return nil, errInjected
	}
	if i.kind == "*v1alpha1.SyncTarget" {
		handler.OnAdd(newTarget(), true)
	}
	w.handlers[i.kind]++
	return registered{}, nil
}

func (i *watchedInformer) RemoveEventHandler(toolscache.ResourceEventHandlerRegistration) error {
	i.workspace.mu.Lock()
	defer i.workspace.mu.Unlock()
	i.workspace.handlers[i.kind]--
	return nil
}

// noIndexes is a provider without logical clusters.
type noIndexes struct{ workspaces }

func (p *noIndexes) Get(ctx context.Context, name multicluster.ClusterName) (cluster.Cluster, error) {
	return p.GetCluster(ctx, name)
}

func (p *noIndexes) IndexField(context.Context, client.Object, string, client.IndexerFunc) error {
	return nil
}

// TestDisengagedWatches: a workspace that is disengaged leaves neither a handler nor a goroutine behind, whether it was engaged
// before or after the start of the controller.
func TestDisengagedWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := usual(t)
		w.r.Workspaces = &workspaces{} // passes find nothing
		w.r.workspaceWatches = workspacewatch.Watches{}
		mgr, err := mcmanager.New(&rest.Config{Host: "https://kcp.example.com"}, &noIndexes{}, manager.Options{
			Scheme: newScheme(t), Logger: logr.Discard(), Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
			MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return meta.NewDefaultRESTMapper(nil), nil },
			Controller:     config.Controller{SkipNameValidation: ptr.To(true)},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		if err := w.r.SetupWithManager(ctx, mgr, 1, make(chan pcluster.ID)); err != nil {
			t.Fatal(err)
		}
		watched := &watchedWorkspace{workspace: w.cache, handlers: map[string]int{}}
		everything := map[string]int{"*v1.Lease": 1, "*v1alpha1.Assignment": 1, "*v1alpha1.SyncTarget": 1, "*v1alpha2.APIBinding": 1, "Namespace": 1, "Secret": 1}
		engage := func(name string) context.CancelFunc {
			t.Helper()
			engaged, disengage := context.WithCancel(ctx)
			if err := mgr.Engage(engaged, multicluster.ClusterName(name), watched); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return disengage
		}
		want := func(reason string, want map[string]int) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, watched.watching()); diff != "" {
				t.Errorf("%s: handlers: -want +got\n%s", reason, diff)
			}
		}

		engage("left")()
		early := engage("early")
		go func() { ended <- mgr.Start(ctx) }()
		time.Sleep(time.Minute)
		want("after the start of the controller", everything)
		if _, known := w.r.heartbeats.targets[testUID]; !known {
			t.Error("the controller does not see the SyncTarget")
		}
		early()
		want("disengaged", map[string]int{})

		engage("a")() // what the first of all leaves
		synctest.Wait()
		const engagements = 200
		before := runtime.NumGoroutine()
		for i := range engagements {
			disengage := engage(fmt.Sprint(i))
			want("engaged", everything)
			disengage()
		}
		want("disengaged", map[string]int{})
		// Some more may be the runtime's: it counts those that run finalizers, which belong to no engagement.
		if after := runtime.NumGoroutine(); after >= before+engagements/10 {
			t.Errorf("%d goroutines after %d engagements, %d before", after, engagements, before)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestWatchFails: what was begun of an engagement that fails ends with the next try.
func TestWatchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := usual(t)
		w.r.workspaceWatches = workspacewatch.Watches{}
		q := newQueue(t)
		watched := &watchedWorkspace{workspace: w.cache, handlers: map[string]int{}, fail: 1}
		w.r.workspaceWatches.SetKinds(w.r.watches())
		if err := w.r.workspaceWatches.Start(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		ctx, disengage := context.WithCancel(t.Context())
		defer disengage()
		if err := w.r.Engage(ctx, testCluster, watched); err == nil {
			t.Error("Engage() succeeded without a watch of Secrets")
		}
		if err := w.r.Engage(ctx, testCluster, watched); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"*v1.Lease": 1, "*v1alpha1.Assignment": 1, "*v1alpha1.SyncTarget": 1, "*v1alpha2.APIBinding": 1, "Namespace": 1, "Secret": 1}, watched.watching()); diff != "" {
			t.Errorf("handlers: -want +got\n%s", diff)
		}
		if diff := cmp.Diff([]string{testCluster + "/" + testName}, queued(q)); diff != "" {
			t.Errorf("queued: -want +got\n%s", diff)
		}
		disengage()
		synctest.Wait()
		if left := watched.watching(); len(left) != 0 {
			t.Errorf("handlers of a disengaged workspace: %v", left)
		}
	})
}
