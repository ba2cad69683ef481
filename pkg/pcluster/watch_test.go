package pcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watched is a cluster with a Deployment n/d that can be changed and watched.
type watched struct {
	*fakeServer
	mu      sync.Mutex
	version int // of the Deployment; 0 if it does not exist
	last    int // of the cluster
	watches int // made so far
	change  chan struct{}
	cut     chan struct{} // closed to end all watches
	refusal http.HandlerFunc
	queries []string
}

func newWatched(t *testing.T) *watched {
	w := &watched{version: 1, last: 1, change: make(chan struct{}), cut: make(chan struct{})}
	w.fakeServer = newServer(t, except(w.serve))
	return w
}

func (w *watched) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	version, last, refusal := w.version, w.last, w.refusal
	if r.URL.Path == "/apis/apps/v1/namespaces/n/deployments" {
		w.queries = append(w.queries, r.URL.Query().Get("fieldSelector"))
	}
	w.mu.Unlock()
	object := map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "d", "namespace": "n", "resourceVersion": fmt.Sprint(version)},
	}
	switch {
	case refusal != nil:
		refusal(rw, r)
	case r.URL.Query().Has("watch"):
		w.stream(rw, r)
	case r.URL.Path == "/apis/apps/v1/namespaces/n/deployments":
		items := []any{}
		if version != 0 {
			items = append(items, object)
		}
		writeJSON(rw, http.StatusOK, map[string]any{
			"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": fmt.Sprint(last)}, "items": items,
		})
	case version == 0:
		refuse(http.StatusNotFound, "NotFound", "")(rw, r)
	default:
		writeJSON(rw, http.StatusOK, object)
	}
}

// stream sends an event for every change after the resourceVersion asked for.
func (w *watched) stream(rw http.ResponseWriter, r *http.Request) {
	var seen int
	_, _ = fmt.Sscan(r.URL.Query().Get("resourceVersion"), &seen)
	rw.Header().Set("Content-Type", "application/json")
	rw.(http.Flusher).Flush()
	w.mu.Lock()
	w.watches++
	w.mu.Unlock()
	for {
		w.mu.Lock()
		version, last, change, cut := w.version, w.last, w.change, w.cut
		w.mu.Unlock()
		if last > seen {
			seen = last
			kind := "MODIFIED"
			if version == 0 {
				kind = "DELETED"
			}
			_ = json.NewEncoder(rw).Encode(map[string]any{
				"type": kind, "object": map[string]any{"metadata": map[string]any{"name": "d", "resourceVersion": fmt.Sprint(last)}},
			})
			rw.(http.Flusher).Flush()
		}
		select {
		case <-change:
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (w *watched) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *watched) modify() {
	w.set(func() { w.last++; w.version = w.last; close(w.change); w.change = make(chan struct{}) })
}

func (w *watched) remove() {
	w.set(func() { w.last++; w.version = 0; close(w.change); w.change = make(chan struct{}) })
}

// cutWatches ends the watches that are under way.
func (w *watched) cutWatches() { w.set(func() { close(w.cut); w.cut = make(chan struct{}) }) }

func (w *watched) watchCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.watches
}

// story is one target that watches its Deployment.
type story struct {
	*watched
	clock    *clocktesting.FakeClock
	clusters *Clusters
	changes  <-chan ID
	cluster  *Cluster
}

// newStory starts one. The caller has read the Deployment before, as a pass does, unless it is blind.
func newStory(t *testing.T, blind bool) *story {
	t.Helper()
	s := &story{watched: newWatched(t), clock: clocktesting.NewFakeClock(time.Now())}
	s.clusters, s.changes = startClusters(t, s.clock, nil)
	var err error
	if s.cluster, err = s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t")); err != nil {
		t.Fatal(err)
	}
	if !blind {
		s.read(t)
	}
	watchIt(t, s.cluster)
	eventually(t, "the watch", func() bool { return s.watchCount() == 1 })
	return s
}

func watchIt(t *testing.T, cluster *Cluster) {
	t.Helper()
	if err := cluster.Watch(deployment()); err != nil {
		t.Fatal(err)
	}
}

