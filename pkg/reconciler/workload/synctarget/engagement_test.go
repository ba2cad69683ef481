package synctarget

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// remembered lists what the Reconciler holds of the target.
func (w *world) remembered() (held []string) {
	for name, has := range map[string]bool{
		"heartbeats": len(w.r.heartbeats.targets) != 0,
		"deletions":  len(w.r.deletions.byUID) != 0,
		"installed":  len(w.r.installCache.byUID)+len(w.r.installCache.inspections) != 0,
		"tokens":     len(w.r.tokens.proven) != 0,
		"conflicts":  w.r.races.NumRequeues(request(testCluster, testName)) != 0,
		"connection": len(w.clusters.forgotten) == 0,
	} {
		if has {
			held = append(held, name)
		}
	}
	return held
}

// TestDisengaged: of a workspace that is disengaged nothing is left, neither in memory nor in the metrics.
func TestDisengaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := usual(t)
		ctx, disengage := context.WithCancel(t.Context())
		w.engage(ctx)
		events := w.r.targetEvents(testCluster, w.cache)
		events.Create(t.Context(), event.CreateEvent{Object: w.target()}, newQueue(t))
		w.ready()
		w.r.races.When(request(testCluster, testName))
		if held := w.remembered(); len(held) != 6 {
			t.Fatalf("held before: %q", held)
		}

		disengage()
		synctest.Wait()
		if held := w.remembered(); len(held) != 0 {
			t.Errorf("held after: %q", held)
		}
		w.clock.Step(time.Hour)
		if err := testutil.GatherAndCompare(w.registry, strings.NewReader(`
# HELP synctarget_controller_targets SyncTargets, by phase.
# TYPE synctarget_controller_targets gauge
synctarget_controller_targets{phase="NotReady"} 0
synctarget_controller_targets{phase="Pending"} 0
synctarget_controller_targets{phase="Ready"} 0
synctarget_controller_targets{phase="Terminating"} 0
# HELP synctarget_controller_oldest_heartbeat_age_seconds Time since the controller saw the oldest of the last heartbeats of the targets that are Ready.
# TYPE synctarget_controller_oldest_heartbeat_age_seconds gauge
synctarget_controller_oldest_heartbeat_age_seconds 0
`), "synctarget_controller_targets", "synctarget_controller_oldest_heartbeat_age_seconds"); err != nil {
			t.Error(err)
		}

		// An event that was under way.
		events.Update(t.Context(), event.UpdateEvent{ObjectOld: w.target(), ObjectNew: w.target()}, newQueue(t))
		if held := w.remembered(); len(held) != 0 {
			t.Errorf("held after a late event: %q", held)
		}
	})
}

// TestEngagedElsewhere: a workspace that moves to another endpoint is engaged there before, or after, it is disengaged here.
func TestEngagedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := usual(t)
		here, disengageHere := context.WithCancel(t.Context())
		there, disengageThere := context.WithCancel(t.Context())
		w.engage(here)
		w.r.observe(t.Context(), testCluster, w.target())
		w.engage(there)
		disengageHere()
		synctest.Wait()
		if len(w.r.heartbeats.targets) != 1 {
			t.Error("the heartbeats of an engaged workspace were forgotten")
		}
		disengageThere()
		synctest.Wait()
		if len(w.r.heartbeats.targets) != 0 {
			t.Error("the heartbeats of a disengaged workspace are remembered")
		}
	})
}

// TestDisengagedInAPass: what a pass records after its workspace was disengaged is dropped too.
func TestDisengagedInAPass(t *testing.T) {
	w := usual(t)
	w.ready()
	w.r.installCache.forget(testUID)
	w.there.refuse = func(string) error {
		delete(w.r.Workspaces.(*workspaces).byName, multicluster.ClusterName(testCluster))
		return nil
	}
	w.pass()
	if held := w.remembered(); len(held) != 0 {
		t.Errorf("held: %q", held)
	}
}

// TestRecreatedBetweenLists: a watch that was interrupted brings the deletion of a SyncTarget and the creation of another
// one of its name as one update.
func TestRecreatedBetweenLists(t *testing.T) {
	w := usual(t)
	w.ready()
	before, after := w.target(), w.target()
	after.UID, after.ResourceVersion, after.Status = "another", "2", workloadv1alpha1.SyncTargetStatus{}
	q := newQueue(t)
	w.r.targetEvents(testCluster, w.cache).Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
	if len(queued(q)) != 1 {
		t.Error("the new one is not queued")
	}
	if _, known := w.r.heartbeats.targets[testUID]; known || len(w.r.installCache.byUID)+len(w.r.tokens.proven) != 0 || len(w.clusters.forgotten) != 1 {
		t.Errorf("the old one is remembered: %q", w.remembered())
	}
	if _, known := w.r.heartbeats.targets["another"]; !known {
		t.Error("the new one is not observed")
	}
}

// TestRecreatedInAPass: what a pass over the old SyncTarget records late is dropped.
func TestRecreatedInAPass(t *testing.T) {
	w := usual(t)
	w.ready()
	w.r.installCache.forget(testUID)
	w.there.refuse = func(string) error {
		recreated := w.target()
		if recreated.UID != testUID {
			return nil
		}
		w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil })
		if err := w.kcp.raw.Delete(t.Context(), recreated); err != nil {
			t.Fatal(err)
		}
		recreated.UID, recreated.ResourceVersion, recreated.Finalizers = "another", "", nil
		w.create(recreated)
		return nil
	}
	_, _ = w.reconcile()
	if len(w.r.installCache.byUID) != 0 || len(w.clusters.forgotten) == 0 {
		t.Errorf("held of the old one: %q", w.remembered())
	}
}
