package sync

import (
	"context"
	"errors"
	"strings"
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
	b, kcp := newBench(t, nil, nil, liveSrc, liveDst), newReporting(workloadv1alpha1.NamespaceClosing)
	p, l := b.pass.namespace, b.pass.resource
	p.resources[l.api.GroupResource], p.stopEvents, l.stop = l, func() {}, func() {}
	p.setDrain(&drain{})
	sourceIn(b.pass.Controller).Target, b.pass.down, b.pass.namespaces = kcp, b.down, map[source.Namespace]*namespaceSync{shopNamespace: p}
	return b, kcp
}

// finish runs the steps of a drain until one waits or fails, and then the write of its report if all have succeeded.
func (b *bench) finish(t *testing.T) (again time.Duration, err error) {
	t.Helper()
	for range 10 {
		switch again, err = b.pass.finishDrain(t.Context(), b.pass.namespace); {
		case err == nil && again == immediately:
		case err == nil && again == 0:
			return 0, b.pass.writeDrainReports(t.Context())
		default:
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
	kcp.err, kcp.Status.Namespaces[0].State = nil, workloadv1alpha1.NamespaceOpen
	if _, err := b.finish(t); err != nil || stopped || len(kcp.patches) != 0 {
		t.Fatalf("opened again meanwhile: finish() = %v, stopped: %t, reported %q", err, stopped, kcp.patches)
	}
	kcp.Status.Namespaces[0].State = workloadv1alpha1.NamespaceClosing
	if _, err := b.finish(t); err != nil || !stopped || len(b.pass.namespaces) != 0 {
		t.Errorf("finish() = %v, stopped: %t, Namespaces %v", err, stopped, b.pass.namespaces)
	}
	if len(kcp.patches) != 1 || !strings.Contains(kcp.patches[0], `["shop"]`) {
		t.Errorf("reported %q", kcp.patches)
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
			takenBack = p.setDrain(nil) && p.setDrain(&drain{})
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
	if err := b.pass.writeDrainReports(t.Context()); err != nil || len(kcp.patches) != 0 {
		t.Errorf("a drain that was taken back is reported: %v, %q", err, kcp.patches)
	}
}

// TestSaidAgain: that a Namespace is closing, said again, is nothing new, and no reason to begin its report anew.
func TestSaidAgain(t *testing.T) {
	p := newNamespaceSync(testOwner.Key, shopNamespace)
	p.setDrain(&drain{})
	before := p.draining()
	if p.setDrain(&drain{}) || !p.beginDrainReport(before) {
		t.Error("the same is taken for another end")
	}
	p.cancelDrainReport()
	if !p.setDrain(&drain{orphan: true}) || p.beginDrainReport(before) {
		t.Error("another end is taken for the same")
	}
}

// TestClosingIsLearned: that a Namespace is synced is taken back when it closes, before it may be opened again.
func TestClosingIsLearned(t *testing.T) {
	e := newTestEngine(t, &kcp{})
	defer e.queue.ShutDown()
	p := newNamespaceSync(testOwner.Key, shopNamespace)
	p.stopEvents = func() {}
	e.namespaces[shopNamespace] = p
	for _, ending := range []*drain{{}, nil} {
		e.ensureNamespace(t.Context(), shopNamespace, ending, nil)
		select {
		case <-e.statusUrgent:
		default:
			t.Errorf("nothing is reported of %+v", ending)
		}
	}
}

// reporting is a SyncTarget in kcp that takes reports.
type reporting struct {
	target
	err     error
	patches []string
	asked   func() // by a report
}

func newReporting(shop workloadv1alpha1.NamespaceState) *reporting {
	u := &reporting{}
	u.UID = types.UID(testOwner.UID)
	u.Status.Namespaces = []workloadv1alpha1.NamespaceStatus{{Name: "shop", State: shop}}
	return u
}

func (u *reporting) PatchStatus(_ context.Context, patch []byte) error {
	if u.asked != nil {
		u.asked()
	}
	if u.err == nil {
		u.patches = append(u.patches, string(patch))
	}
	return u.err
}

// TestLeftPlaceIsStopped: what kcp shows to be left is followed no longer, though the answer to our report was lost: our rights
// there are gone. That a Namespace is not named says nothing of one that is open.
func TestLeftPlaceIsStopped(t *testing.T) {
	listed := []workloadv1alpha1.NamespaceStatus{{Name: "shop", State: workloadv1alpha1.NamespaceClosing}}
	for name, tc := range map[string]struct {
		listed  []workloadv1alpha1.NamespaceStatus
		ending  *drain
		stopped bool
	}{
		"drained":        {listed, &drain{}, true},
		"revoked":        {nil, &drain{}, true},
		"open, unlisted": {nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := &kcp{}
			if k.Status.Namespaces = tc.listed; tc.listed != nil {
				k.Status.DrainedNamespaces = []string{"shop"}
			}
			e := newTestEngine(t, k)
			defer e.queue.ShutDown()
			p, deaf := newNamespaceSync(testOwner.Key, shopNamespace), false
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
				if wait, err := b.finish(t); wait != drainedRetry || err != nil || len(kcp.patches) != 0 {
					t.Errorf("with an unknown group: finish() = %s, %v, reported %q", wait, err, kcp.patches)
				}
			}
			b.pass.catalog.Store(nil)
			if _, err := b.finish(t); err != nil {
				t.Fatal(err)
			}
			upstream, _ := b.lists()
			if asked := len(upstream) > 0; asked != tc.asked || (len(kcp.patches) == 1) != tc.done {
				t.Errorf("%s\nasked %t, reported %q", tc.reason, asked, kcp.patches)
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
			if _, err := b.finish(t); err != nil || (len(kcp.patches) == 1) != tc.done {
				t.Errorf("finish() = %v, reported %q", err, kcp.patches)
			}
		})
	}
}
