package sync

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// newDraining is a Namespace that is being drained, with one resource of which the servers have these objects, nil for
// none.
func newDraining(t *testing.T, liveSrc, liveDst *unstructured.Unstructured) (*bench, *reporting) {
	t.Helper()
	b, kcp := newBench(t, nil, nil, liveSrc, liveDst), newReporting(intentOfWithdraw)
	p, l := b.pass.namespace, b.pass.resource
	p.resources[l.api.GroupResource], p.stopEvents, l.stop = l, func() {}, func() {}
	p.setDrain(&drain{epoch: 1})
	sourceIn(b.pass.Controller).Target, b.pass.down, b.pass.namespaces = kcp, b.down, map[source.Namespace]*namespaceSync{shopNamespace: p}
	return b, kcp
}

// finish runs the steps of a drain until one waits or fails, or the last one has reported it.
func (b *bench) finish(t *testing.T) (again time.Duration, err error) {
	t.Helper()
	for range 10 {
		if again, err = b.pass.finishDrain(t.Context(), b.pass.namespace); err != nil || again != immediately {
			return again, err
		}
	}
	t.Fatal("the drain does not end")
	return again, err
}

// lists are the lists of both servers.
func (b *bench) lists() (upstream, downstream []string) {
	return sourceIn(b.pass.Controller).Metadata.(*metadataServer).requests(), b.pass.downMetadata.(*metadataServer).requests()
}

// TestDrainIsReported: what could not be reported is reported the next time, and only then is the Namespace no longer
// synced. The downstream Namespace is not the syncer's to delete.
func TestDrainIsReported(t *testing.T) {
	b, kcp := newDraining(t, nil, nil)
	stopped := false
	b.pass.namespace.stopEvents = func() { stopped = true }

	kcp.err = errors.New("conflict")
	if _, err := b.finish(t); err == nil || stopped {
		t.Fatalf("after a failed write: finish() = %v, stopped: %t", err, stopped)
	}
	kcp.err = nil
	for _, intent := range []workloadv1alpha1.AssignmentIntent{intentOfRun, intentOfWithdraw} {
		changeIntent(kcp.assignments[0], intent)
		if _, err := b.finish(t); err != nil || stopped || len(kcp.reports) != 0 {
			t.Fatalf("epoch %d: finish() = %v, stopped: %t, reported %+v", kcp.assignments[0].Spec.Epoch, err, stopped, kcp.reports)
		}
	}
	b.pass.namespace.drain.epoch = 3 // of which nothing was verified anew: that is up to setDrain
	if _, err := b.finish(t); err != nil || !stopped || len(b.pass.namespaces) != 0 {
		t.Errorf("finish() = %v, stopped: %t, Namespaces %v", err, stopped, b.pass.namespaces)
	}
	if len(kcp.reports) != 1 || kcp.reports[0].Epoch != 3 || kcp.reports[0].Conditions[0].Reason != workloadv1alpha1.ReasonWithdrawn {
		t.Errorf("reported %+v", kcp.reports)
	}
	if requests := append(b.up.Actions(), b.down.Actions()...); len(requests) != 0 {
		t.Errorf("requests for whole objects: %v", requests)
	}
	upstream, downstream := b.lists()
	want := []string{"configmaps limit=500 selector= continue=", "configmaps limit=500 selector=workload.kcp.io/key=" + testOwner.Key + " continue="}
	if diff := cmp.Diff(want, append(upstream, downstream...)); diff != "" {
		t.Errorf("lists, each once: -want +got\n%s", diff)
	}
}

