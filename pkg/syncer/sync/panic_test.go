package sync

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// TestPanicIsOneObjectsFailure: a pass that panics is repeated with backoff, and the other objects are synced.
func TestPanicIsOneObjectsFailure(t *testing.T) {
	b := newBench(t, sourceOf(fresh), nil, sourceOf(fresh), nil)
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	e := b.pass.Controller
	e.metrics, e.namespaces = metrics, map[source.Namespace]*namespaceSync{shopNamespace: b.pass.namespace}
	b.pass.namespace.resources[b.pass.resource.api.GroupResource] = b.pass.resource
	b.pass.resource.down.Client = nil // as a mistake in the code
	if err := b.pass.resource.up.Objects.Store.Add(mustPack(t, sourceOf(fresh))); err != nil {
		t.Fatal(err)
	}
	b.pass.resource.counts.expect([]string{"a"})
	e.queue.Add(b.pass.key())
	if !e.processNext(t.Context()) {
		t.Fatal("the worker has ended")
	}
	if got := testutil.ToFloat64(metrics.panics); got != 1 || e.queue.NumRequeues(b.pass.key()) != 1 {
		t.Errorf("%g panics are counted, and %d failures of the object", got, e.queue.NumRequeues(b.pass.key()))
	}
	if !b.pass.resource.counts.isComplete() {
		t.Error("the counts wait for it for ever")
	}
	if underWay := b.pass.namespace.creations.underWay; underWay != 0 {
		t.Errorf("%d copies count as being created for ever", underWay)
	}
	b.pass.namespace.passes.await() // a pass that counted as under way for ever would hold up the end of its Namespace
}
