package sync

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
)

// TestDrainedIsTold: what could not be reported is reported the next time, and only then is the place ended. The counterpart is
// not the syncer's to remove.
func TestDrainedIsTold(t *testing.T) {
	b := newBench(t, nil, nil, nil, nil)
	p, kcp := b.pass.namespace, newReporting(workloadv1alpha1.NamespaceClosing)
	kcp.err = errors.New("somebody was faster")
	p.setDrain(&drain{})
	stopped := false
	p.stopEvents = func() { stopped = true }
	b.pass.target, b.pass.up, b.pass.down, b.pass.namespaces = kcp, b.up, b.down, map[string]*namespaceSync{"shop": p}

	if _, err := b.pass.finishDrain(t.Context(), p); err == nil || stopped {
		t.Fatalf("without the report, closePlace() = %v, stopped: %t", err, stopped)
	}
	kcp.err, kcp.Status.Namespaces[0].State = nil, workloadv1alpha1.NamespaceOpen
	if _, err := b.pass.finishDrain(t.Context(), p); err == nil || stopped || len(kcp.patches) != 0 {
		t.Fatalf("opened again meanwhile, closePlace() = %v, stopped: %t, reported %q", err, stopped, kcp.patches)
	}
	kcp.Status.Namespaces[0].State = workloadv1alpha1.NamespaceClosing
	if _, err := b.pass.finishDrain(t.Context(), p); err != nil || !stopped || len(b.pass.namespaces) != 0 {
		t.Errorf("closePlace() = %v, stopped: %t, places %v", err, stopped, b.pass.namespaces)
	}
	if len(kcp.patches) != 1 || !strings.Contains(kcp.patches[0], `["shop"]`) {
		t.Errorf("reported %q", kcp.patches)
	}
	for _, action := range b.down.Actions() {
		if action.GetVerb() != "list" {
			t.Errorf("in the physical cluster it made the request %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
}

// TestOpenedInBetween: what was found of a Namespace before it was opened and closed again says nothing of what was begun
// in between.
func TestOpenedInBetween(t *testing.T) {
	b := newBench(t, nil, nil, nil, nil)
	p, l, kcp := b.pass.namespace, b.pass.resource, newReporting(workloadv1alpha1.NamespaceClosing)
	p.resources[l.api.GroupResource], p.stopEvents, l.stop = l, func() {}, func() {}
	p.setDrain(&drain{})
	b.pass.target, b.pass.up, b.pass.down, b.pass.namespaces = kcp, b.up, b.down, map[string]*namespaceSync{"shop": p}
	opened := false
	b.down.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		if !opened {
			opened = p.setDrain(nil) && p.setDrain(&drain{})
		}
		return false, nil, nil
	})
	again, err := b.pass.finishDrain(t.Context(), p)
	if err != nil || again == 0 || len(kcp.patches) != 0 || !opened {
		t.Fatalf("closePlace() = %s, %v, reported %q", again, err, kcp.patches)
	}
	kcp.err = errors.New("somebody was faster")
	kcp.asked = func() {
		if p.setDrain(nil); p.draining() == nil {
			t.Error("objects are begun with while the Namespace is reported as left")
		}
	}
	if _, err := b.pass.finishDrain(t.Context(), p); err == nil {
		t.Fatal("it was not reported")
	}
	if p.setDrain(nil); p.draining() != nil {
		t.Error("it cannot be opened again after a report that failed")
	}
}

// TestSaidAgain: that a Namespace is closing, said again, is nothing new, and no reason to begin its report anew.
func TestSaidAgain(t *testing.T) {
	p := newNamespaceSync(testOwner.Key, "shop")
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
	p := newNamespaceSync(testOwner.Key, "shop")
	p.stopEvents = func() {}
	e.namespaces["shop"] = p
	for _, ending := range []*drain{{}, nil} {
		e.ensureNamespace(t.Context(), "shop", ending, nil)
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
			p, deaf := newNamespaceSync(testOwner.Key, "shop"), false
			p.stopEvents = func() { deaf = true }
			p.setDrain(tc.ending)
			e.namespaces["shop"] = p
			if err := e.reconcileNamespaces(t.Context()); err != nil {
				t.Fatal(err)
			}
			if stopped := e.namespaces["shop"] == nil && deaf && p.stopped; stopped != tc.stopped {
				t.Errorf("places %v, deaf: %t, stopped: %t", e.namespaces, deaf, p.stopped)
			}
		})
	}
}

