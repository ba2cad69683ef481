package synctarget

import (
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// TestKstatus: a tool that knows only the conventions of kstatus, as Flux, sees what becomes of a SyncTarget, and never takes one for
// done that is not installed or does not run.
func TestKstatus(t *testing.T) {
	w := usual(t)
	requireStatus := func(situation string, want kstatus.Status) {
		t.Helper()
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(w.target())
		if err != nil {
			t.Fatal(err)
		}
		got, err := kstatus.Compute(&unstructured.Unstructured{Object: object})
		if err != nil {
			t.Fatal(err)
		}
		if got.Status != want {
			t.Errorf("%s: %s (%s), want %s", situation, got.Status, got.Message, want)
		}
	}
	w.pass()
	requireStatus("first contact", kstatus.InProgressStatus)
	w.settle()
	requireStatus("rolling out", kstatus.InProgressStatus)
	w.rollOut()
	w.r.installCache.forget(testUID)
	w.settle()
	requireStatus("no heartbeat yet", kstatus.InProgressStatus)
	w.ready()
	requireStatus("ready", kstatus.CurrentStatus)

	w.clusters.err = pcluster.ErrUnreachable
	w.r.installCache.forget(testUID)
	w.settle()
	requireStatus("the cluster cannot be reached", kstatus.InProgressStatus)
	w.clusters.err = nil
	w.settle()
	requireStatus("reached again", kstatus.CurrentStatus)

	cells := w.target().Spec.Cells
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cells, target.Generation = nil, 2 })
	requireStatus("changed", kstatus.InProgressStatus)
	w.settle()
	requireStatus("the spec is wrong", kstatus.FailedStatus)
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cells, target.Generation = cells, 3 })
	w.settle()
	requireStatus("corrected", kstatus.CurrentStatus)

	w.clock.Step(threshold)
	w.settle()
	requireStatus("silent", kstatus.FailedStatus)
	w.beat(w.clock.Now())
	w.settle()
	requireStatus("alive again", kstatus.CurrentStatus)

	w.deleteTarget()
	requireStatus("deleted", kstatus.TerminatingStatus)
}

// TestProgressIsNoEvent: Stalled and Reconciling repeat another condition, of which the Event has been sent.
func TestProgressIsNoEvent(t *testing.T) {
	w := usual(t, func(target *workloadv1alpha1.SyncTarget) { target.Spec.Cells = nil })
	w.pass()
	if got := w.condition(workloadv1alpha1.ConditionStalled); got != "True ValidationFailed: at least one cell must be specified" {
		t.Errorf("Stalled = %s", got)
	}
	if len(w.events.events) != 3 {
		t.Errorf("Events %q, want one for each of Valid, Deployed and Ready", w.events.events)
	}
}
