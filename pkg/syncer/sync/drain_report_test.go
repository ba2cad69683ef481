package sync

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// statusServer is a SyncTarget in kcp with its Assignments, whose server answers after a while and refuses a report on an
// earlier version.
type statusServer struct {
	mu                       sync.Mutex
	target                   workloadv1alpha1.SyncTarget
	assignments              map[string]*workloadv1alpha1.Assignment
	reads, writes, conflicts int
	// ends are the reports that nothing is left.
	ends        int
	unavailable bool
	latency     time.Duration
}

func (s *statusServer) Get(context.Context) (*workloadv1alpha1.SyncTarget, error) {
	time.Sleep(s.latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return s.target.DeepCopy(), nil
}

func (s *statusServer) PatchStatus(context.Context, []byte) error { return errors.New("not expected") }

func (s *statusServer) list() []*workloadv1alpha1.Assignment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*workloadv1alpha1.Assignment
	for _, a := range s.assignments {
		out = append(out, a.DeepCopy())
	}
	return out
}

func (s *statusServer) report(a source.Assignment, r source.Report) error {
	time.Sleep(s.latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	live := s.assignments[a.Namespace.Name]
	switch {
	case s.unavailable:
		return errors.New("connection refused")
	case live == nil || live.ResourceVersion != a.Record.Version:
		s.conflicts++
		return apierrors.NewConflict(schema.GroupResource{Resource: "assignments"}, a.Record.Name, errors.New("it has changed"))
	}
	if setReport(live, r); meta.IsStatusConditionTrue(r.Conditions, workloadv1alpha1.ConditionWithdrawn) {
		s.ends++
	}
	return nil
}

// change changes the Assignment of a Namespace.
func (s *statusServer) change(namespace string, change func(*workloadv1alpha1.Assignment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.assignments[namespace])
}

// withdrawn are the Namespaces that are reported as withdrawn at their epoch.
func (s *statusServer) withdrawn() map[string]bool {
	out := map[string]bool{}
	plan := planOf(workloadv1alpha1.SyncTargetStatus{}, s.list()...)
	for _, a := range plan.Assignments {
		if a.IsWithdrawn() {
			out[a.Namespace.Name] = true
		}
	}
	return out
}

// newManyDraining is a Controller with many Namespaces that are being drained, of which nothing is left.
func newManyDraining(t *testing.T, count int) (*Controller, *statusServer) {
	t.Helper()
	e := newTestEngine(t, &kcp{})
	server := &statusServer{latency: 20 * time.Millisecond, assignments: map[string]*workloadv1alpha1.Assignment{}}
	server.target.UID, server.target.Name = types.UID(testOwner.UID), testOwner.Name
	sourceIn(e).Target, sourceIn(e).Metadata, e.downMetadata = server, newMetadataServer(t), newMetadataServer(t)
	for i := range count {
		p := newTestNamespace(namespaceNamed(fmt.Sprintf("shop-%03d", i)))
		l := newBench(t, nil, nil, nil, nil).pass.resource
		setSource(e, l)
		l.stop, p.stopEvents, p.resources[l.api.GroupResource] = func() {}, func() {}, l
		p.setDrain(&drain{epoch: 1})
		e.namespaces[p.upstream] = p
		server.assignments[p.upstream.Name] = assigned(p.upstream.Name, intentOfWithdraw)
		e.queue.Add(queueKey{namespace: p.upstream})
	}
	sourceIn(e).show(&server.target, server.list()...)
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

// TestNamespacesThatEndTogether: each is reported by one write, and none conflicts.
func TestNamespacesThatEndTogether(t *testing.T) {
	const many = 300
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
		if left, withdrawn := len(e.namespaces), len(server.withdrawn()); left != 0 || withdrawn != many {
			t.Errorf("%d Namespaces are still synced, %d are reported as withdrawn", left, withdrawn)
		}
		if server.writes != many || server.conflicts != 0 {
			t.Errorf("%d writes, of which %d conflicted", server.writes, server.conflicts)
		}

		server.reads, server.writes = 0, 0
		sourceIn(e).show(&server.target, server.list()...)
		for range 10 { // events, of which the cache shows the reports
			e.queue.Add(queueKey{})
			time.Sleep(20 * time.Second)
		}
		if server.reads != 0 || server.writes != 0 {
			t.Errorf("at rest: %d reads and %d writes", server.reads, server.writes)
		}
	})
}

