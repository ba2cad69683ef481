package sync

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// TestObjectCounts: each object counts once, as the last pass has left it, and they are complete when a pass has been over each
// object of the first list.
func TestObjectCounts(t *testing.T) {
	type counts struct {
		objects, failing int32
		complete         bool
	}
	tests := map[string]struct {
		reason string
		act    func(*objectCounts)
		want   counts
	}{
		"not listed":    {"", func(*objectCounts) {}, counts{0, 0, false}},
		"an empty list": {"", func(c *objectCounts) { c.expect(nil) }, counts{0, 0, true}},
		"listed":        {"", func(c *objectCounts) { c.expect([]string{"a"}) }, counts{0, 0, false}},
		"passed before the list": {"What a pass saw before both sides were listed may be too little.", func(c *objectCounts) {
			c.record("a", true, tally{})
			c.expect([]string{"a"})
		}, counts{1, 0, false}},
		"one of two": {"", func(c *objectCounts) { c.expect([]string{"a", "b"}); c.record("a", true, tally{fails: true}) }, counts{1, 1, false}},
		"both": {"", func(c *objectCounts) {
			c.expect([]string{"a", "b"})
			c.record("a", true, tally{fails: true})
			c.record("b", true, tally{})
		}, counts{2, 1, true}},
		"one that does not count": {"", func(c *objectCounts) { c.expect([]string{"a"}); c.record("a", false, tally{}) }, counts{0, 0, true}},
		"a pass that panics":      {"", func(c *objectCounts) { c.expect([]string{"a"}); c.passed("a") }, counts{0, 0, true}},
		"a later object":          {"", func(c *objectCounts) { c.expect(nil); c.record("a", true, tally{}) }, counts{1, 0, true}},
		"twice": {"", func(c *objectCounts) {
			c.record("a", true, tally{fails: true})
			c.record("a", true, tally{fails: true})
		}, counts{1, 1, false}},
		"recovers":   {"", func(c *objectCounts) { c.record("a", true, tally{fails: true}); c.record("a", true, tally{}) }, counts{1, 0, false}},
		"goes":       {"", func(c *objectCounts) { c.record("a", true, tally{fails: true}); c.record("a", false, tally{}) }, counts{0, 0, false}},
		"goes twice": {"", func(c *objectCounts) { c.record("a", false, tally{}); c.record("a", false, tally{}) }, counts{0, 0, false}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := &objectCounts{}
			tc.act(c)
			sum := c.sum()
			if got := (counts{sum.Applied, sum.Failing, c.isComplete()}); got != tc.want {
				t.Errorf("%s\ngot %+v, want %+v", tc.reason, got, tc.want)
			}
		})
	}
}

// TestCountsFollowPasses: an object counts from its finalizer on, fails while it is refused, and counts no more when it is opted
// out, is gone, or its resource is stopped.
func TestCountsFollowPasses(t *testing.T) {
	s := newServer(t, sourceOf(fresh), nil)
	s.pass.clock = clocktesting.NewFakeClock(time.Now())
	p, l := s.pass.namespace, s.pass.resource
	l.stop = func() {}
	p.resources[l.api.GroupResource] = l
	places := map[source.Namespace]*namespaceSync{shopNamespace: p}
	expect := func(when string, objects, failing int32) {
		t.Helper()
		if o, f := countObjects(places, l.api.GroupResource); o != objects || f != failing {
			t.Errorf("%s: %d objects, %d of them fail; want %d and %d", when, o, f, objects, failing)
		}
	}
	pass := func() {
		t.Helper()
		if _, err := s.run(t); err != nil {
			t.Fatal(err)
		}
	}
	change := func(change func(*unstructured.Unstructured)) {
		t.Helper()
		live := s.live(t)
		change(live)
		if err := s.up.Tracker().Update(configMaps, live, "shop"); err != nil {
			t.Fatal(err)
		}
	}
	expect("at first", 0, 0)
	s.err = apierrors.NewBadRequest("it is wrong")
	pass()
	expect("refused", 1, 1)
	s.err = nil
	change(func(o *unstructured.Unstructured) { o.Object["data"] = map[string]any{"a": "right"} })
	pass()
	expect("corrected", 1, 0)
	pass()
	expect("at rest", 1, 0)
	change(func(o *unstructured.Unstructured) {
		o.SetLabels(map[string]string{workloadv1alpha1.LabelSync: "false"})
	})
	_ = l.down.Objects.Store.Replace(nil, "")
	l.down.Objects.Forget(p.downstreamNamespace + "/a")
	pass()
	expect("opted out", 0, 0)
	change(func(o *unstructured.Unstructured) { o.SetLabels(nil) })
	pass()
	expect("opted in", 1, 0)

	if err := l.up.Objects.Store.Replace(nil, ""); err != nil {
		t.Fatal(err)
	}
	l.up.Objects.Forget("shop/a")
	_ = s.up.Tracker().Delete(configMaps, "shop", "a")
	if _, err := s.pass.syncObject(t.Context(), p, l, "a"); err != nil {
		t.Fatal(err)
	}
	expect("gone", 0, 0)

	l.counts.record("b", true, tally{fails: true})
	expect("another", 1, 1)
	p.mu.Lock()
	p.stopResource(l)
	p.mu.Unlock()
	expect("stopped", 0, 0)
}