// TestDrainIsTakenBackInBetween: what was verified before a drain was taken back says nothing about the next drain.
func TestDrainIsTakenBackInBetween(t *testing.T) {
	b, kcp := newDraining(t, nil, nil)
	p := b.pass.namespace
	takenBack := false
	b.pass.downMetadata.(*metadataServer).answer = func(context.Context, string, metav1.ListOptions) error {
		if !takenBack {
			takenBack = p.setDrain(nil) && p.setDrain(&drain{epoch: 1})
		}
		return nil
	}
	kcp.err = errors.New("conflict")
	kcp.asked = func() {
		if p.setDrain(nil); p.draining() == nil {
			t.Error("the drain is taken back while it is reported")
		}
	}
	if _, err := b.finish(t); err == nil {
		t.Fatal("it was not reported")
	}
	if upstream, downstream := b.lists(); len(upstream) != 2 || len(downstream) != 2 {
		t.Errorf("lists %q and %q, want those of two drains", upstream, downstream)
	}
	if p.setDrain(nil); p.draining() != nil {
		t.Error("the drain cannot be taken back after a report that failed")
	}
	kcp.err, kcp.asked = nil, nil
	if _, err := b.finish(t); err != nil || len(kcp.reports) != 0 {
		t.Errorf("a drain that was taken back is reported: %v, %+v", err, kcp.reports)
	}
}

// TestSaidAgain: that a Namespace is closing, said again, is nothing new, and no reason to begin its report anew.
func TestSaidAgain(t *testing.T) {
	p := newTestNamespace(shopNamespace)
	p.setDrain(&drain{})
	before := p.draining()
	if p.setDrain(&drain{}) || !p.beginDrainReport(before) {
		t.Error("the same is taken for another end")
	}
	p.cancelDrainReport()
	for _, other := range []*drain{{orphan: true}, {orphan: true, epoch: 3}} {
		if !p.setDrain(other) || p.beginDrainReport(before) {
			t.Errorf("%+v is taken for the same", other)
		}
		p.cancelDrainReport()
	}
}

// TestDrainIsLearned: a report is due when a Namespace is drained, and when it is opened again.
func TestDrainIsLearned(t *testing.T) {
	e := newTestEngine(t, &kcp{})
	defer e.queue.ShutDown()
	p := newTestNamespace(shopNamespace)
	p.stopEvents = func() {}
	e.namespaces[shopNamespace] = p
	for _, ending := range []*drain{{}, nil} {
		p.reports.begin(e.clock.Now())
		e.ensureNamespace(t.Context(), &source.Assignment{Namespace: shopNamespace}, ending, nil)
		if p.reports.due.IsZero() {
			t.Errorf("nothing is reported of %+v", ending)
		}
	}
}

// reporting is a SyncTarget in kcp that takes reports on the Namespace "shop".
type reporting struct {
	target
	err     error
	reports []source.Report
	asked   func() // by a report
}

func newReporting(shop workloadv1alpha1.AssignmentIntent) *reporting {
	u := &reporting{}
	u.UID = types.UID(testOwner.UID)
	u.assignments = []*workloadv1alpha1.Assignment{assigned("shop", shop)}
	return u
}

func (u *reporting) report(_ source.Assignment, r source.Report) error {
	if u.asked != nil {
		u.asked()
	}
	if u.err == nil {
		u.reports = append(u.reports, r)
	}
	return u.err
}

// TestLeftPlaceIsStopped: what kcp shows to be left is followed no longer, though the answer to our report was lost: our rights
// there are gone. That a Namespace is not named says nothing of one that is open.
func TestLeftPlaceIsStopped(t *testing.T) {
	listed := func(intent workloadv1alpha1.AssignmentIntent, change ...func(*workloadv1alpha1.Assignment)) []*workloadv1alpha1.Assignment {
		return []*workloadv1alpha1.Assignment{assigned("shop", intent, change...)}
	}
	for name, tc := range map[string]struct {
		listed  []*workloadv1alpha1.Assignment
		ending  *drain
		stopped bool
	}{
		"drained":           {listed(intentOfWithdraw, reportedWithdrawn), &drain{epoch: 1}, true},
		"revoked":           {listed(intentOfWithdraw, notAdmitted), &drain{epoch: 1}, true},
		"vanished":          {nil, &drain{epoch: 1}, true},
		"open, vanished":    {nil, nil, false},
		"open, not granted": {listed(intentOfRun, notAdmitted), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := &kcp{}
			k.assignments = tc.listed
			e := newTestEngine(t, k)
			defer e.queue.ShutDown()
			p, deaf := newTestNamespace(shopNamespace), false
			p.stopEvents = func() { deaf = true }
			p.setDrain(tc.ending)
			e.namespaces[shopNamespace] = p
			if err := e.reconcileNamespaces(t.Context()); err != nil {
				t.Fatal(err)
			}
			if stopped := e.namespaces[shopNamespace] == nil && deaf && p.stopped; stopped != tc.stopped {
				t.Errorf("places %v, deaf: %t, stopped: %t", e.namespaces, deaf, p.stopped)
			}
		})
	}
}

