package sync

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// TestCount: what is told before, say by an earlier process, stands until everything has been listed again and a pass has been over
// each object; an absence that is not yet known to be one is not counted. More than before is told at once.
func TestCount(t *testing.T) {
	gr := workloadv1alpha1.GroupResource{Resource: "configmaps"}
	catalog := []discovery.Resource{{GroupResource: gr, Kind: "ConfigMap", Versions: []string{"v1"}, State: workloadv1alpha1.ResourceAccepted}}
	open := []*workloadv1alpha1.Assignment{assigned("shop", intentOfRun)}
	failed := func(o *unstructured.Unstructured) {
		o.SetAnnotations(map[string]string{workloadv1alpha1.SyncAnnotation(testOwner.Key): rejection.Report{Refused: "no"}.String()})
	}
	listed := func(t *testing.T, sources ...*unstructured.Unstructured) map[source.Namespace]*namespaceSync {
		var objects []runtime.Object
		for i, o := range sources {
			o.SetName(string(rune('a' + i)))
			objects = append(objects, o)
		}
		client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{configMaps: "ConfigMapList"}, objects...)
		p := newTestNamespace(shopNamespace)
		l := &resourceSync{api: catalog[0], up: cache.New(client, configMaps, p.upstream.Name, clock.RealClock{}, ""), down: cache.New(client, configMaps, p.downstreamNamespace, clock.RealClock{}, "")}
		p.resources[gr] = l
		go l.up.Run(t.Context())
		go l.down.Run(t.Context())
		if !toolscache.WaitForCacheSync(t.Context().Done(), l.hasSynced) {
			t.Fatal("the informers do not sync")
		}
		return map[source.Namespace]*namespaceSync{shopNamespace: p}
	}
	unlisted := func(*testing.T, ...*unstructured.Unstructured) map[source.Namespace]*namespaceSync {
		p := newTestNamespace(shopNamespace)
		client := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
		p.resources[gr] = &resourceSync{api: catalog[0], up: cache.New(client, configMaps, p.upstream.Name, clock.RealClock{}, "")}
		return map[source.Namespace]*namespaceSync{shopNamespace: p}
	}
	// passedOver lists the objects, and has passes go over all but some.
	passedOver := func(all int) func(*testing.T, ...*unstructured.Unstructured) map[source.Namespace]*namespaceSync {
		return func(t *testing.T, sources ...*unstructured.Unstructured) map[source.Namespace]*namespaceSync {
			places := listed(t, sources...)
			p := places[shopNamespace]
			p.markUnsynced(p.resources[gr], time.Now())
			for _, o := range sources[:all] {
				pass := &objectReconciler{Controller: &Controller{owner: testOwner}, namespace: p, resource: p.resources[gr], name: o.GetName(), src: o}
				pass.recordCount()
			}
			return places
		}
	}
	many := func(count int) (sources []*unstructured.Unstructured) {
		for range count {
			sources = append(sources, sourceOf(failed))
		}
		return sources
	}
	none := func(*testing.T, ...*unstructured.Unstructured) map[source.Namespace]*namespaceSync { return nil }
	tests := map[string]struct {
		places           func(*testing.T, ...*unstructured.Unstructured) map[source.Namespace]*namespaceSync
		assignments      []*workloadv1alpha1.Assignment
		sources          []*unstructured.Unstructured
		objects, failing int32
	}{
		"just started":      {none, open, nil, 7, 3},
		"not listed":        {unlisted, open, nil, 7, 3},
		"listed":            {listed, open, []*unstructured.Unstructured{sourceOf(), sourceOf(failed)}, 7, 3},
		"passed over one":   {passedOver(1), open, []*unstructured.Unstructured{sourceOf(), sourceOf(failed)}, 7, 3},
		"passed over eight": {passedOver(8), open, many(9), 8, 8},
		"passed over all":   {passedOver(2), open, []*unstructured.Unstructured{sourceOf(), sourceOf(failed)}, 2, 1},
		"none is ours":      {passedOver(1), open, []*unstructured.Unstructured{sourceOf(func(o *unstructured.Unstructured) { o.SetFinalizers(nil) })}, 0, 0},
		"nothing is opened": {none, nil, nil, 0, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			e := &Controller{owner: testOwner, namespaces: tc.places(t, tc.sources...)}
			told := workloadv1alpha1.SyncTargetStatus{SyncedResources: []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps", Objects: 7, Failing: 3}}}
			got := e.resourceStatuses(catalog, planOf(told, tc.assignments...))
			if len(got) != 1 || got[0].Objects != tc.objects || got[0].Failing != tc.failing {
				t.Errorf("resourceStatus() = %+v, want %d objects, %d failing", got, tc.objects, tc.failing)
			}
		})
	}
}

