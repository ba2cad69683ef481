package placement

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/reconciler/workspacewatch"
)

// watchedCluster counts the handlers of events by kind.
type watchedCluster struct {
	logicalCluster
	mu       sync.Mutex
	handlers map[string]int
}

func (w *watchedCluster) GetCache() cache.Cache { return &watchedCache{cluster: w} }

// watching returns how many handlers there are, by kind.
func (w *watchedCluster) watching() map[string]int {
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

func (w *watchedCluster) add(kind string, count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handlers[kind] += count
}

type watchedCache struct {
	cache.Cache
	cluster *watchedCluster
}

func (c *watchedCache) WaitForCacheSync(context.Context) bool { return true }

func (c *watchedCache) GetInformer(_ context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	return &watchedInformer{cluster: c.cluster, kind: fmt.Sprintf("%T", object)}, nil
}

type watchedInformer struct {
	cache.Informer
	cluster *watchedCluster
	kind    string
}

type registered struct {
	toolscache.ResourceEventHandlerRegistration
}

func (i *watchedInformer) AddEventHandlerWithResyncPeriod(handler toolscache.ResourceEventHandler, _ time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	if i.kind == "*v1alpha1.Placement" {
		handler.OnAdd(newPlacement("shop"), true)
	}
	i.cluster.add(i.kind, 1)
	return registered{}, nil
}

func (i *watchedInformer) RemoveEventHandler(toolscache.ResourceEventHandlerRegistration) error {
	i.cluster.add(i.kind, -1)
	return nil
}

// TestEngage: a workspace is watched once, however often it is engaged, and leaves nothing behind when it is disengaged.
func TestEngage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		q := newQueue(t)
		w.r.watches = workspacewatch.Watches{} // without the workspace of the world
		w.r.watches.SetKinds(WatchedKinds())
		if err := w.r.watches.Start(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		watched := &watchedCluster{handlers: map[string]int{}}
		everything := map[string]int{
			"*v1alpha1.Placement": 1, "*v1alpha1.SyncTarget": 1, "*v1alpha1.Assignment": 1, "*v1.PartialObjectMetadata": 1, "*v1alpha2.APIBinding": 1,
		}
		first, endFirst := context.WithCancel(t.Context())
		second, endSecond := context.WithCancel(t.Context())
		for _, ctx := range []context.Context{first, second} {
			if err := w.r.Engage(ctx, "other", watched); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if diff := cmp.Diff(everything, watched.watching()); diff != "" {
			t.Errorf("handlers: -want +got\n%s", diff)
		}
		if diff := cmp.Diff([]string{"other/"}, queued(q)); diff != "" {
			t.Errorf("queued: -want +got\n%s", diff)
		}
		w.r.workspaces.get("other").setPending([]string{"a"}, w.clock.Now())
		endFirst()
		synctest.Wait()
		if diff := cmp.Diff(everything, watched.watching()); diff != "" {
			t.Errorf("the end of an engagement that was replaced: handlers: -want +got\n%s", diff)
		}
		if w.r.workspaces.get("other") == nil {
			t.Error("the end of an engagement that was replaced ends the other")
		}
		endSecond()
		synctest.Wait()
		if left := watched.watching(); len(left) > 0 {
			t.Errorf("handlers of a workspace that is disengaged: %v", left)
		}
		if w.r.workspaces.get("other") != nil || !w.r.workspaces.oldestPending().IsZero() {
			t.Error("a workspace that is disengaged is remembered")
		}
	})
}
