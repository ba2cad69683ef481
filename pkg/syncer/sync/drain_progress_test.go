package sync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/ratelimit"
	"github.com/synctarget/synctarget/pkg/syncer/source/workspace"
	"k8s.io/utils/clock"
)

// others are objects that are not ours.
func others(namespace string, count int) (objects []*unstructured.Unstructured) {
	for i := range count {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
		o.SetNamespace(namespace)
		o.SetName("b-" + strconv.Itoa(i))
		// They inherit the label of a copy, as EndpointSlices do.
		o.SetLabels(map[string]string{workloadv1alpha1.LabelKey: testOwner.Key})
		objects = append(objects, o)
	}
	return objects
}

// pagesOf are the requests for the pages that begin with these numbers.
func pagesOf(resource, selector string, tokens ...string) (requests []string) {
	for _, token := range tokens {
		requests = append(requests, fmt.Sprintf("%s limit=500 selector=%s continue=%s", resource, selector, token))
	}
	return requests
}

const ourLabel = "workload.kcp.io/key=0123456789abcdef"

// TestPagesAreFollowed: an object of ours that is on the last page is found, and the list ends with the page that
// contains one.
func TestPagesAreFollowed(t *testing.T) {
	there := newTestNamespace(shopNamespace).downstreamNamespace
	last := func(o *unstructured.Unstructured) *unstructured.Unstructured { o.SetName("z"); return o }
	copyOf := func(source *unstructured.Unstructured) *unstructured.Unstructured { return desiredOf(t, source) }
	tests := map[string]struct {
		up, down         []*unstructured.Unstructured
		done             bool
		wantUp, wantDown []string
	}{
		"nothing is left": {
			up: others("shop", 1001), down: others(there, 1001), done: true,
			wantUp: pagesOf("configmaps", "", "", "500", "1000"), wantDown: pagesOf("configmaps", ourLabel, "", "500", "1000"),
		},
		"a finalizer on the last page": {
			up: append(others("shop", 1001), last(sourceOf())), down: nil,
			wantUp: pagesOf("configmaps", "", "", "500", "1000"),
		},
		"a copy on the last page": {
			up: nil, down: append(others(there, 1001), copyOf(last(sourceOf()))),
			wantUp: pagesOf("configmaps", "", ""), wantDown: pagesOf("configmaps", ourLabel, "", "500", "1000"),
		},
		"a copy on the first page": {
			up: nil, down: append(others(there, 1001), copied(t)),
			wantUp: pagesOf("configmaps", "", ""), wantDown: pagesOf("configmaps", ourLabel, ""),
		},
		"a copy whose label was removed": {
			up: nil, down: []*unstructured.Unstructured{func() *unstructured.Unstructured { c := copied(t); c.SetLabels(nil); return c }()}, done: true,
			wantUp: pagesOf("configmaps", "", ""), wantDown: pagesOf("configmaps", ourLabel, ""),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b, kcp := newDraining(t, nil, nil)
			sourceIn(b.pass.Controller).Metadata, b.pass.downMetadata = newMetadataServer(t, tc.up...), newMetadataServer(t, tc.down...)
			again, err := b.finish(t)
			if err != nil || (len(kcp.reports) == 1) != tc.done || (again == drainedRetry) == tc.done {
				t.Errorf("finish() = %s, %v, reported %+v", again, err, kcp.reports)
			}
			upstream, downstream := b.lists()
			if diff := cmp.Diff([][]string{tc.wantUp, tc.wantDown}, [][]string{upstream, downstream}); diff != "" {
				t.Errorf("lists: -want +got\n%s", diff)
			}
			if requests := append(b.up.Actions(), b.down.Actions()...); len(requests) != 0 {
				t.Errorf("requests for whole objects: %v", requests)
			}
		})
	}
}

// TestExpiredToken: a list whose token has expired begins anew, and one whose tokens expire again and again backs off.
func TestExpiredToken(t *testing.T) {
	for name, tc := range map[string]struct {
		answer  error
		expires int
		fails   bool
		want    []string
	}{
		"once":     {apierrors.NewResourceExpired("too old"), 1, false, pagesOf("configmaps", "", "", "500", "", "500")},
		"as Gone":  {apierrors.NewGone("too old"), 1, false, pagesOf("configmaps", "", "", "500", "", "500")}, //nolint:staticcheck // as older servers answer
		"twice":    {apierrors.NewResourceExpired("too old"), 2, true, pagesOf("configmaps", "", "", "500", "", "500")},
		"no token": {apierrors.NewResourceExpired("too old"), 0, false, pagesOf("configmaps", "", "", "500")},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := newDraining(t, nil, nil)
			server := newMetadataServer(t, others("shop", 600)...)
			server.answer = func(_ context.Context, _ string, options metav1.ListOptions) error {
				if options.Continue == "" || tc.expires == 0 {
					return nil
				}
				tc.expires--
				return tc.answer
			}
			sourceIn(b.pass.Controller).Metadata = server
			if _, err := b.finish(t); (err != nil) != tc.fails {
				t.Fatalf("finish() = %v", err)
			}
			if diff := cmp.Diff(tc.want, server.requests()); diff != "" {
				t.Errorf("lists: -want +got\n%s", diff)
			}
			if _, err := b.finish(t); err != nil {
				t.Errorf("the next attempt: %v", err)
			}
		})
	}
}