// TestReportsDuringAnOutage: while the workspace does not answer, attempts back off, those that say how a drain proceeds and those
// that say that it has ended, and a drain can be taken back.
func TestReportsDuringAnOutage(t *testing.T) {
	const many = 30
	synctest.Test(t, func(t *testing.T) {
		e, server := newManyDraining(t, many)
		defer e.queue.ShutDown()
		server.unavailable = true
		work(t, e, 5*time.Minute)
		if attempts := server.writes; attempts > 2*20*many || len(e.namespaces) != many {
			t.Errorf("%d attempts, %d Namespaces", attempts, len(e.namespaces))
		}
		opened := e.namespaces[namespaceNamed("shop-007")]
		if opened.setDrain(nil); opened.draining() != nil {
			t.Error("a drain cannot be taken back while its report waits")
		}
		server.mu.Lock()
		server.unavailable = false
		server.mu.Unlock()
		server.change("shop-007", func(a *workloadv1alpha1.Assignment) { changeIntent(a, intentOfRun) })
		sourceIn(e).show(&server.target, server.list()...)
		e.queue.Add(queueKey{})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if withdrawn := server.withdrawn(); len(withdrawn) != many-1 || withdrawn["shop-007"] {
			t.Errorf("%d are reported as withdrawn", len(withdrawn))
		}
		if len(e.namespaces) != 1 || e.namespaces[namespaceNamed("shop-007")] != opened {
			t.Errorf("%d Namespaces are still synced", len(e.namespaces))
		}
	})
}

// TestWithdrawnAtTheEpochThatIsLive: what was verified for one epoch is not reported for another, and not where the live Assignment
// wants another end or none. Then nothing ends, and nothing is asked again and again.
func TestWithdrawnAtTheEpochThatIsLive(t *testing.T) {
	for name, tc := range map[string]struct {
		change   func(*workloadv1alpha1.Assignment)
		reported bool
	}{
		"as it was read": {func(*workloadv1alpha1.Assignment) {}, true},
		"at a later epoch": {func(a *workloadv1alpha1.Assignment) {
			changeIntent(a, intentOfRun)
			changeIntent(a, intentOfWithdraw)
		}, false},
		"run again":       {func(a *workloadv1alpha1.Assignment) { changeIntent(a, intentOfRun) }, false},
		"to be orphaned":  {func(a *workloadv1alpha1.Assignment) { changeIntent(a, workloadv1alpha1.IntentOrphan) }, false},
		"rights are gone": {notAdmitted, false},
		"reported before": {reportedWithdrawn, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, server := newManyDraining(t, 1)
				defer e.queue.ShutDown()
				server.change("shop-000", tc.change)
				work(t, e, time.Minute)
				if got := server.ends == 1; got != tc.reported || (len(e.namespaces) == 0) != tc.reported {
					t.Errorf("%d reports, %d Namespaces", server.ends, len(e.namespaces))
				}
				if server.reads > 4 {
					t.Errorf("the source was read %d times", server.reads)
				}
				for _, p := range e.namespaces {
					if p.drainReported {
						t.Error("the drain cannot be taken back")
					}
				}
			})
		})
	}
}

// TestReportOfAnEarlierSync: what was verified of a Namespace that is synced anew says nothing about the new sync.
func TestReportOfAnEarlierSync(t *testing.T) {
	b, kcp := newDraining(t, nil, nil)
	old := b.pass.namespace
	b.pass.namespaces[shopNamespace] = newTestNamespace(shopNamespace)
	if err := b.pass.reportDrained(t.Context(), old, old.draining()); err != nil || len(kcp.reports) != 0 {
		t.Errorf("reportDrained() = %v, reported %+v", err, kcp.reports)
	}
}
