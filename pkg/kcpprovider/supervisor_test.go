package kcpprovider

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
)

func TestBeforeAnyRun(t *testing.T) {
	s := newSupervisor(newQuick())
	if _, err := s.Get(t.Context(), "one"); !errors.Is(err, multicluster.ErrClusterNotFound) {
		t.Errorf("Get() = %v, want ErrClusterNotFound", err)
	}
	if got := s.Served(); got != 0 {
		t.Errorf("Served() = %d", got)
	}
	if got, ok := s.EndpointOf("one"); ok {
		t.Errorf("EndpointOf() = %q", got)
	}
	if err := s.IndexField(t.Context(), &corev1.Secret{}, "field", nil); err != nil {
		t.Errorf("IndexField() = %v", err)
	}
}

func TestStart(t *testing.T) {
	const long = 2 * steady
	tests := map[string]struct {
		reason string
		// runs is how long each run lasts; the last ends with the process.
		runs []time.Duration
		want []time.Duration // the least of each pause
	}{
		"fails": {
			"It never gives up, and waits longer each time.",
			make([]time.Duration, 11),
			[]time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute, time.Minute},
		},
		"fails after a long run": {
			"It was well; the next failure is a new one.",
			[]time.Duration{0, 0, 0, long, 0, 0},
			[]time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 500 * time.Millisecond, time.Second},
		},
		"ends at once": {"", []time.Duration{0}, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			clock := newQuick()
			s := newSupervisor(clock)
			n := 0
			s.serve = func(context.Context, multicluster.Aware) error {
				clock.Step(tc.runs[n])
				if n++; n == len(tc.runs) {
					cancel()
				}
				if n%3 == 0 {
					return nil // a run that ends without an error is no better
				}
				return errInjected
			}
			if err := s.Start(ctx, nil); err != nil {
				t.Errorf("Start() = %v", err)
			}
			pauses := clock.recorded()
			if n != len(tc.runs) || len(pauses) != len(tc.want) {
				t.Fatalf("%s\n%d runs with pauses %s, want %d with %s", tc.reason, n, pauses, len(tc.runs), tc.want)
			}
			for i, least := range tc.want {
				if pauses[i] < least || pauses[i] > least+least/5 {
					t.Errorf("%s\npause %d is %s, want %s and up to a fifth more", tc.reason, i, pauses[i], least)
				}
			}
		})
	}
}

func TestStartEndsInAPause(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	clock := newQuick()
	clock.stopped = true
	s := newSupervisor(clock)
	s.serve = func(context.Context, multicluster.Aware) error { return errInjected }
	ended := make(chan error)
	go func() { ended <- s.Start(ctx, nil) }()
	<-clock.asked
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Start() = %v", err)
	}
}

// TestRun runs the provider against a kcp that refuses to be watched, and looks at it from within that request.
func TestRun(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, apisv1alpha1.AddToScheme, apisv1alpha2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	var s *Supervisor
	var once *sync.Once
	var engaged *stub
	var end func()
	kcp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api", "/apis":
			writeJSON(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`)
			return
		case "/apis/apis.kcp.io/v1alpha1":
			writeJSON(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"apis.kcp.io/v1alpha1",
				"resources":[{"name":"apiexportendpointslices","kind":"APIExportEndpointSlice","verbs":["get","list","watch"]}]}`)
			return
		}
		once.Do(func() {
			s.mu.RLock()
			current := s.current
			s.mu.RUnlock()
			if err := current.Clusters.Add(t.Context(), "one", engaged, nil); err != nil {
				t.Errorf("adding a logical cluster: %v", err)
			}
			if _, err := s.Get(t.Context(), "one"); err != nil {
				t.Errorf("Get() = %v in a run", err)
			}
			if got := s.Served(); got != 1 {
				t.Errorf("Served() = %d in a run", got)
			}
			if got, ok := s.EndpointOf("one"); got != "https://shard-1/services/apiexport/a/b" || !ok {
				t.Errorf("EndpointOf() = %q, %t in a run", got, ok)
			}
			if err := s.IndexField(t.Context(), &corev1.Secret{}, "during "+engaged.name, nil); err != nil {
				t.Errorf("IndexField() = %v in a run", err)
			}
			end()
		})
		w.WriteHeader(http.StatusForbidden)
	}))
	defer kcp.Close()
	s = New(&rest.Config{Host: kcp.URL}, "workload.kcp.io", scheme, logr.Discard())
	if err := s.IndexField(t.Context(), &corev1.Secret{}, "before", nil); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		run  string
		want []string
	}{
		{"the first", []string{"before", "during the first"}},
		{"the second", []string{"before", "during the first", "during the second"}},
	} {
		once, engaged = &sync.Once{}, &stub{name: tc.run}
		ctx, cancel := context.WithCancel(t.Context())
		end = cancel
		if err := s.run(ctx, nil); err != nil {
			t.Errorf("run() = %v", err)
		}
		cancel()
		if diff := cmp.Diff(tc.want, engaged.indexes); diff != "" {
			t.Errorf("indexes in %s run: -want +got\n%s", tc.run, diff)
		}
		if _, err := s.Get(t.Context(), "one"); !errors.Is(err, multicluster.ErrClusterNotFound) {
			t.Errorf("Get() = %v after a run", err)
		}
	}
}

