package kcpprovider

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
)

// engagements records the logical clusters that are engaged, and hands them on to a controller.
type engagements struct {
	controller multicluster.Aware
	provider   multicluster.Provider
	// early are the logical clusters that were found after their context had ended.
	early  []string
	mu     sync.Mutex
	calls  map[string]int
	active map[string]int
}

func (e *engagements) Engage(ctx context.Context, name multicluster.ClusterName, cl cluster.Cluster) error {
	e.mu.Lock()
	e.calls[name.String()]++
	e.active[name.String()]++
	e.mu.Unlock()
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if found, err := e.provider.Get(ctx, name); err == nil && found == cl {
			e.early = append(e.early, name.String())
		}
		e.active[name.String()]--
	})
	return e.controller.Engage(ctx, name, cl)
}

// names are the logical clusters that are engaged now.
func (e *engagements) names() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	names := []string{}
	for name, active := range e.active {
		if active > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// run is a Supervisor that runs against a fake kcp, with a controller of ConfigMaps, Secrets and Leases.
type run struct {
	t        *testing.T
	kcp      *fakeKcp
	s        *Supervisor
	engaged  *engagements
	passes   *passes
	startErr chan error
}

// start runs the Supervisor until the test ends.
func start(t *testing.T, kcp *fakeKcp) *run {
	t.Helper()
	r := &run{t: t, kcp: kcp, s: newSupervisor(t, kcp), passes: &passes{counts: map[string]int{}}, startErr: make(chan error, 1)}
	controller := newController(t.Context(), t, r.passes, &corev1.ConfigMap{}, secretMeta(), &coordinationv1.Lease{})
	r.engaged = &engagements{controller: controller, provider: r.s, calls: map[string]int{}, active: map[string]int{}}
	synctest.Wait()
	go func() { r.startErr <- r.s.Start(t.Context(), r.engaged) }()
	synctest.Wait()
	return r
}

// settle waits until all is at rest: controller-runtime polls whether caches are filled.
func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// want compares the logical clusters that are engaged.
func (r *run) want(reason string, names ...string) {
	r.t.Helper()
	settle()
	if diff := cmp.Diff(append([]string{}, names...), r.engaged.names()); diff != "" {
		r.t.Errorf("%s\nengaged: -want +got\n%s", reason, diff)
	}
	if len(r.engaged.early) != 0 {
		r.t.Errorf("%s\nfound after they were disengaged: %q", reason, r.engaged.early)
	}
	if got := r.s.Served(); got != len(names) {
		r.t.Errorf("%s\nServed() = %d, want %d", reason, got, len(names))
	}
}

// at tells whether a request is for a path of an endpoint.
func at(r *http.Request, url string) bool {
	return strings.HasPrefix("https://"+r.URL.Host+r.URL.Path, url)
}

// TestSickEndpoint: an endpoint where one kind cannot be read delays no other, and is served when it can.
func TestSickEndpoint(t *testing.T) {
	limited := func(r *http.Request) bool { return r.URL.Query().Get("limit") == "1" }
	tests := map[string]struct {
		reason string
		fault  func(r *http.Request) (hang bool, code int)
	}{
		"nothing answers":          {"", func(r *http.Request) (bool, int) { return at(r, shard2), 0 }},
		"one kind hangs":           {"Discovery would answer.", func(r *http.Request) (bool, int) { return at(r, shard2+secretsPath), 0 }},
		"one kind fails":           {"", func(r *http.Request) (bool, int) { return false, map[bool]int{true: 503}[at(r, shard2+secretsPath)] }},
		"one kind is forbidden":    {"", func(r *http.Request) (bool, int) { return false, map[bool]int{true: 403}[at(r, shard2+secretsPath)] }},
		"APIBindings hang":         {"", func(r *http.Request) (bool, int) { return at(r, shard2+bindingsPath), 0 }},
		"one kind is never listed": {"One object of it can be.", func(r *http.Request) (bool, int) { return at(r, shard2+secretsPath) && !limited(r), 0 }},
		"one kind fails after a look": {"", func(r *http.Request) (bool, int) {
			return false, map[bool]int{true: 500}[at(r, shard2+mapsPath) && !limited(r)]
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kcp := newFakeKcp()
				kcp.put(shard1+bindingsPath, bound("one"))
				kcp.put(shard1+mapsPath, configMap("one", "m1"))
				kcp.put(shard2+bindingsPath, bound("two"))
				kcp.put(shard2+mapsPath, configMap("two", "m2"))
				kcp.setFault(tc.fault)
				kcp.list(shard2, shard1) // the sick one first
				r := start(t, kcp)
				time.Sleep(5 * time.Minute)
				r.want(tc.reason, "one")
				if diff := cmp.Diff(map[string]int{"one/m1": 1}, r.passes.take()); diff != "" {
					t.Errorf("%s\npasses: -want +got\n%s", tc.reason, diff)
				}

				kcp.put(shard1+mapsPath, configMap("three", "m3"))
				settle()
				kcp.put(shard1+bindingsPath, bound("three"))
				r.want("Engaged while the other is sick.", "one", "three")

				kcp.setFault(func(*http.Request) (bool, int) { return false, 0 })
				time.Sleep(5 * time.Minute)
				r.want("It is well.", "one", "three", "two")
				if diff := cmp.Diff(map[string]int{"one": 1, "two": 1, "three": 1}, r.engaged.calls); diff != "" {
					t.Errorf("a late endpoint restarts others: -want +got\n%s", diff)
				}
				if diff := cmp.Diff(map[string]int{"two/m2": 1, "three/m3": 1}, r.passes.take()); diff != "" {
					t.Errorf("passes: -want +got\n%s", diff)
				}
				if got, _ := r.s.EndpointOf("two"); got != shard2 {
					t.Errorf("EndpointOf() = %q", got)
				}
			})
		})
	}
}

