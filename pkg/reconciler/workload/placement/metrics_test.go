package placement

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestMetrics(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	_, to := w.drain()
	w.run()
	// Nothing fits for the second one.
	edit(w, &workloadv1alpha1.SyncTarget{}, to, func(target *workloadv1alpha1.SyncTarget) { target.Spec.Unschedulable = true })
	if err := w.kcp.raw.Create(t.Context(), newNamespace("b")); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.clock.Step(90 * time.Second)
	w.pass()
	problems, err := testutil.GatherAndLint(w.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	if err := testutil.GatherAndCompare(w.registry, strings.NewReader(`
# HELP synctarget_controller_moves_total Moves of a Namespace from one SyncTarget to another, by the reason and by what has become of them: begun, completed when the former SyncTarget is left, or failed when the replacement did not become available in time.
# TYPE synctarget_controller_moves_total counter
synctarget_controller_moves_total{outcome="begun",reason="Drain"} 1
synctarget_controller_moves_total{outcome="completed",reason="Drain"} 1
# HELP synctarget_controller_oldest_pending_namespace_age_seconds Time since this controller found the Namespace without a SyncTarget that has been selected by a Placement and waiting for the longest time. 0 if none waits. Of each Placement it looks at those Namespaces that its status names.
# TYPE synctarget_controller_oldest_pending_namespace_age_seconds gauge
synctarget_controller_oldest_pending_namespace_age_seconds 91
# HELP synctarget_controller_scheduling_decisions_total Decisions about one Namespace and one SyncTarget that were written, by result: assigned or withdrawn. Unschedulable: a Namespace began to wait for a SyncTarget that fits, or waits for another reason.
# TYPE synctarget_controller_scheduling_decisions_total counter
synctarget_controller_scheduling_decisions_total{result="assigned"} 2
synctarget_controller_scheduling_decisions_total{result="unschedulable"} 1
synctarget_controller_scheduling_decisions_total{result="withdrawn"} 1
`)); err != nil {
		t.Error(err)
	}
	edit(w, &workloadv1alpha1.SyncTarget{}, to, func(target *workloadv1alpha1.SyncTarget) { target.Spec.Unschedulable = false })
	w.settle()
	if got := w.r.workspaces.oldestPending(); !got.IsZero() {
		t.Errorf("a Namespace still waits since %s", got)
	}
}

// TestFailedMove: one of which the replacement does not become available in time.
func TestFailedMove(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	w.drain()
	w.settle()
	w.clock.Step(601 * time.Second)
	w.settle()
	if begun, completed, failed := w.moves(); begun != 1 || completed != 0 || failed != 1 {
		t.Errorf("begun %v, completed %v, failed %v: %q", begun, completed, failed, w.placed())
	}
}

// moves counts what was counted of all moves for a drain.
func (w *world) moves() (begun, completed, failed float64) {
	moves := func(outcome string) float64 {
		return testutil.ToFloat64(w.r.Metrics.moves.WithLabelValues(string(workloadv1alpha1.AssignmentDrain), outcome))
	}
	return moves(moveBegun), moves(moveCompleted), moves(moveFailed)
}

// TestDirectMove: the former SyncTarget is left before the move is seen to begin.
func TestDirectMove(t *testing.T) {
	w := newWorld(t, "a")
	edit(w, &workloadv1alpha1.Placement{}, "shop", func(p *workloadv1alpha1.Placement) { p.Spec.Move.PurgeMode = workloadv1alpha1.PurgeDirectly })
	w.run()
	_, to := w.drain()
	w.settle()
	if begun, completed, failed := w.moves(); begun+completed+failed != 0 {
		t.Errorf("counted before the replacement is there: %v, %v, %v", begun, completed, failed)
	}
	w.run()
	w.wantPlaced("moved", "a on "+to+": Run Drain")
	if begun, completed, failed := w.moves(); begun != 1 || completed != 1 || failed != 0 {
		t.Errorf("begun %v, completed %v, failed %v", begun, completed, failed)
	}
}

// TestNoMove: a withdrawal by the user is none.
func TestNoMove(t *testing.T) {
	w := newWorld(t, "a")
	w.run()
	if err := w.kcp.raw.Delete(t.Context(), w.placement()); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.wantPlaced("withdrawn")
	if got := testutil.CollectAndCount(w.r.Metrics.moves); got != 0 {
		t.Errorf("%d kinds of moves", got)
	}
}

// TestInParallel: writes are made at the same time, and a bounded number of them.
func TestInParallel(t *testing.T) {
	var (
		mu            sync.Mutex
		all           = sync.NewCond(&mu)
		running, done int
	)
	inParallel(4*parallelWrites, func(int) {
		mu.Lock()
		defer mu.Unlock()
		running++
		if running > parallelWrites {
			t.Errorf("%d at the same time", running)
		}
		all.Broadcast()
		for running < parallelWrites && done == 0 {
			all.Wait() // for as many as may be
		}
		running--
		done++
	})
	if done != 4*parallelWrites {
		t.Errorf("%d were made", done)
	}
}