// TestMessageLimit: the API accepts 1,024 characters, and a longer message would cost the whole status.
func TestMessageLimit(t *testing.T) {
	long := "the physical cluster refuses to list it: " + strings.Repeat("é", 2000) + " the end"
	catalog := []discovery.Resource{{GroupResource: workloadv1alpha1.GroupResource{Resource: "configmaps"}, State: workloadv1alpha1.ResourceForbidden, Message: long}}
	got := (&Controller{owner: testOwner}).resourceStatuses(catalog, planOf(workloadv1alpha1.SyncTargetStatus{}))[0].Message
	if len(got) > 1024 || !strings.HasPrefix(got, "the physical cluster refuses") || !strings.HasSuffix(got, "the end") || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// TestNamespaceSynced: a Namespace is synced when a pass has dealt with all that was there when it was opened, each object by
// its copy or by words, and no longer when a change has been on its way for long.
func TestNamespaceSynced(t *testing.T) {
	s := newServer(t, sourceOf(fresh), nil)
	p, l, clock := s.pass.namespace, s.pass.resource, clocktesting.NewFakeClock(time.Now())
	s.pass.clock, s.pass.statusUrgent = clock, make(chan struct{}, 1)
	l.api.Versions = []string{"v1"}
	catalog := []discovery.Resource{l.api, {GroupResource: workloadv1alpha1.GroupResource{Group: "example.com", Resource: "widgets"}, State: workloadv1alpha1.ResourceMissing}}
	told := source.Report{}
	s.pass.namespaces = map[source.Namespace]*namespaceSync{shopNamespace: p}
	expect := func(when string, synced, learned bool) {
		t.Helper()
		if got := s.pass.findings(p, catalog, told); got.synced != synced {
			t.Errorf("%s: %+v", when, got)
		}
		if len(s.pass.statusUrgent) == 1 != learned {
			t.Errorf("%s: learned is %t", when, !learned)
		}
		select {
		case <-s.pass.statusUrgent:
		default:
		}
	}
	applied := source.Report{Conditions: []metav1.Condition{{Type: workloadv1alpha1.ConditionApplied, Status: metav1.ConditionTrue}}}
	expect("not followed yet", false, false)
	told = applied
	expect("not followed yet, after a restart", true, false)
	p.resources[l.api.GroupResource] = l
	expect("not listed yet", true, false)
	told = source.Report{}
	expect("not listed yet, in a Namespace that is new", false, false)
	s.cache(t, l.up, s.live(t))
	p.markUnsynced(l, clock.Now())
	expect("listed", false, false)
	told = applied
	expect("listed, after a restart", true, false)
	told = source.Report{}

	s.err = errors.New("connection refused")
	if _, err := s.run(t); err == nil {
		t.Fatal("it was applied")
	}
	expect("not applied", false, false)
	s.err = apierrors.NewTooManyRequests("later", 7)
	if _, err := s.run(t); err == nil {
		t.Fatal("it was applied")
	}
	if _, err := s.run(t); err != nil { // it is put off
		t.Fatal(err)
	}
	expect("put off", false, false)
	clock.Step(time.Minute)
	s.err = nil
	if _, err := s.run(t); err != nil {
		t.Fatal(err)
	}
	expect("applied", true, true)
	told = applied
	p.markUnsynced(l, clock.Now())
	expect("opened again, or another resource is named", false, false)
	if !p.markSynced(s.pass.key()) {
		t.Error("something is missing all the same")
	}
	another := &resourceSync{api: l.api, up: l.up, stop: func() {}}
	p.resources[l.api.GroupResource] = another
	expect("a resource is followed anew", false, false)
	if p.markUnsynced(l, clock.Now()); len(p.unsynced) > 0 {
		t.Error("what a lane lists that has ended is missing for good")
	}
	p.markUnsynced(another, clock.Now())
	p.stopResource(another)
	p.resources[l.api.GroupResource] = l
	expect("what is followed no more is not missing", true, false)

	s.cache(t, l.up, s.live(t))
	l.up.RequeuePending("a", clock.Now())
	clock.Step(lateAfter)
	expect("a change is on its way", true, false)
	clock.Step(1)
	expect("for long", false, false)
	l.up.TakePending("a")
	expect("and a pass is at it", false, false)
	l.up.Done("a")
	expect("and has dealt with it", true, false)
	l.down.Objects.Forget(p.downstreamNamespace + "/a")
	l.down.RequeuePending("a", clock.Now().Add(-time.Hour))
	expect("its copy has been gone for long", false, false)
	s.cache(t, l.down, s.applied[len(s.applied)-1])
	expect("its copy has changed", true, false)
	l.down.TakePending("a")
	l.down.Done("a")
	l.up.RequeuePending("a", clock.Now().Add(-time.Hour))
	l.listedAt = clock.Now()
	expect("since before everything was listed", true, false)
	clock.Step(lateAfter + 1)
	refused := s.live(t)
	refused.SetAnnotations(map[string]string{workloadv1alpha1.SyncAnnotation(testOwner.Key): rejection.Report{Refused: "no"}.String()})
	s.cache(t, l.up, refused)
	expect("which is told", true, false)

	p.setDrain(&drain{})
	expect("closing", false, false)
}