func (s *story) read(t *testing.T) {
	t.Helper()
	err := s.cluster.Client().Get(context.Background(), client.ObjectKey{Namespace: "n", Name: "d"}, deployment())
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

// stepUntil moves the clock until something has happened, and returns how far.
func (s *story) stepUntil(t *testing.T, what string, happened func() bool) time.Duration {
	t.Helper()
	began := s.clock.Now()
	eventually(t, what, func() bool {
		if happened() {
			return true
		}
		s.clock.Step(250 * time.Millisecond)
		return false
	})
	return s.clock.Since(began)
}

// told waits for OnChange, and moves the clock past the interval in which another call would be held back.
func (s *story) told(t *testing.T, what string) {
	t.Helper()
	s.stepUntil(t, what, func() bool { return len(s.changes) > 0 })
	for len(s.changes) > 0 {
		if diff := cmp.Diff(testID("a"), <-s.changes); diff != "" {
			t.Errorf("OnChange, -want +got:\n%s", diff)
		}
	}
	s.quiet()
}

func (s *story) quiet() { s.clock.Step(newsInterval) }

func TestWatchTells(t *testing.T) {
	for name, happen := range map[string]func(*story){
		"modified": func(s *story) { s.modify() },
		"deleted":  func(s *story) { s.remove() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, false)
			if len(s.changes) != 0 {
				t.Error("OnChange was called, though the caller has seen this Deployment")
			}
			happen(s)
			s.told(t, "the change")
			s.modify()
			s.told(t, "another change")
			if got := s.watchCount(); got != 1 {
				t.Errorf("%d watches, want 1", got)
			}
			if diff := cmp.Diff("metadata.name=d", s.queries[0]); diff != "" {
				t.Errorf("field selector, -want +got:\n%s", diff)
			}
		})
	}
}

func TestWatchFirstLook(t *testing.T) {
	for name, test := range map[string]struct {
		reason string
		before func(t *testing.T, s *story)
		tells  bool
	}{
		"never read":    {"what the caller knows is unknown", func(*testing.T, *story) {}, true},
		"read":          {"it knows all", func(t *testing.T, s *story) { s.read(t) }, false},
		"changed since": {"what happened in between counts", func(t *testing.T, s *story) { s.read(t); s.modify() }, true},
		"deleted since": {"so does this", func(t *testing.T, s *story) { s.read(t); s.remove() }, true},
		"known missing": {"it knows that, too", func(t *testing.T, s *story) { s.remove(); s.read(t) }, false},
		"created since": {"", func(t *testing.T, s *story) { s.remove(); s.read(t); s.modify() }, true},
		"applied": {"its own write is no news", func(t *testing.T, s *story) {
			applied := &unstructured.Unstructured{}
			applied.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
			applied.SetNamespace("n")
			applied.SetName("d")
			if err := s.cluster.Client().Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("test")); err != nil {
				t.Fatal(err)
			}
		}, false},
		"read unavailable": {"a failed read tells the caller nothing", func(*testing.T, *story) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{watched: newWatched(t), clock: clocktesting.NewFakeClock(time.Now())}
			s.clusters, s.changes = startClusters(t, s.clock, nil)
			var err error
			if s.cluster, err = s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t")); err != nil {
				t.Fatal(err)
			}
			test.before(t, s)
			for range 3 {
				watchIt(t, s.cluster)
			}
			eventually(t, "the watch", func() bool { return s.watchCount() > 0 })
			if test.tells {
				await(t, "OnChange", s.changes)
			} else if len(s.changes) != 0 {
				t.Errorf("%s: OnChange was called", test.reason)
			}
			if got := s.watchCount(); got != 1 {
				t.Errorf("%d watches, want 1 for three calls", got)
			}
		})
	}
}

// Every kind is watched where API servers serve it, and what none of ours knows is an error.
func TestWatchPaths(t *testing.T) {
	server := newServer(t, nil)
	looks := make(chan string, 100)
	server.answer(except(func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("watch") {
			looks <- r.URL.Path + "?" + r.URL.Query().Get("fieldSelector")
		}
		refuse(http.StatusForbidden, "Forbidden", "")(w, r)
	}))
	clusters, _ := startClusters(t, clocktesting.NewFakeClock(time.Now()), nil)
	cluster, err := clusters.Get(t.Context(), testID("a"), server.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	local, global := metav1.ObjectMeta{Namespace: "n", Name: "x"}, metav1.ObjectMeta{Name: "x"}
	for want, object := range map[string]client.Object{
		"/api/v1/namespaces":                                           &corev1.Namespace{ObjectMeta: global},
		"/api/v1/namespaces/n/serviceaccounts":                         &corev1.ServiceAccount{ObjectMeta: local},
		"/api/v1/namespaces/n/secrets":                                 &corev1.Secret{ObjectMeta: local},
		"/apis/apps/v1/namespaces/n/deployments":                       &appsv1.Deployment{ObjectMeta: local},
		"/apis/rbac.authorization.k8s.io/v1/clusterroles":              &rbacv1.ClusterRole{ObjectMeta: global},
		"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings":       &rbacv1.ClusterRoleBinding{ObjectMeta: global},
		"/apis/rbac.authorization.k8s.io/v1/namespaces/n/roles":        &rbacv1.Role{ObjectMeta: local},
		"/apis/rbac.authorization.k8s.io/v1/namespaces/n/rolebindings": &rbacv1.RoleBinding{ObjectMeta: local},
	} {
		if err := cluster.Watch(object); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want+"?metadata.name=x", await(t, "the look", looks)); diff != "" {
			t.Errorf("%T: -want +got:\n%s", object, diff)
		}
	}
	if err := cluster.Watch(&appsv1.DaemonSet{ObjectMeta: local}); !meta.IsNoMatchError(err) {
		t.Errorf("Watch(DaemonSet) = %v, want no match", err)
	}
}

