package sync

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/source/workspace"
)

// outage is set while a side does not answer.
type outage struct{ atomic.Bool }

// watchedNamespace is a Namespace with one resource, whose watches fail while there is an outage of their side.
func watchedNamespace(t *testing.T, name string, resource discovery.Resource, up, down *outage) *namespaceSync {
	t.Helper()
	p := newTestNamespace(namespaceNamed(name))
	p.stopEvents = func() {}
	l := &resourceSync{api: resource, stop: func() {}}
	for _, side := range []struct {
		cache     **cache.ResourceCache
		outage    *outage
		namespace string
	}{{&l.up, up, p.upstream.Name}, {&l.down, down, p.downstreamNamespace}} {
		kinds := map[schema.GroupVersionResource]string{configMaps: "ConfigMapList"}
		client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
		client.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			return side.outage.Load(), nil, apierrors.NewServiceUnavailable("no")
		})
		client.PrependWatchReactor("*", func(clienttesting.Action) (bool, watch.Interface, error) {
			if side.outage.Load() {
				return true, nil, apierrors.NewServiceUnavailable("no")
			}
			w := watch.NewFake()
			time.AfterFunc(5*time.Second, w.Stop) // so that the next one has to be started
			return true, w, nil
		})
		s := cache.New(client, configMaps, side.namespace, clock.RealClock{}, "")
		go s.Run(t.Context())
		*side.cache = s
	}
	p.resources[resource.GroupResource] = l
	return p
}

// TestWatchHealth: a watch that fails for 30 s shows in the metric, the log and the status, and what was reported about
// its Namespace stays. So does a watch that works again.
func TestWatchHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := discovery.Resource{
			GroupResource: workloadv1alpha1.GroupResource{Resource: "configmaps"}, Kind: "ConfigMap",
			Versions: []string{"v1"}, State: workloadv1alpha1.ResourceAccepted,
		}
		var up, down, other outage
		registry := prometheus.NewRegistry()
		metrics, err := NewMetrics(registry)
		if err != nil {
			t.Fatal(err)
		}
		shop, otherShop := watchedNamespace(t, "shop", api, &up, &down), watchedNamespace(t, "other", api, &up, &other)
		e := &Controller{
			owner: testOwner, clock: clock.RealClock{}, metrics: metrics,
			statusDirty: make(chan struct{}, 1), statusUrgent: make(chan struct{}, 1),
			namespaces: map[source.Namespace]*namespaceSync{shopNamespace: shop, namespaceNamed("other"): otherShop},
			source:     newTestSource(workspace.Config{}), queue: newQueue(maxWorkers),
		}
		defer e.queue.ShutDown()
		var lines []string
		logger := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
		ctx, cancel := context.WithCancel(log.IntoContext(t.Context(), logger))
		defer cancel()
		synctest.Wait()
		for _, p := range e.namespaces {
			p.markUnsynced(p.resource(api.GroupResource), time.Now())
		}
		go e.runStatus(ctx)

		expect := func(when string, upstream, downstream float64, logged int, message string) {
			t.Helper()
			synctest.Wait()
			for side, want := range map[string]float64{"upstream": upstream, "downstream": downstream} {
				if got := testutil.ToFloat64(metrics.watches.WithLabelValues("configmaps", side)); got != want {
					t.Errorf("%s: the watch %s is %v, want %v", when, side, got, want)
				}
			}
			if len(lines) != logged {
				t.Errorf("%s: %d lines:\n%s", when, len(lines), strings.Join(lines, "\n"))
			}
			lines = nil
			status := e.resourceStatuses([]discovery.Resource{api}, &source.Plan{})[0]
			if status.State != workloadv1alpha1.ResourceAccepted || status.Message != message {
				t.Errorf("%s: %s %q, want %q", when, status.State, status.Message, message)
			}
			if isUnwatched := status.UnwatchedSince != nil; isUnwatched != (upstream == 0 || downstream == 0) {
				t.Errorf("%s: unwatched since %s", when, status.UnwatchedSince)
			}
			if !sameStatus(status, roundTrip(t, status)) {
				t.Errorf("%s: what was reported is reported again", when)
			}
		}
		isSynced := func(p *namespaceSync, told bool) bool {
			return e.isNamespaceSynced(p, []discovery.Resource{api}, told)
		}

		time.Sleep(12 * time.Second)
		expect("works", 1, 1, 0, "")
		if !isSynced(shop, false) {
			t.Error("it is not synced at first")
		}

		down.Store(true)
		time.Sleep(25 * time.Second)
		expect("fails for a moment", 1, 1, 0, "")
		if !isSynced(shop, false) {
			t.Error("a failure of a moment keeps it from being synced")
		}
		time.Sleep(45 * time.Second)
		failing := "the watch of the physical cluster fails, and changes there are not seen: no"
		expect("fails", 1, 0, 1, failing)
		if isSynced(shop, false) {
			t.Error("it is newly synced while a watch fails")
		}
		if !isSynced(shop, true) {
			t.Error("it is not synced any more because a watch fails")
		}
		if !isSynced(otherShop, false) {
			t.Error("another Namespace is not synced because a watch fails")
		}
		other.Store(true)
		time.Sleep(time.Minute)
		expect("fails in another Namespace too", 1, 0, 0, failing)
		api.Message = "spec.a: known in the workspace"
		expect("of a resource with a message", 1, 0, 0, failing+"; spec.a: known in the workspace")
		api.Message = ""

		other.Store(false)
		down.Store(false)
		time.Sleep(50 * time.Second)
		expect("works again", 1, 1, 1, "")
		if !isSynced(shop, false) {
			t.Error("it is not synced again")
		}

		for _, p := range e.namespaces {
			l := p.resource(api.GroupResource)
			p.mu.Lock()
			p.stopResource(l)
			p.mu.Unlock()
		}
		time.Sleep(12 * time.Second)
		if count, err := testutil.GatherAndCount(registry, "synctarget_syncer_watch_healthy"); count != 0 || err != nil {
			t.Errorf("of a resource that is not synced any more there are %d series, %v", count, err)
		}
	})
}

