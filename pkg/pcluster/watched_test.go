package pcluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	version, refusal := w.version, w.refusal
	if r.URL.Path == "/apis/apps/v1/namespaces/n/deployments" {
		w.queries = append(w.queries, r.URL.Query().Get("fieldSelector"))
	}
	w.mu.Unlock()
	switch {
	case refusal != nil:
		refusal(rw, r)
	case r.URL.Query().Has("watch"):
		w.stream(rw, r)
	case r.URL.Path == "/apis/apps/v1/namespaces/n/deployments":
		w.list(rw)
	case version == 0:
		refuse(http.StatusNotFound, "NotFound", "")(rw, r)
	default:
		writeJSON(rw, http.StatusOK, w.object())
	}
}

func (w *watched) object() map[string]any {
	w.mu.Lock()
	defer w.mu.Unlock()
	return map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "d", "namespace": "n", "resourceVersion": fmt.Sprint(w.version)},
	}
}

func (w *watched) list(rw http.ResponseWriter) {
	object, items := w.object(), []any{}
	w.mu.Lock()
	version, last := w.version, w.last
	w.mu.Unlock()
	if version != 0 {
		items = append(items, object)
	}
	writeJSON(rw, http.StatusOK, map[string]any{
		"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": fmt.Sprint(last)}, "items": items,
	})
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

// attempts counts the requests to list or to watch.
func (w *watched) attempts() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queries)
}

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
	step     time.Duration // of stepUntil
}

// newStory starts one. The caller has read the Deployment before, as a pass does, unless it is blind.
func newStory(t *testing.T, blind bool) *story {
	t.Helper()
	s := &story{watched: newWatched(t), clock: clocktesting.NewFakeClock(time.Now()), step: 250 * time.Millisecond}
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
	err := newClient(t, s.cluster).Get(context.Background(), client.ObjectKey{Namespace: "n", Name: "d"}, deployment())
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
		s.clock.Step(s.step)
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

func (s *story) quiet() { s.clock.Step(changeInterval) }

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