// TestClosingAsksWhenItSeemsDone: while the caches show something of ours no server is asked, so that a copy that hangs costs
// nothing; and when they do not, the servers have the last word.
func TestClosingAsksWhenItSeemsDone(t *testing.T) {
	tests := map[string]struct {
		reason       string
		cached, live *unstructured.Unstructured
		asked, done  bool
	}{
		"a copy is left":     {"It hangs on a finalizer, perhaps for hours.", copied(t), copied(t), false, false},
		"the cache is late":  {"", nil, copied(t), true, false},
		"nothing is left":    {"", nil, nil, true, true},
		"others' is no bar":  {"", nil, func() *unstructured.Unstructured { c := copied(t); c.SetLabels(nil); return c }(), true, true},
		"cache alone has it": {"Its end has yet to be seen.", copied(t), nil, false, false},
	}
	// Of a group whose server is away there may be something, which nobody sees now.
	unknown := []discovery.Resource{{GroupResource: workloadv1alpha1.GroupResource{Group: "example.com", Resource: "widgets"}, Unknown: true}}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil, nil, nil, tc.live)
			p, l, kcp := b.pass.namespace, b.pass.resource, newReporting(workloadv1alpha1.NamespaceClosing)
			p.resources[l.api.GroupResource], p.stopEvents = l, func() {}
			p.setDrain(&drain{})
			l.stop = func() {}
			if tc.cached != nil {
				if err := l.down.Objects.Store.Add(mustPack(t, tc.cached)); err != nil {
					t.Fatal(err)
				}
			}
			b.pass.target, b.pass.up, b.pass.down, b.pass.namespaces = kcp, b.up, b.down, map[string]*namespaceSync{"shop": p}
			if _, err := b.pass.finishDrain(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if b.pass.catalog.Store(&unknown); tc.done {
				again := newReporting(workloadv1alpha1.NamespaceClosing)
				b.pass.target, b.pass.namespaces = again, map[string]*namespaceSync{"shop": p}
				if wait, err := b.pass.finishDrain(t.Context(), p); wait != drainedRetry || err != nil || len(again.patches) != 0 {
					t.Errorf("with a silent group: closePlace() = %s, %v, reported %q", wait, err, again.patches)
				}
			}
			if asked := len(b.up.Actions()) > 0; asked != tc.asked || (len(kcp.patches) == 1) != tc.done {
				t.Errorf("%s\nasked %t, reported %q", tc.reason, asked, kcp.patches)
			}
		})
	}
}

// TestClosingWithAResourceThatIsBarred: what the physical cluster does not let us list holds nothing up, unless an object says
// that it has a copy.
func TestClosingWithAResourceThatIsBarred(t *testing.T) {
	fresh := func(o *unstructured.Unstructured) { o.SetFinalizers(nil) }
	for name, tc := range map[string]struct {
		src    *unstructured.Unstructured
		listed bool
		done   bool
	}{
		"not held":              {sourceOf(fresh), false, true},
		"held":                  {sourceOf(), false, false},
		"not held, rights lost": {sourceOf(fresh), true, true},
		"held, rights lost":     {sourceOf(), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil, nil, tc.src, nil)
			p, l, kcp := b.pass.namespace, b.pass.resource, newReporting(workloadv1alpha1.NamespaceClosing)
			p.resources[l.api.GroupResource], p.stopEvents, l.stop = l, func() {}, func() {}
			p.setDrain(&drain{})
			l.down.HasSynced = func() bool { return tc.listed }
			l.down.ListError.Store(ptr.To("it refuses"))
			b.down.PrependReactor("list", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(configMaps.GroupResource(), "", errors.New("no"))
			})
			b.pass.target, b.pass.up, b.pass.down, b.pass.namespaces = kcp, b.up, b.down, map[string]*namespaceSync{"shop": p}
			if _, err := b.pass.finishDrain(t.Context(), p); err != nil || (len(kcp.patches) == 1) != tc.done {
				t.Errorf("closePlace() = %v, reported %q", err, kcp.patches)
			}
		})
	}
}
