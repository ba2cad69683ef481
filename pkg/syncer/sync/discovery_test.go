package sync

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientdiscovery "k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// TestDiscoveryDelays: how long after a run the next one is, without a signal and with one.
func TestDiscoveryDelays(t *testing.T) {
	const s = time.Second
	type delays = discoveryDelays
	tests := map[string]struct {
		reason                string
		before                delays
		isSignalled, foundNew bool
		want                  delays
	}{
		"first run":                 {"", initialDelays, false, false, delays{2 * s, 0}},
		"first signal":              {"It was answered at once; the next one waits.", initialDelays, true, false, delays{2 * s, s}},
		"second signal":             {"", delays{2 * s, s}, true, false, delays{4 * s, 2 * s}},
		"many signals":              {"", delays{32 * s, 40 * s}, true, false, delays{60 * s, 60 * s}},
		"more signals":              {"", delays{60 * s, 60 * s}, true, false, delays{60 * s, 60 * s}},
		"a signal finds something":  {"More may follow, but not with each signal.", delays{60 * s, 32 * s}, true, true, delays{60 * s, s}},
		"a run finds something":     {"", delays{16 * s, 0}, false, true, delays{32 * s, s}},
		"no signal":                 {"The resource may be asked for again in a while.", delays{32 * s, 8 * s}, false, false, delays{60 * s, 8 * s}},
		"no signal for an interval": {"", delays{60 * s, 8 * s}, false, false, delays{60 * s, 0}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.before.after(tc.isSignalled, tc.foundNew); got != tc.want {
				t.Errorf("%s\nafter() = %v, want %v", tc.reason, got, tc.want)
			}
		})
	}
	for name, tc := range map[string]struct {
		delays      delays
		isSignalled bool
		want        time.Duration
	}{
		"without a signal":              {delays{60 * s, 0}, false, 60 * s},
		"with a signal":                 {delays{60 * s, 0}, true, 0},
		"with one that has to wait":     {delays{60 * s, 8 * s}, true, 8 * s},
		"a signal never delays the run": {delays{s, 60 * s}, true, s},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.delays.next(tc.isSignalled); got != tc.want {
				t.Errorf("next() = %s, want %s", got, tc.want)
			}
		})
	}
}

// apiServer serves the discovery documents of Kubernetes without a network, and notes the requests.
type apiServer struct {
	mu       sync.Mutex
	groups   string
	fails    string
	requests []string
}

const (
	noGroups  = `{"items":[{"metadata":{"name":""},"versions":[{"version":"v1","freshness":"Current"}]}]}`
	configMap = `{"items":[{"metadata":{"name":""},"versions":[{"version":"v1","freshness":"Current","resources":[
		{"resource":"configmaps","scope":"Namespaced","responseKind":{"group":"","version":"v1","kind":"ConfigMap"},"verbs":["list","watch"]}]}]}]}`
	schemaOf = `{"components":{"schemas":{"c":{"type":"object","x-kubernetes-group-version-kind":[{"group":"","version":"v1","kind":"ConfigMap"}]}}}}`
)

func (s *apiServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.URL.Path)
	header, body, status := http.Header{"Content-Type": {clientdiscovery.AcceptV2}}, "", http.StatusOK
	switch r.URL.Path {
	case "/api":
		body = s.groups
	case "/apis":
		body = `{"items":[]}`
		header.Set("ETag", `"none"`)
		if r.Header.Get("If-None-Match") == `"none"` {
			status = http.StatusNotModified
		}
	case "/openapi/v3":
		header.Set("Content-Type", "application/json")
		body = fmt.Sprintf(`{"paths":{"api/v1":{"serverRelativeURL":"/openapi/v3/api/v1?hash=%d"}}}`, len(s.groups))
	default:
		header.Set("Content-Type", "application/json")
		body = schemaOf
	}
	if s.fails == r.URL.Path {
		status, body = http.StatusForbidden, "{}"
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewBufferString(body)), Request: r}, nil
}

func (s *apiServer) set(groups string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups = groups
}

// count tells how many requests with this path there were since the last call of reset.
func (s *apiServer) count(path string) (count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r == path {
			count++
		}
	}
	return count
}

func (s *apiServer) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// newDiscoveringEngine is one with these two sides, and without a catalog.
func newDiscoveringEngine(t *testing.T, up, down *apiServer) *Controller {
	t.Helper()
	k := &kcp{}
	k.Generation = 1
	k.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}}
	e := newTestEngine(t, k)
	t.Cleanup(e.queue.ShutDown)
	e.catalog.Store(nil)
	for i, side := range []*apiServer{up, down} {
		var err error
		if e.discoveryClients[i], err = discovery.NewClient(&rest.Config{Host: "http://side", Transport: side, QPS: -1}, e.clock); err != nil {
			t.Fatal(err)
		}
	}
	e.schemas = discovery.NewSchemas(e.discoveryClients[0].OpenAPI(), e.discoveryClients[1].OpenAPI())
	return e
}

