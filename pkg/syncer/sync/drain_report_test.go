package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// statusServer is a SyncTarget in kcp, whose server answers after a while and refuses a patch of an earlier version.
type statusServer struct {
	mu                 sync.Mutex
	target             workloadv1alpha1.SyncTarget
	patches, conflicts int
	unavailable        bool
	latency            time.Duration
}

func (s *statusServer) Get(context.Context) (*workloadv1alpha1.SyncTarget, error) {
	time.Sleep(s.latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.target.DeepCopy(), nil
}

func (s *statusServer) PatchStatus(_ context.Context, body []byte) error {
	time.Sleep(s.latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patches++
	if s.unavailable {
		return errors.New("connection refused")
	}
	var patch []struct {
		Path  string
		Value json.RawMessage
	}
	if err := json.Unmarshal(body, &patch); err != nil {
		return err
	}
	for _, operation := range patch {
		switch operation.Path {
		case "/metadata/resourceVersion":
			if string(operation.Value) != fmt.Sprintf("%q", s.target.ResourceVersion) {
				s.conflicts++
				return apierrors.NewConflict(schema.GroupResource{Resource: "synctargets"}, s.target.Name, errors.New("it has changed"))
			}
		case "/status/drainedNamespaces":
			s.target.Status.DrainedNamespaces = nil
			if err := json.Unmarshal(operation.Value, &s.target.Status.DrainedNamespaces); err != nil {
				return err
			}
		}
	}
	s.target.ResourceVersion += "1"
	return nil
}

func (s *statusServer) drained() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.target.Status.DrainedNamespaces)
}

// newManyDraining is a Controller with many Namespaces that are being drained, of which nothing is left.
func newManyDraining(t *testing.T, count int) (*Controller, *statusServer) {
	t.Helper()
	e := newTestEngine(t, &kcp{})
	server := &statusServer{latency: 20 * time.Millisecond}
	server.target.UID, server.target.ResourceVersion = types.UID(testOwner.UID), "1"
	sourceIn(e).Target, sourceIn(e).Metadata, e.downMetadata = server, newMetadataServer(t), newMetadataServer(t)
	for i := range count {
		p := newNamespaceSync(testOwner.Key, namespaceNamed(fmt.Sprintf("shop-%03d", i)))
		l := newBench(t, nil, nil, nil, nil).pass.resource
		setSource(e, l)
		l.stop, p.stopEvents, p.resources[l.api.GroupResource] = func() {}, func() {}, l
		p.setDrain(&drain{})
		e.namespaces[p.upstream] = p
		server.target.Status.Namespaces = append(server.target.Status.Namespaces,
			workloadv1alpha1.NamespaceStatus{Name: p.upstream.Name, State: workloadv1alpha1.NamespaceClosing})
		e.queue.Add(queueKey{namespace: p.upstream})
	}
	server.target.Name = testOwner.Name
	sourceIn(e).show(&server.target)
	return e, server
}

// work runs the workers of the queue for a while.
func work(t *testing.T, e *Controller, duration time.Duration) {
	t.Helper()
	for range maxWorkers {
		go func() {
			for e.processNext(t.Context()) {
			}
		}()
	}
	time.Sleep(duration)
	synctest.Wait()
}

// TestNamespacesThatEndTogether: they are reported by few writes, none of which conflicts, and so it is when the
// reports are taken back.
func TestNamespacesThatEndTogether(t *testing.T) {
	const many, few = 300, 20
	synctest.Test(t, func(t *testing.T) {
		e, server := newManyDraining(t, many)
		defer e.queue.ShutDown()
		var lists atomic.Int64
		sourceIn(e).Metadata.(*metadataServer).answer = func(context.Context, string, metav1.ListOptions) error {
			// The Namespaces end within seconds, not in one moment.
			time.Sleep(time.Duration(lists.Add(1)%50) * 20 * time.Millisecond)
			return nil
		}
		work(t, e, 30*time.Second)
		if left, drained := len(e.namespaces), len(server.drained()); left != 0 || drained != many {
			t.Errorf("%d Namespaces are still synced, %d are reported as drained", left, drained)
		}
		if server.patches >= few || server.conflicts != 0 {
			t.Errorf("%d writes, of which %d conflicted", server.patches, server.conflicts)
		}

		server.mu.Lock()
		server.patches, server.target.Status.Namespaces = 0, nil // the controller has deleted what it had for them
		sourceIn(e).show(&server.target)
		server.mu.Unlock()
		for range 10 { // heartbeats, of which the cache still shows the reports
			e.queue.Add(queueKey{})
			time.Sleep(20 * time.Second)
		}
		if left := server.drained(); len(left) != 0 || server.patches > 2 || server.conflicts != 0 {
			t.Errorf("%d reports are left after %d writes, of which %d conflicted", len(left), server.patches, server.conflicts)
		}
	})
}

