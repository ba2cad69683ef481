package resource

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/mapping"
)

// watches are those that a fake server has been asked for.
type watches struct {
	mu  sync.Mutex
	all map[string][]*watch.FakeWatcher
}

// newWatched is a server without objects, which notes who watches what.
func newWatched() (*dynamicfake.FakeDynamicClient, *watches) {
	kinds := map[schema.GroupVersionResource]string{}
	for resource, kind := range map[string]string{"configmaps": "ConfigMapList", "secrets": "SecretList", "events": "EventList"} {
		kinds[schema.GroupVersionResource{Version: "v1", Resource: resource}] = kind
	}
	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
	w := &watches{all: map[string][]*watch.FakeWatcher{}}
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		watcher := watch.NewFake()
		what := action.GetResource().Resource + " in " + action.GetNamespace()
		w.all[what] = append(w.all[what], watcher)
		return true, watcher, nil
	})
	return client, w
}

// running are the watches that have not ended, each as often as it runs.
func (w *watches) running() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var running []string
	for what, watchers := range w.all {
		for _, watcher := range watchers {
			if !watcher.IsStopped() {
				running = append(running, what)
			}
		}
	}
	slices.Sort(running)
	return running
}

// TestOpenedNamespacesAloneAreFollowed: nothing is watched but the synced resources of a Namespace that is open or is being left,
// and the Events of its counterpart; no more than once, and no longer.
func TestOpenedNamespacesAloneAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kcp{}
		k.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}, {Resource: "secrets"}}
		k.Status.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps"}, {Resource: "secrets"}}
		say := func(e *Engine, namespaces ...workloadv1alpha1.NamespaceStatus) {
			t.Helper()
			k.Status.Namespaces = namespaces
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&k.SyncTarget)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.targets.GetStore().Update(&unstructured.Unstructured{Object: content}); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time there is nothing to do
				if err := e.plan(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		e := newTestEngine(t, k)
		defer e.queue.ShutDown()
		up, upstream := newWatched()
		down, downstream := newWatched()
		e.up, e.down = up, down
		here := func(namespace string) []string {
			return []string{"configmaps in " + namespace, "secrets in " + namespace}
		}
		there := func(namespace string) []string {
			counterpart := mapping.Namespace(testOwner.Key, namespace)
			return []string{"configmaps in " + counterpart, "events in " + counterpart, "secrets in " + counterpart}
		}
		check := func(when string, namespaces ...string) {
			t.Helper()
			wantUp, wantDown := []string(nil), []string(nil)
			for _, n := range namespaces {
				wantUp, wantDown = append(wantUp, here(n)...), append(wantDown, there(n)...)
			}
			slices.Sort(wantUp)
			slices.Sort(wantDown)
			if diff := cmp.Diff(wantUp, upstream.running()); diff != "" {
				t.Errorf("%s: watched in the workspace: -want +got\n%s", when, diff)
			}
			if diff := cmp.Diff(wantDown, downstream.running()); diff != "" {
				t.Errorf("%s: watched in the physical cluster: -want +got\n%s", when, diff)
			}
		}
		const open, closing = workloadv1alpha1.NamespaceOpen, workloadv1alpha1.NamespaceClosing
		say(e, workloadv1alpha1.NamespaceStatus{Name: "opening", State: workloadv1alpha1.NamespaceOpening},
			workloadv1alpha1.NamespaceStatus{Name: "refused", State: workloadv1alpha1.NamespaceRefused})
		check("before one is open")
		say(e, workloadv1alpha1.NamespaceStatus{Name: "shop", State: open}, workloadv1alpha1.NamespaceStatus{Name: "office", State: open})
		check("two are open", "office", "shop")
		say(e, workloadv1alpha1.NamespaceStatus{Name: "shop", State: open}, workloadv1alpha1.NamespaceStatus{Name: "office", State: closing})
		check("one is being left", "office", "shop")
		k.Status.DrainedNamespaces = []string{"office"}
		say(e, workloadv1alpha1.NamespaceStatus{Name: "shop", State: open}, workloadv1alpha1.NamespaceStatus{Name: "office", State: closing})
		check("one has been left", "shop")
		if requests := len(up.Actions()); requests != 8 {
			t.Errorf("%d requests to the workspace, want a list and a watch for each of 4 resources", requests)
		}
		for _, p := range e.places {
			p.stop()
		}
		synctest.Wait()
		check("the engine has ended")
	})
}