func writeJSON(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(body))
}

// stub is a logical cluster that records its indexes.
type stub struct {
	cluster.Cluster
	name    string
	indexes []string
}

func (s *stub) Start(ctx context.Context) error { <-ctx.Done(); return nil }
func (s *stub) GetConfig() *rest.Config {
	return &rest.Config{Host: "https://shard-1/services/apiexport/a/b/clusters/one"}
}
func (s *stub) GetCache() cache.Cache                { return &synced{} }
func (s *stub) GetFieldIndexer() client.FieldIndexer { return s }
func (s *stub) IndexField(_ context.Context, _ client.Object, field string, _ client.IndexerFunc) error {
	s.indexes = append(s.indexes, field)
	return nil
}

type synced struct{ cache.Cache }

func (*synced) WaitForCacheSync(context.Context) bool { return true }

func TestBound(t *testing.T) {
	now := metav1.Now()
	binding := func(phase apisv1alpha2.APIBindingPhaseType, deleting bool) client.Object {
		b := &apisv1alpha2.APIBinding{}
		b.Status.Phase = phase
		if deleting {
			b.DeletionTimestamp = &now
		}
		return b
	}
	tests := map[string]struct {
		reason  string
		object  client.Object
		want    bool
		wantErr bool
	}{
		"bound":         {"", binding(apisv1alpha2.APIBindingPhaseBound, false), true, false},
		"binding":       {"Its API is not served yet.", binding(apisv1alpha2.APIBindingPhaseBinding, false), false, false},
		"new":           {"", binding("", false), false, false},
		"being deleted": {"Its SyncTargets have finalizers of ours.", binding(apisv1alpha2.APIBindingPhaseBound, true), true, false},
		"no binding":    {"", &corev1.Secret{}, false, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := bound(tc.object)
			if got != tc.want || (err != nil) != tc.wantErr {
				t.Errorf("%s\nbound() = %t, %v, want %t", tc.reason, got, err, tc.want)
			}
		})
	}
}

func TestEngagementCheck(t *testing.T) {
	var failed []multicluster.ClusterName
	check := &engagementCheck{
		engaged: func(name multicluster.ClusterName) bool { return name == "engaged" },
		failed:  func(name multicluster.ClusterName) { failed = append(failed, name) },
	}
	in := func(name string) client.Object {
		b := &apisv1alpha2.APIBinding{}
		b.Annotations = map[string]string{"kcp.io/cluster": name}
		return b
	}
	check.OnAdd(in("engaged"))
	check.OnUpdate(in("engaged"), in("engaged"))
	check.OnDelete(in("lost"))
	if len(failed) != 0 {
		t.Errorf("the run would end for %q", failed)
	}
	check.OnAdd(in("lost"))
	check.OnUpdate(in("lost"), in("lost"))
	if diff := cmp.Diff([]multicluster.ClusterName{"lost", "lost"}, failed); diff != "" {
		t.Errorf("failed: -want +got\n%s", diff)
	}
}