// TestReportsDuringAnOutage: while the workspace does not answer, all reports are one attempt, which backs off.
func TestReportsDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, server := newManyDraining(t, 300)
		defer e.queue.ShutDown()
		server.unavailable = true
		work(t, e, 5*time.Minute)
		if attempts := server.patches; attempts > 20 || len(e.namespaces) != 300 {
			t.Errorf("%d attempts, %d Namespaces", attempts, len(e.namespaces))
		}
		opened := e.namespaces[namespaceNamed("shop-007")]
		if opened.setDrain(nil); opened.draining() != nil {
			t.Error("a drain cannot be taken back while its report waits")
		}
		server.mu.Lock()
		server.unavailable = false
		server.target.Status.Namespaces[7].State = workloadv1alpha1.NamespaceOpen
		server.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if drained := server.drained(); len(drained) != 299 || slices.Contains(drained, "shop-007") {
			t.Errorf("%d are reported as drained", len(drained))
		}
		if len(e.namespaces) != 1 || e.namespaces[namespaceNamed("shop-007")] != opened {
			t.Errorf("%d Namespaces are still synced", len(e.namespaces))
		}
		if len(e.drainReports.pending) != 0 {
			t.Errorf("reports that wait: %v", e.drainReports.pending)
		}
	})
}

// TestOpenedAfterItsReport: nothing begins in a Namespace before its report is taken back.
func TestOpenedAfterItsReport(t *testing.T) {
	open := workloadv1alpha1.NamespaceStatus{Name: "shop", State: workloadv1alpha1.NamespaceOpen}
	k := &kcp{}
	k.Status.Namespaces, k.Status.DrainedNamespaces = []workloadv1alpha1.NamespaceStatus{open}, []string{"shop"}
	e := newTestEngine(t, k)
	defer e.queue.ShutDown()
	up, _ := newWatched()
	sourceIn(e).Client, e.down = up, up
	if err := e.reconcileNamespaces(t.Context()); err != nil || len(e.namespaces) != 0 {
		t.Fatalf("before: reconcileNamespaces() = %v, Namespaces %v", err, e.namespaces)
	}
	if err := e.writeDrainReports(t.Context()); err != nil || len(k.writes) != 1 {
		t.Fatalf("writeDrainReports() = %v, %d writes", err, len(k.writes))
	}
	k.Status.DrainedNamespaces = nil
	sourceIn(e).show(&k.SyncTarget)
	if err := e.reconcileNamespaces(t.Context()); err != nil || e.namespaces[shopNamespace] == nil {
		t.Fatalf("after: reconcileNamespaces() = %v, Namespaces %v", err, e.namespaces)
	}
	e.namespaces[shopNamespace].stop()
}

// TestReportOfAnEarlierSync: the report of a Namespace that is synced anew says nothing about the new sync.
func TestReportOfAnEarlierSync(t *testing.T) {
	b, kcp := newDraining(t, nil, nil)
	old := b.pass.namespace
	b.pass.requestDrainReport(shopNamespace, drainReport{old, old.draining()})
	b.pass.namespaces[shopNamespace] = newNamespaceSync(testOwner.Key, shopNamespace)
	if err := b.pass.writeDrainReports(t.Context()); err != nil || len(kcp.patches) != 0 || len(b.pass.drainReports.pending) != 0 {
		t.Errorf("writeDrainReports() = %v, reported %q, waiting %v", err, kcp.patches, b.pass.drainReports.pending)
	}
}