// addResource adds a resource to a Namespace that is being drained.
func (b *bench) addResource(t *testing.T, name string) *resourceSync {
	t.Helper()
	l := newBench(t, nil, nil, nil, nil).pass.resource
	l.stop = func() {}
	l.api.GroupResource = workloadv1alpha1.GroupResource{Resource: name}
	setSource(b.pass.Controller, l)
	b.pass.namespace.resources[l.api.GroupResource] = l
	return l
}

// TestDrainKeepsItsProgress: after a failure, nothing is listed again that has been read.
func TestDrainKeepsItsProgress(t *testing.T) {
	b, kcp := newDraining(t, nil, nil)
	there := b.pass.namespace.downstreamNamespace
	b.addResource(t, "alpha")
	last := b.addResource(t, "zeta")
	sourceIn(b.pass.Controller).Metadata, b.pass.downMetadata = newMetadataServer(t, others("shop", 1001)...), newMetadataServer(t, others(there, 1001)...)
	fails := true
	b.pass.downMetadata.(*metadataServer).answer = func(_ context.Context, _ string, options metav1.ListOptions) error {
		if options.Continue == "500" && fails {
			return errors.New("connection refused")
		}
		return nil
	}
	for range 3 {
		if _, err := b.finish(t); err == nil || len(kcp.reports) != 0 {
			t.Fatalf("finish() = %v, reported %+v", err, kcp.reports)
		}
	}
	fails = false
	// The caches show something of the last resource, and then nothing: that one alone is verified again.
	if again, err := b.pass.finishDrain(t.Context(), b.pass.namespace); err != nil || again != immediately {
		t.Fatalf("finishDrain() = %s, %v", again, err)
	}
	if upstream, _ := b.lists(); strings.HasPrefix(upstream[len(upstream)-1], "zeta") {
		t.Error("one step lists two resources")
	}
	if _, err := b.pass.finishDrain(t.Context(), b.pass.namespace); err != nil {
		t.Fatal(err)
	}
	if err := last.up.Objects.Store.Add(mustPack(t, sourceOf())); err != nil {
		t.Fatal(err)
	}
	if again, err := b.finish(t); err != nil || again != 0 || len(kcp.reports) != 0 {
		t.Fatalf("with an object in the cache: finish() = %s, %v, reported %+v", again, err, kcp.reports)
	}
	if err := last.up.Objects.Store.Delete(mustPack(t, sourceOf())); err != nil {
		t.Fatal(err)
	}
	if _, err := b.finish(t); err != nil || len(kcp.reports) != 1 {
		t.Fatalf("finish() = %v, reported %+v", err, kcp.reports)
	}
	upstream, downstream := b.lists()
	wantUp := pagesOf("configmaps", "", "", "500", "1000")
	wantDown := append(pagesOf("configmaps", ourLabel, ""), pagesOf("configmaps", ourLabel, "500", "500", "500", "500", "1000")...)
	for _, resource := range []string{"zeta", "zeta"} {
		wantUp, wantDown = append(wantUp, pagesOf(resource, "", "")...), append(wantDown, pagesOf(resource, ourLabel, "")...)
	}
	wantUp, wantDown = append(pagesOf("alpha", "", ""), wantUp...), append(pagesOf("alpha", ourLabel, ""), wantDown...)
	if diff := cmp.Diff([][]string{wantUp, wantDown}, [][]string{upstream, downstream}); diff != "" {
		t.Errorf("lists: -want +got\n%s", diff)
	}
}

// TestSlowServer: a list that takes longer than a pass is read in several passes, none of which fails.
func TestSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, kcp := newDraining(t, nil, nil)
		server := newMetadataServer(t, others("shop", 8*listPageSize)...)
		server.answer = func(ctx context.Context, _ string, _ metav1.ListOptions) error {
			select {
			case <-time.After(4 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		sourceIn(b.pass.Controller).Metadata = server
		key := queueKey{namespace: shopNamespace}
		b.pass.queue.Add(key)
		for start := time.Now(); len(kcp.reports) == 0 && time.Since(start) < 10*time.Minute; {
			began := time.Now()
			b.pass.processNext(t.Context())
			if took := time.Since(began); took > passTimeout {
				t.Fatalf("a pass took %s", took)
			}
			if failures := b.pass.queue.NumRequeues(key); failures != 0 {
				t.Fatalf("%d passes have failed", failures)
			}
		}
		if requests := len(server.requests()); requests != 8 || len(kcp.reports) != 1 {
			t.Errorf("%d pages were read, reported %+v", requests, kcp.reports)
		}
		b.pass.queue.ShutDown()
	})
}