// roundTrip returns a status as the API server returns it.
func roundTrip(t *testing.T, status workloadv1alpha1.SyncedResourceStatus) (out workloadv1alpha1.SyncedResourceStatus) {
	t.Helper()
	data, err := json.Marshal(status)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSameStatus: that a watch fails is reported, and that it works again.
func TestSameStatus(t *testing.T) {
	earlier, later := metav1.NewTime(time.Unix(100, 0)), metav1.NewTime(time.Unix(200, 0))
	for name, since := range map[string][2]*metav1.Time{"fails": {nil, &earlier}, "works again": {&earlier, nil}, "fails again": {&earlier, &later}} {
		a, b := workloadv1alpha1.SyncedResourceStatus{UnwatchedSince: since[0]}, workloadv1alpha1.SyncedResourceStatus{UnwatchedSince: since[1]}
		if sameStatus(a, b) {
			t.Errorf("%s: it is not reported", name)
		}
	}
}

// TestUnwatchedSince: where both sides fail, the first failure counts, in whole seconds.
func TestUnwatchedSince(t *testing.T) {
	gr := workloadv1alpha1.GroupResource{Resource: "configmaps"}
	at := func(seconds int64) watchFailure { return watchFailure{since: time.Unix(seconds, 5), last: "no"} }
	tests := map[string]struct {
		workspace, cluster watchFailure
		want               int64 // 0 for none
	}{
		"both work":                {watchFailure{}, watchFailure{}, 0},
		"the workspace":            {at(100), watchFailure{}, 100},
		"the physical cluster":     {watchFailure{}, at(100), 100},
		"both, the workspace last": {at(200), at(100), 100},
		"both, the cluster last":   {at(100), at(200), 100},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			other := resourceOnSide{workloadv1alpha1.GroupResource{Resource: "secrets"}, clusterSide}
			got := unwatchedSince(gr, map[resourceOnSide]watchFailure{{gr, workspaceSide}: tc.workspace, {gr, clusterSide}: tc.cluster, other: at(1)})
			if (got == nil) != (tc.want == 0) || got != nil && !got.Time.Equal(time.Unix(tc.want, 0)) {
				t.Errorf("unwatchedSince() = %v, want %d", got, tc.want)
			}
		})
	}
}