// signalFor signals each second.
func signalFor(e *Controller, duration time.Duration) {
	for range int(duration / time.Second) {
		signal(e.rediscover)
		time.Sleep(time.Second)
	}
}

// TestSignalsDoNotFlood: a watch that is answered with 404 all the time does not make discovery run all the time.
func TestSignalsDoNotFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := &apiServer{groups: configMap}, &apiServer{groups: noGroups}
		e := newDiscoveringEngine(t, up, down)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go e.runDiscovery(ctx)

		signalFor(e, 10*time.Minute)
		if runs := up.count("/api"); runs < 10 || runs > 18 {
			t.Errorf("%d runs in 10 minutes with a signal each second", runs)
		}

		isAccepted := func() bool { return (*e.catalog.Load())[0].State == workloadv1alpha1.ResourceAccepted }
		down.set(configMap)
		for changed := time.Now(); !isAccepted(); signalFor(e, time.Second) {
			if time.Since(changed) > 70*time.Second {
				t.Fatalf("the catalog is %+v", *e.catalog.Load())
			}
		}
		up.reset()
		signalFor(e, 5*time.Second)
		if runs := up.count("/api"); runs < 1 {
			t.Errorf("%d runs in the 5 s after something new was found", runs)
		}

		signalFor(e, 5*time.Minute)
		time.Sleep(time.Second) // past the signal
		up.reset()
		setGeneration(e, 2)
		signal(e.rediscover)
		synctest.Wait()
		if runs := up.count("/api"); runs != 1 {
			t.Errorf("%d runs at a change of the spec", runs)
		}

		time.Sleep(10 * time.Minute)
		up.reset()
		signal(e.rediscover)
		synctest.Wait()
		if runs := up.count("/api"); runs != 1 {
			t.Errorf("%d runs at a signal after a long time without one", runs)
		}
	})
}

func setGeneration(e *Controller, generation int64) {
	plan := *e.source.Plan()
	plan.Generation = generation
	sourceIn(e).shown.Store(&plan)
}

// TestQuietDiscovery: two sides that serve what they served cost two requests a minute each, and make no catalog.
func TestQuietDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := &apiServer{groups: configMap}, &apiServer{groups: configMap}
		e := newDiscoveringEngine(t, up, down)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go e.runDiscovery(ctx)
		time.Sleep(3 * time.Minute)
		up.reset()
		down.reset()
		catalog := e.catalog.Load()
		time.Sleep(5 * time.Minute)
		for _, side := range []*apiServer{up, down} {
			side.mu.Lock()
			if got := len(side.requests); got < 8 || got > 10 || strings.Contains(strings.Join(side.requests, " "), "/api ") {
				t.Errorf("%d requests in 5 minutes: %q", got, side.requests)
			}
			side.mu.Unlock()
		}
		if e.catalog.Load() != catalog {
			t.Error("there is another catalog")
		}
	})
}

// TestRefreshDiscovery: when the catalog is made again.
func TestRefreshDiscovery(t *testing.T) {
	tests := map[string]struct {
		reason         string
		act            func(e *Controller, plan *source.Plan, down *apiServer)
		made, foundNew bool
	}{
		"unchanged": {"", func(*Controller, *source.Plan, *apiServer) {}, false, false},
		"the spec": {"", func(_ *Controller, plan *source.Plan, _ *apiServer) {
			plan.Resources = append(slices.Clone(plan.Resources), workloadv1alpha1.GroupResource{Resource: "secrets"})
		}, true, true},
		"a side": {"", func(_ *Controller, _ *source.Plan, down *apiServer) { down.set(noGroups) }, true, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up, down := &apiServer{groups: configMap}, &apiServer{groups: configMap}
				e := newDiscoveringEngine(t, up, down)
				plan := e.source.Plan()
				last, _ := e.refreshDiscovery(t.Context(), plan, discoveryRun{}, false)
				time.Sleep(time.Minute)
				last, _ = e.refreshDiscovery(t.Context(), plan, last, false)
				time.Sleep(time.Minute)
				tc.act(e, plan, down)
				next, foundNew := e.refreshDiscovery(t.Context(), plan, last, false)
				if made := !last.isSame(next); made != tc.made || foundNew != tc.foundNew {
					t.Errorf("%s\nmade: %t, new: %t", tc.reason, made, foundNew)
				}
			})
		})
	}
}

// TestUnreadSchema: a schema that could not be read is read again, although neither side has changed.
func TestUnreadSchema(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, down := &apiServer{groups: configMap}, &apiServer{groups: configMap, fails: "/openapi/v3/api/v1"}
		e := newDiscoveringEngine(t, up, down)
		plan := e.source.Plan()
		var last discoveryRun
		for range 3 {
			last, _ = e.refreshDiscovery(t.Context(), plan, last, false)
			time.Sleep(time.Minute)
		}
		down.fails = ""
		down.reset()
		last, _ = e.refreshDiscovery(t.Context(), plan, last, false)
		if down.count("/openapi/v3/api/v1") != 1 || !last.complete {
			t.Error("the schema is not read again")
		}
	})
}
