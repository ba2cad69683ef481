package kcpprovider

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestOptionalKind: logical clusters are engaged where it is not served, and get its events from when it is. Nothing is restarted.
func TestOptionalKind(t *testing.T) {
	for name, fault := range map[string]func(*http.Request) (hang bool, code int){
		"not served": func(r *http.Request) (bool, int) { return false, map[bool]int{true: 404}[at(r, shard1+leasesPath)] },
		"forbidden":  func(r *http.Request) (bool, int) { return false, map[bool]int{true: 403}[at(r, shard1+leasesPath)] },
		"fails":      func(r *http.Request) (bool, int) { return false, map[bool]int{true: 500}[at(r, shard1+leasesPath)] },
		"hangs":      func(r *http.Request) (bool, int) { return at(r, shard1+leasesPath), 0 },
		"never listed": func(r *http.Request) (bool, int) { // one object of it can be
			return at(r, shard1+leasesPath) && r.URL.Query().Get("limit") != "1", 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kcp := newFakeKcp()
				kcp.put(shard1+bindingsPath, bound("one"))
				kcp.put(shard1+mapsPath, configMap("one", "m1"))
				kcp.put(shard1+leasesPath, lease("one", "l1"))
				kcp.put(shard2+bindingsPath, bound("two"))
				kcp.put(shard2+leasesPath, lease("two", "l2"))
				kcp.setFault(fault)
				kcp.list(shard1, shard2)
				r := start(t, kcp)
				r.want("An optional kind delays nothing.", "one", "two")
				if diff := cmp.Diff(map[string]int{"one/m1": 1, "two/l2": 1}, r.passes.take()); diff != "" {
					t.Errorf("passes: -want +got\n%s", diff)
				}
				one, err := r.s.Get(t.Context(), "one")
				if err != nil {
					t.Fatal(err)
				}
				if err := one.GetCache().Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "l1"}, &coordinationv1.Lease{}); err == nil {
					t.Error("the cache holds what is not served")
				}

				kcp.setFault(func(*http.Request) (bool, int) { return false, 0 })
				time.Sleep(2 * time.Minute)
				r.want("It is served now.", "one", "two")
				if diff := cmp.Diff(map[string]int{"one/l1": 1}, r.passes.take()); diff != "" {
					t.Errorf("passes of what was there: -want +got\n%s", diff)
				}
				if err := one.GetCache().Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "l1"}, &coordinationv1.Lease{}); err != nil {
					t.Errorf("Get() = %v", err)
				}
				kcp.put(shard1+leasesPath, lease("one", "l3"))
				settle()
				if diff := cmp.Diff(map[string]int{"one/l3": 1}, r.passes.take()); diff != "" {
					t.Errorf("passes of what is new: -want +got\n%s", diff)
				}
				if diff := cmp.Diff(map[string]int{"one": 1, "two": 1}, r.engaged.calls); diff != "" {
					t.Errorf("engaged again: -want +got\n%s", diff)
				}
			})
		})
	}
}

// reading is a handler that reads from the cache of its own kind.
type reading struct {
	recorder
	read func() error
}

func (r *reading) OnAdd(o any, initial bool) {
	if r.read() == nil {
		r.recorder.OnAdd(o, initial)
	}
}

// TestHandlersRead: a handler may read from the cache while it is being added.
func TestHandlersRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kcp := newFakeKcp()
		kcp.put(shard1+bindingsPath, bound("one"))
		kcp.put(shard1+mapsPath, configMap("one", "m1"))
		kcp.list(shard1)
		r := start(t, kcp)
		r.want("", "one")
		one, err := r.s.Get(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		informer, err := one.GetCache().GetInformer(t.Context(), &corev1.ConfigMap{})
		if err != nil {
			t.Fatal(err)
		}
		handler := &reading{read: func() error { return one.GetCache().List(t.Context(), &corev1.ConfigMapList{}) }}
		done := make(chan error, 1)
		go func() {
			_, err := informer.AddEventHandler(toolscache.ResourceEventHandler(handler))
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil || len(handler.events) != 1 {
				t.Errorf("AddEventHandler() = %v, events %q", err, handler.events)
			}
		case <-time.After(time.Minute):
			t.Fatal("the handler waits for itself")
		}
	})
}