// TestFailingWatchAfterARestart: that a watch fails stays reported until the resource has been listed again.
func TestFailingWatchAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := discovery.Resource{
			GroupResource: workloadv1alpha1.GroupResource{Resource: "configmaps"}, Kind: "ConfigMap", Versions: []string{"v1"},
			State: workloadv1alpha1.ResourceAccepted, Message: "spec.a: known in the workspace",
		}
		since := metav1.NewTime(time.Unix(900000000, 0)) // before the time of the bubble
		told := workloadv1alpha1.SyncTargetStatus{
			SyncedResources: []workloadv1alpha1.SyncedResourceStatus{{
				Resource: "configmaps", Versions: api.Versions, State: api.State, UnwatchedSince: &since, Message: "the watch fails", Objects: 7,
			}},
		}
		var up, down outage
		down.Store(true)
		e := &Controller{
			owner: testOwner, clock: clock.RealClock{}, statusDirty: make(chan struct{}, 1), queue: newQueue(maxWorkers),
			namespaces: map[source.Namespace]*namespaceSync{shopNamespace: watchedNamespace(t, "shop", api, &up, &down)},
		}
		defer e.queue.ShutDown()
		status := func() workloadv1alpha1.SyncedResourceStatus {
			return e.resourceStatuses([]discovery.Resource{api}, planOf(told, assigned("shop", intentOfRun)))[0]
		}
		time.Sleep(10 * time.Second)
		e.checkWatches(t.Context())
		if diff := cmp.Diff(told.SyncedResources[0], status()); diff != "" {
			t.Errorf("after the restart -want +got\n%s", diff)
		}
		time.Sleep(time.Minute)
		e.checkWatches(t.Context())
		if got := status(); got.UnwatchedSince == nil || !since.Before(got.UnwatchedSince) || !strings.HasSuffix(got.Message, "not seen: no; "+api.Message) {
			t.Errorf("when it is known that it fails again: %+v", got)
		}
		down.Store(false)
		time.Sleep(time.Minute)
		e.checkWatches(t.Context())
		if got := status(); got.UnwatchedSince != nil || got.Message != api.Message {
			t.Errorf("when it works again: %+v", got)
		}
	})
}

// TestFirstFailures: what is reported about a watch stays until it works again.
func TestFirstFailures(t *testing.T) {
	on := resourceOnSide{workloadv1alpha1.GroupResource{Resource: "configmaps"}, clusterSide}
	now := time.Now()
	first := watchFailure{since: now, namespace: namespaceNamed("a"), last: "reset"}
	second := watchFailure{since: now.Add(time.Minute), namespace: namespaceNamed("b"), last: "refused"}
	type watches = map[resourceOnSide]watchFailure
	tests := map[string]struct {
		before, now, want watches
		changed           int
	}{
		"is new":                 {nil, watches{on: {}}, watches{on: {}}, 0},
		"is new and fails":       {nil, watches{on: first}, watches{on: first}, 1},
		"fails":                  {watches{on: {}}, watches{on: first}, watches{on: first}, 1},
		"fails in another way":   {watches{on: first}, watches{on: second}, watches{on: first}, 0},
		"works again":            {watches{on: first}, watches{on: {}}, watches{on: {}}, 1},
		"is not needed any more": {watches{on: first}, watches{}, watches{}, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			after, changed := withFirstFailures(tc.before, tc.now)
			if diff := cmp.Diff(tc.want, after, cmp.AllowUnexported(watchFailure{}, resourceOnSide{})); diff != "" || len(changed) != tc.changed {
				t.Errorf("changed: %v\n-want +got\n%s", changed, diff)
			}
		})
	}
}

// TestFirstWatchFailure: of several Namespaces, that is reported whose watch has been failing for longest.
func TestFirstWatchFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := discovery.Resource{GroupResource: workloadv1alpha1.GroupResource{Resource: "configmaps"}}
		var up, first, second outage
		namespaces := map[source.Namespace]*namespaceSync{
			namespaceNamed("a"): watchedNamespace(t, "a", api, &up, &second), namespaceNamed("b"): watchedNamespace(t, "b", api, &up, &first),
		}
		first.Store(true)
		time.Sleep(time.Minute)
		second.Store(true)
		time.Sleep(2 * time.Minute)
		got := watchFailures(namespaces, time.Now())
		if down := got[resourceOnSide{api.GroupResource, clusterSide}]; down.namespace.Name != "b" || down.isHealthy() {
			t.Errorf("downstream: %+v", down)
		}
		if up, ok := got[resourceOnSide{api.GroupResource, workspaceSide}]; !ok || !up.isHealthy() {
			t.Errorf("upstream: %+v", up)
		}
	})
}