// The server's URL may end with a slash, and may have a path.
func TestWatchBelowPath(t *testing.T) {
	for name, test := range map[string]struct{ path, prefix string }{
		"slash":          {"/", ""},
		"path":           {"/prefix", "/prefix"},
		"path and slash": {"/prefix/", "/prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{watched: newWatched(t)}
			s.answer(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.URL.Path, test.prefix+"/api") {
					http.NotFound(w, r)
					return
				}
				http.StripPrefix(test.prefix, except(s.serve)).ServeHTTP(w, r)
			})
			var err error
			s.clusters, s.changes = startClusters(t, nil, nil)
			kubeconfig := tokenKubeconfig(s.URL+test.path, s.Certificate().Raw, "t")
			if s.cluster, err = s.clusters.Get(t.Context(), testID("a"), kubeconfig); err != nil {
				t.Fatal(err)
			}
			s.read(t)
			watchIt(t, s.cluster)
			eventually(t, "the watch", func() bool { return s.watchCount() == 1 })
			s.modify()
			await(t, "the change", s.changes)
		})
	}
}

// What happens while no watch is there is noticed when it is back, and nothing else is told.
func TestWatchComesBack(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(*story)
		tells     bool
	}{
		"nothing":  {func(*story) {}, false},
		"modified": {func(s *story) { s.modify() }, true},
		"deleted":  {func(s *story) { s.remove() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, false)
			before := s.requestCount()
			s.set(func() { s.refusal = refuse(http.StatusInternalServerError, "InternalError", "") })
			s.cutWatches()
			s.stepUntil(t, "a look in vain", func() bool { return s.requestCount() > before })
			s.set(func() { s.refusal = nil })
			test.meanwhile(s)
			s.stepUntil(t, "the watch", func() bool { return s.watchCount() == 2 })
			if test.tells {
				s.told(t, "the change")
			} else if len(s.changes) != 0 {
				t.Error("OnChange was called though nothing changed")
			}
		})
	}
}

// A server that ends every watch at once is asked ever more rarely.
func TestWatchBacksOff(t *testing.T) {
	s := newStory(t, false)
	var pauses []time.Duration
	for i := range 8 {
		s.cutWatches()
		pauses = append(pauses, s.stepUntil(t, "the watch", func() bool { return s.watchCount() == i+2 }))
	}
	// The steps of the test are coarse, and the clock may run on while the server answers.
	if pauses[0] < time.Second || pauses[3] < 8*time.Second || pauses[7] < 50*time.Second {
		t.Errorf("pauses of %v", pauses)
	}
	s.modify()
	s.told(t, "an event") // so the watch holds on our side, too
	s.clock.Step(settledAfter)
	s.cutWatches()
	if pause := s.stepUntil(t, "the watch", func() bool { return s.watchCount() == 10 }); pause > 10*time.Second {
		t.Errorf("a watch that held came back after %s", pause)
	}
}

// A watch that cannot come back for 30 s means that the cluster is dead; a probe finds it alive again, the pass that
// follows calls WatchDeployment, and what happened meanwhile is noticed.
func TestWatchLost(t *testing.T) {
	s := newStory(t, false)
	s.set(func() { s.refusal = refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "") })
	s.answer(refuse(http.StatusServiceUnavailable, "ServiceUnavailable", ""))
	s.cutWatches()
	lost := s.stepUntil(t, "the loss", func() bool { return len(s.changes) > 0 })
	<-s.changes
	if lost < lostAfter || lost > 2*lostAfter {
		t.Errorf("it was lost after %s", lost)
	}
	if _, err := s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t")); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("Get() = %v, want ErrUnreachable", err)
	}
	watchIt(t, s.cluster) // of a dead cluster: nothing

	s.set(func() { s.refusal = nil })
	s.answer(except(s.serve))
	s.remove()
	s.stepUntil(t, "the recovery", func() bool { return len(s.changes) > 0 })
	<-s.changes
	cluster, err := s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	watchIt(t, cluster)
	s.told(t, "what happened meanwhile")
}

// Credentials that are no longer accepted need no 30 s.
func TestWatchUnauthorized(t *testing.T) {
	s := newStory(t, false)
	s.set(func() { s.refusal = refuse(http.StatusUnauthorized, "Unauthorized", "") })
	s.cutWatches()
	if after := s.stepUntil(t, "OnChange", func() bool { return len(s.changes) > 0 }); after > 5*time.Second {
		t.Errorf("told after %s", after)
	}
	if _, err := s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t")); !apierrors.IsUnauthorized(err) {
		t.Errorf("Get() = %v, want Unauthorized", err)
	}
}