// countingStore counts the objects that are read.
type countingStore struct {
	toolscache.Store
	reads atomic.Int32
}

func (s *countingStore) GetByKey(key string) (any, bool, error) {
	s.reads.Add(1)
	return s.Store.GetByKey(key)
}

// TestReportReadsOnlyLateObjects: a report reads no object but those of which a change has waited for long.
func TestReportReadsOnlyLateObjects(t *testing.T) {
	const objects = 10000
	b := newBench(t, sourceOf(), nil, sourceOf(), nil)
	clock := clocktesting.NewFakeClock(time.Now())
	p, l := b.pass.namespace, b.pass.resource
	b.pass.clock, b.pass.namespaces = clock, map[source.Namespace]*namespaceSync{shopNamespace: p}
	p.resources[l.api.GroupResource] = l
	up, down := &countingStore{Store: l.up.Objects.Store}, &countingStore{Store: l.down.Objects.Store}
	l.up.Objects.Store, l.down.Objects.Store = up, down
	for i := range objects {
		o := sourceOf(func(o *unstructured.Unstructured) {
			o.SetName(fmt.Sprint(i))
			if i%4 == 0 {
				o.SetAnnotations(map[string]string{workloadv1alpha1.SyncAnnotation(testOwner.Key): rejection.Report{Refused: "no"}.String()})
			}
		})
		if err := up.Add(mustPack(t, o)); err != nil {
			t.Fatal(err)
		}
	}
	p.markUnsynced(l, clock.Now())
	for i := range objects {
		name := fmt.Sprint(i)
		src, _ := l.up.Objects.Get("shop/" + name)
		(&objectReconciler{Controller: b.pass.Controller, namespace: p, resource: l, name: name, src: src}).finish(t.Context(), nil)
	}

	catalog := []discovery.Resource{l.api}
	told := planOf(workloadv1alpha1.SyncTargetStatus{}, assigned("shop", intentOfRun))
	expect := func(when string, synced bool, upReads, downReads int32) {
		t.Helper()
		up.reads.Store(0)
		down.reads.Store(0)
		got := b.pass.resourceStatuses(catalog, told)[0]
		found := b.pass.findings(p, catalog, source.Report{})
		if got.Objects != objects || got.Failing != objects/4 || found.synced != synced || found.objects.Applied != objects || found.objects.Failing != objects/4 {
			t.Errorf("%s: %d objects, %d of them fail; of the Namespace it is found %+v", when, got.Objects, got.Failing, found)
		}
		if u, d := up.reads.Load(), down.reads.Load(); u != upReads || d != downReads {
			t.Errorf("%s: the report reads %d objects upstream and %d downstream, want %d and %d", when, u, d, upReads, downReads)
		}
	}
	expect("at rest", true, 0, 0)
	for i := range objects / 2 {
		l.up.RequeuePending(fmt.Sprint(i), clock.Now())
		l.down.RequeuePending(fmt.Sprint(i), clock.Now())
	}
	expect("changes have just come", true, 0, 0)
	clock.Step(lateAfter + 1)
	for i := range objects {
		l.up.TakePending(fmt.Sprint(i))
		l.up.Done(fmt.Sprint(i))
		if i != 1 {
			l.down.TakePending(fmt.Sprint(i))
			l.down.Done(fmt.Sprint(i))
		}
	}
	expect("a copy is missing for long", false, 1, 1)
}