// TestDrainListsWhenCachesAreEmpty: while the caches show something of ours no server is asked, so that a copy that
// hangs costs nothing; and when they do not, the servers have the last word.
func TestDrainListsWhenCachesAreEmpty(t *testing.T) {
	tests := map[string]struct {
		reason       string
		cached, live *unstructured.Unstructured
		asked, done  bool
	}{
		"a copy is left":      {"It hangs on a finalizer, perhaps for hours.", copied(t), copied(t), false, false},
		"the cache lags":      {"", nil, copied(t), true, false},
		"nothing is left":     {"", nil, nil, true, true},
		"an object of others": {"", nil, func() *unstructured.Unstructured { c := copied(t); c.SetLabels(nil); return c }(), true, true},
		"a copy of a copy": {"It inherits the label.", nil, func() *unstructured.Unstructured {
			c := copied(t)
			c.SetName("b")
			return c
		}(), true, true},
		"only the cache has it": {"Its deletion has yet to be observed.", copied(t), nil, false, false},
	}
	// Of a group whose server is away there may be something, which nobody sees now.
	unknown := []discovery.Resource{{GroupResource: workloadv1alpha1.GroupResource{Group: "example.com", Resource: "widgets"}, Unknown: true}}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b, kcp := newDraining(t, nil, tc.live)
			if tc.cached != nil {
				if err := b.pass.resource.down.Objects.Store.Add(mustPack(t, tc.cached)); err != nil {
					t.Fatal(err)
				}
			}
			b.pass.catalog.Store(&unknown)
			if tc.done {
				if wait, err := b.finish(t); wait != drainedRetry || err != nil || len(kcp.reports) != 0 {
					t.Errorf("with an unknown group: finish() = %s, %v, reported %+v", wait, err, kcp.reports)
				}
			}
			b.pass.catalog.Store(nil)
			if _, err := b.finish(t); err != nil {
				t.Fatal(err)
			}
			upstream, _ := b.lists()
			if asked := len(upstream) > 0; asked != tc.asked || (len(kcp.reports) == 1) != tc.done {
				t.Errorf("%s\nasked %t, reported %+v", tc.reason, asked, kcp.reports)
			}
		})
	}
}

// TestDrainWithAResourceThatIsForbidden: what the physical cluster does not let us list delays nothing, unless an
// object says that it has a copy.
func TestDrainWithAResourceThatIsForbidden(t *testing.T) {
	fresh := func(o *unstructured.Unstructured) { o.SetFinalizers(nil) }
	for name, tc := range map[string]struct {
		src    *unstructured.Unstructured
		listed bool
		done   bool
	}{
		"no finalizer":              {sourceOf(fresh), false, true},
		"finalizer":                 {sourceOf(), false, false},
		"no finalizer, rights lost": {sourceOf(fresh), true, true},
		"finalizer, rights lost":    {sourceOf(), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			b, kcp := newDraining(t, tc.src, nil)
			down := b.pass.resource.down
			down.HasSynced = func() bool { return tc.listed }
			down.ListError.Store(ptr.To("forbidden"))
			b.pass.downMetadata.(*metadataServer).answer = func(context.Context, string, metav1.ListOptions) error {
				return apierrors.NewForbidden(configMaps.GroupResource(), "", errors.New("no"))
			}
			if _, err := b.finish(t); err != nil || (len(kcp.reports) == 1) != tc.done {
				t.Errorf("finish() = %v, reported %+v", err, kcp.reports)
			}
		})
	}
}