// TestEngagement: a logical cluster is engaged while it has an APIBinding, from when one is bound.
func TestEngagement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kcp := newFakeKcp()
		kcp.list(shard1)
		r := start(t, kcp)
		r.want("Nothing is bound.")
		if _, err := r.s.Get(t.Context(), "one"); !errors.Is(err, multicluster.ErrClusterNotFound) {
			t.Errorf("Get() = %v, want ErrClusterNotFound", err)
		}

		kcp.put(shard1+bindingsPath, binding("one", apisv1alpha2.APIBindingPhaseBinding))
		r.want("Its API is not served yet.")
		first := bound("one")
		kcp.put(shard1+bindingsPath, first)
		r.want("", "one")

		second := bound("one")
		second.Name = "second"
		kcp.put(shard1+bindingsPath, second)
		now := second.CreationTimestamp
		first = first.DeepCopy()
		first.DeletionTimestamp = &now
		kcp.put(shard1+bindingsPath, first)
		r.want("A binding that is being deleted is one.", "one")
		kcp.remove(shard1+bindingsPath, first)
		r.want("It has another one.", "one")
		kcp.remove(shard1+bindingsPath, second)
		r.want("It has none.")

		kcp.put(shard1+bindingsPath, bound("one"))
		r.want("It is back.", "one")
		if got := r.engaged.calls["one"]; got != 2 {
			t.Errorf("engaged %d times, want 2", got)
		}
	})
}

// TestEndpointsChange: endpoints come and go with the slice.
func TestEndpointsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kcp := newFakeKcp()
		kcp.put(shard1+bindingsPath, bound("one"))
		kcp.put(shard1+bindingsPath, bound("both"))
		kcp.put(shard2+bindingsPath, bound("both"))
		r := start(t, kcp)
		r.want("There is no slice.")
		kcp.list(shard1)
		r.want("", "both", "one")
		kcp.list(shard1, shard2)
		r.want("It is engaged once.", "both", "one")
		kcp.list(shard2)
		r.want("Another endpoint takes over.", "both")
		if got, ok := r.s.EndpointOf("both"); got != shard2 || !ok {
			t.Errorf("EndpointOf() = %q, %t", got, ok)
		}
		kcp.list()
		r.want("")
		if _, ok := r.s.EndpointOf("both"); ok {
			t.Error("EndpointOf() is known of what is not served")
		}
		kcp.list(shard1 + "/")
		r.want("", "both", "one")
	})
}

// TestHandOver: an endpoint takes over from another one where the last APIBinding is deleted.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kcp := newFakeKcp()
		here := bound("one")
		kcp.put(shard1+bindingsPath, here)
		kcp.list(shard1)
		r := start(t, kcp)
		kcp.put(shard2+bindingsPath, bound("one"))
		kcp.list(shard1, shard2)
		r.want("", "one")
		kcp.remove(shard1+bindingsPath, here)
		r.want("", "one")
		if got, _ := r.s.EndpointOf("one"); got != shard2 {
			t.Errorf("EndpointOf() = %q", got)
		}
	})
}

// TestKcpIsLate: nothing ends while kcp is not there.
func TestKcpIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kcp := newFakeKcp()
		kcp.put(shard1+bindingsPath, bound("one"))
		kcp.list(shard1)
		kcp.setFault(func(*http.Request) (bool, int) { return false, http.StatusBadGateway })
		r := start(t, kcp)
		time.Sleep(time.Hour)
		r.want("kcp does not answer.")
		kcp.setFault(func(*http.Request) (bool, int) { return false, 0 })
		time.Sleep(time.Minute)
		r.want("", "one")
	})
}

// TestStartEnds: everything ends with the context, and without an error.
func TestStartEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kcp := newFakeKcp()
		kcp.put(shard1+bindingsPath, bound("one"))
		kcp.list(shard1, shard2)
		kcp.setFault(func(r *http.Request) (bool, int) { return at(r, shard2), 0 })
		s := newSupervisor(t, kcp)
		engaged := &engagements{controller: &aware{}, provider: s, calls: map[string]int{}, active: map[string]int{}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Start(ctx, engaged) }()
		settle()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start() = %v", err)
		}
		synctest.Wait()
		if len(engaged.names()) != 0 || s.Served() != 0 {
			t.Errorf("engaged: %q", engaged.names())
		}
	})
}

// TestIndexField: an index serves endpoints that come later, and those that are there, in each logical cluster by itself.
func TestIndexField(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kcp := newFakeKcp()
		for _, m := range []*corev1.ConfigMap{configMap("one", "m1"), configMap("two", "m2")} {
			m.Data = map[string]string{"key": "value"}
			kcp.put(shard1+mapsPath, m)
		}
		kcp.put(shard1+bindingsPath, bound("one"))
		kcp.list(shard1)
		s := newSupervisor(t, kcp)
		index := func(field string) {
			if err := s.IndexField(t.Context(), &corev1.ConfigMap{}, field, func(o client.Object) []string {
				return []string{o.(*corev1.ConfigMap).Data["key"]}
			}); err != nil {
				t.Errorf("IndexField() = %v", err)
			}
		}
		index("before")
		go func() { _ = s.Start(t.Context(), &aware{}) }()
		settle()
		index("after")
		cl, err := s.Get(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"before", "after"} {
			var found corev1.ConfigMapList
			if err := cl.GetCache().List(t.Context(), &found, client.MatchingFields{field: "value"}); err != nil || len(found.Items) != 1 || found.Items[0].Name != "m1" {
				t.Errorf("List() by %s = %v, %v", field, found.Items, err)
			}
		}
	})
}