// Whoever may not watch is not dead, and does not ask often.
func TestWatchForbidden(t *testing.T) {
	s := newStory(t, false)
	s.set(func() { s.refusal = refuse(http.StatusForbidden, "Forbidden", "") })
	s.cutWatches()
	before := s.requestCount()
	s.stepUntil(t, "five attempts", func() bool { return s.requestCount() >= before+5 })
	if _, err := s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t")); err != nil || len(s.changes) != 0 {
		t.Errorf("Get() = %v, %d changes, want the cluster alive", err, len(s.changes))
	}
}

// The 30 s begin anew after every answer, even a refusal.
func TestWatchLostTwice(t *testing.T) {
	s := newStory(t, false)
	attempts := func(n int, refusal http.HandlerFunc) time.Duration {
		s.set(func() { s.refusal = refusal })
		before := s.requestCount()
		return s.stepUntil(t, "attempts", func() bool { return s.requestCount() >= before+n })
	}
	s.cutWatches()
	attempts(1, refuse(http.StatusServiceUnavailable, "ServiceUnavailable", ""))
	if took := attempts(6, refuse(http.StatusForbidden, "Forbidden", "")); took < lostAfter {
		t.Fatalf("the attempts took only %s", took)
	}
	attempts(1, refuse(http.StatusServiceUnavailable, "ServiceUnavailable", ""))
	s.set(func() { s.refusal = nil })
	s.stepUntil(t, "the watch", func() bool { return s.watchCount() == 2 })
	if len(s.changes) != 0 {
		t.Error("OnChange was called though nothing changed")
	}
}

// A flood of events is a call per second, and the last of them is never lost.
func TestWatchFlood(t *testing.T) {
	s := newStory(t, false)
	s.modify()
	await(t, "the first", s.changes)
	for range 100 {
		s.modify()
	}
	last := fmt.Sprint(101 + 1)
	eventually(t, "the last event", func() bool {
		s.read(t)
		s.cluster.mu.Lock()
		defer s.cluster.mu.Unlock()
		return s.cluster.noted[watchKey{resource: appsv1.Resource("deployments"), namespace: "n", name: "d"}] == last
	})
	if len(s.changes) != 0 {
		t.Error("OnChange was called again at once")
	}
	eventually(t, "the interval", s.clock.HasWaiters)
	s.told(t, "the rest")
}

// Streams that are hostile: the watch ends, and is made again no sooner than any other.
func TestWatchHostileStreams(t *testing.T) {
	for name, body := range map[string]func(http.ResponseWriter, *http.Request){
		"endless event": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"type":"MODIFIED","object":{"x":"`))
			for chunk := []byte(strings.Repeat("x", 1<<16)); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"not JSON":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"error event": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"type":"ERROR","object":{}}`)) },
		"unknown event": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"99"}}}`))
		},
		"nothing": func(http.ResponseWriter, *http.Request) {},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, false)
			streams := make(chan struct{}, 100)
			s.answer(except(func(w http.ResponseWriter, r *http.Request) {
				if !r.URL.Query().Has("watch") {
					s.serve(w, r)
					return
				}
				streams <- struct{}{}
				w.Header().Set("Content-Type", "application/json")
				body(w, r)
			}))
			s.cutWatches()
			s.stepUntil(t, "three streams", func() bool { return len(streams) >= 3 })
			if len(s.changes) != 0 {
				t.Error("OnChange was called though nothing changed")
			}
		})
	}
}

// A watch ends with its cluster and leaves no goroutine.
func TestWatchEnds(t *testing.T) {
	for name, end := range map[string]func(*story){
		"forgotten": func(s *story) { s.clusters.Forget(testID("a")) },
		"replaced": func(s *story) {
			_, _ = s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("new"))
			s.clusters.Forget(testID("a"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, true)
			await(t, "the first look", s.changes) // its goroutine now waits for the interval
			if got := goroutines("pcluster.(*watcher)"); got == 0 {
				t.Fatal("the watch has no goroutine: this test looks for the wrong thing")
			}
			end(s)
			eventually(t, "the goroutines to end", func() bool { return goroutines("pcluster.(*watcher)") == 0 })
			eventually(t, "the connections to close", func() bool { return s.openConns() == 0 })
			if len(s.changes) != 0 {
				t.Error("OnChange was called for the end")
			}
		})
	}
}

// goroutines counts those whose stack mentions a function.
func goroutines(of string) int {
	stacks := make([]byte, 4<<20)
	count := 0
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, of) && !strings.Contains(stack, "testing.tRunner") {
			count++
		}
	}
	return count
}