// TestRemovedResourceIsListedInPages: whether a resource that is no longer named has left copies is asked like the end
// of a drain.
func TestRemovedResourceIsListedInPages(t *testing.T) {
	for name, isCopy := range map[string]bool{"a copy on the last page": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			b, _ := newDraining(t, nil, nil)
			p := b.pass.namespace
			objects := others(p.downstreamNamespace, 1001)
			if isCopy {
				objects = append(objects, desiredOf(t, sourceOf(func(o *unstructured.Unstructured) { o.SetName("z") })))
			}
			b.pass.downMetadata = newMetadataServer(t, objects...)
			delete(p.resources, b.pass.resource.api.GroupResource)
			b.pass.catalog.Store(&[]discovery.Resource{{GroupResource: b.pass.resource.api.GroupResource, Removing: true, DownstreamVersion: "v1"}})
			gone, err := b.pass.isUnwatchedAndGone(t.Context(), p, b.pass.resource.api.GroupResource)
			if gone == isCopy || err != nil {
				t.Errorf("isUnwatchedAndGone() = %t, %v", gone, err)
			}
			_, downstream := b.lists()
			if diff := cmp.Diff(pagesOf("configmaps", ourLabel, "", "500", "1000"), downstream); diff != "" {
				t.Errorf("lists: -want +got\n%s", diff)
			}
		})
	}
}

// TestMetadataTellsTheSame: metadata alone tells whose an object is as the whole object does.
func TestMetadataTellsTheSame(t *testing.T) {
	e := &Controller{owner: testOwner}
	annotated := sourceOf(fresh, func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{workloadv1alpha1.SyncAnnotation(testOwner.Key): "{}"})
	})
	for _, o := range []*unstructured.Unstructured{sourceOf(), sourceOf(fresh), annotated, copied(t), others("shop", 1)[0]} {
		if got, want := e.hasOurMetadataIn(metadataOf(o)), e.hasOurMetadata(o); got != want {
			t.Errorf("hasOurMetadataIn(%v) = %t, want %t", o.Object["metadata"], got, want)
		}
		if got, want := e.isManagedMetadata(metadataOf(o)), e.isManaged(o); got != want {
			t.Errorf("isManagedMetadata(%v) = %t, want %t", o.Object["metadata"], got, want)
		}
	}
}

// TestMetadataClients: the clients of New ask for metadata only, and share the rate limit of those for whole objects.
func TestMetadataClients(t *testing.T) {
	var accept []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accept = append(accept, r.Header.Get("Accept"))
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("limit") == "2" {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = w.Write([]byte(`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"continue":"next"},"items":[{"metadata":{"name":"a"}}]}`))
	}))
	defer server.Close()
	limited := &rest.Config{Host: server.URL, QPS: 0.001, Burst: 2}
	from, err := workspace.NewForConfig(limited, &target{}, testOwner, clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{Source: from, Cluster: limited, Owner: testOwner})
	if err != nil {
		t.Fatal(err)
	}
	defer e.queue.ShutDown()
	for name, clients := range map[string]struct {
		whole dynamic.Interface
		meta  metadata.Interface
	}{"workspace": {from.Client, from.Metadata}, "physical cluster": {e.down, e.downMetadata}} {
		ctx, cancel := context.WithTimeout(t.Context(), passTimeout)
		defer cancel()
		accept = nil
		list, err := clients.meta.Resource(configMaps).Namespace("shop").List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil || list.Continue != "next" || len(list.Items) != 1 {
			t.Fatalf("%s: %v, %v", name, list, err)
		}
		if len(accept) != 1 || !strings.Contains(accept[0], "as=PartialObjectMetadataList") {
			t.Errorf("%s: asked for %q", name, accept)
		}
		_, err = clients.meta.Resource(configMaps).Namespace("shop").List(ctx, metav1.ListOptions{Limit: 2})
		if seconds, ok := apierrors.SuggestsClientDelay(err); !ok || seconds != 7 {
			t.Errorf("%s: a server that asks to wait: %v", name, err)
		}
		if _, err = clients.whole.Resource(configMaps).Namespace("shop").List(ctx, metav1.ListOptions{}); !errors.Is(err, ratelimit.ErrThrottled) {
			t.Errorf("%s: a request beyond the rate limit: %v", name, err)
		}
	}
}
