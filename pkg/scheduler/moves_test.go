package scheduler

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// terminate deletes a SyncTarget, as which it is not Ready any more.
func (f *flow) terminate(name string) {
	f.targets[name].change(func(t *workloadv1alpha1.SyncTarget) {
		t.DeletionTimestamp = ptr.To(metav1.NewTime(f.now))
		meta.SetStatusCondition(&t.Status.Conditions, metav1.Condition{
			Type: workloadv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonTerminating,
		})
	})
	f.targets[name].deadline = f.now.Add(10 * time.Minute)
}

// report has the syncer say of the Namespace on a SyncTarget whether everything is available, and since when.
func (f *flow) report(target string, available bool, since time.Duration) {
	a := f.assignment(target).DeepCopy()
	status := metav1.ConditionFalse
	if available {
		status = metav1.ConditionTrue
	}
	a.Status.Conditions = slices.DeleteFunc(a.Status.Conditions, func(c metav1.Condition) bool { return c.Type == workloadv1alpha1.ConditionAvailable })
	a.Status.Conditions = append(a.Status.Conditions, metav1.Condition{
		Type: workloadv1alpha1.ConditionAvailable, Status: status, Reason: workloadv1alpha1.ReasonAvailable, LastTransitionTime: metav1.NewTime(f.now.Add(-since)),
	})
	f.assignments[assignmentKey(a)] = a
}

// TestReplacementOnADeletedTarget: a move to a SyncTarget that is being deleted neither holds the Namespace there, nor ends what runs
// alone.
func TestReplacementOnADeletedTarget(t *testing.T) {
	undrain := func(f *flow) {
		f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.Spec.Drain = nil })
	}
	silent := func(target string) func(*flow) {
		return func(f *flow) {
			f.targets[target].change(func(t *workloadv1alpha1.SyncTarget) {
				t.Status.Taints = append(t.Status.Taints, workloadv1alpha1.ObservedTaint{Key: workloadv1alpha1.TaintUnreachable, Effect: workloadv1alpha1.TaintNoSchedule})
			})
		}
	}
	for name, c := range map[string]struct {
		// replacement and old tell whether these are available, and since when the replacement is.
		replacement, old bool
		since            time.Duration
		// change is made when the replacement's SyncTarget is being deleted; the old one is drained before.
		change func(*flow)
		// withdrawn is the one that is withdrawn, empty for none.
		withdrawn string
	}{
		"neither runs, the old one must leave":                {false, false, 0, nil, "edge-2"},
		"neither runs":                                        {false, false, 0, undrain, "edge-2"},
		"the old one runs, and must leave":                    {false, true, 0, nil, "edge-2"},
		"the old one runs":                                    {false, true, 0, undrain, "edge-2"},
		"both run, the old one must leave":                    {true, true, time.Minute, nil, "edge-2"},
		"both run":                                            {true, true, time.Minute, undrain, "edge-2"},
		"both run, and both are being deleted":                {true, true, time.Minute, func(f *flow) { f.terminate("edge-1") }, "edge-2"},
		"the replacement runs, and the old one must leave":    {true, false, time.Minute, nil, "edge-1"},
		"the same, for a moment":                              {true, false, 29 * time.Second, nil, ""},
		"the replacement runs":                                {true, false, time.Minute, undrain, ""},
		"the replacement runs, and the old one is deleted":    {true, false, time.Minute, func(f *flow) { f.terminate("edge-1") }, "edge-1"},
		"the replacement ran, and was silent before":          {true, false, time.Minute, silent("edge-2"), "edge-2"},
		"both ran, and the old one was silent and is deleted": {true, true, time.Minute, func(f *flow) { f.terminate("edge-1"); silent("edge-1")(f) }, "edge-1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, nil)
			f.addTarget("edge-3", "ap")
			f.targets["edge-3"].change(cordon)
			f.targets["edge-1"].change(drain)
			f.pass()
			f.targets["edge-3"].change(func(t *workloadv1alpha1.SyncTarget) { t.Spec.Unschedulable = false })
			f.step(0)
			f.report("edge-1", c.old, time.Hour)
			f.report("edge-2", c.replacement, c.since)
			f.terminate("edge-2")
			if c.change != nil {
				c.change(f)
			}
			withdrawn := ""
			for _, a := range Plan(f.workspace()).Update {
				if a.Spec.Intent != workloadv1alpha1.IntentRun {
					withdrawn += a.Annotations[workloadv1alpha1.AnnotationSyncTarget]
				}
			}
			if withdrawn != c.withdrawn {
				t.Errorf("withdrawn from %q, want %q", withdrawn, c.withdrawn)
			}
		})
	}
}

// TestDeletedReplacementMovesOn: what runs on it alone gets a place elsewhere.
func TestDeletedReplacementMovesOn(t *testing.T) {
	f := newFlow(t, nil)
	f.addTarget("edge-3", "ap")
	f.broken[copyKey{f.web.UID, f.targets["edge-1"].UID}] = true
	f.step(time.Second)
	f.targets["edge-1"].change(drain)
	f.run(15 * time.Second)
	replacement := f.running(f.web)[1]
	f.terminate(replacement)
	f.settle()
	if got := f.running(f.web); len(got) != 1 || got[0] == "edge-1" || got[0] == replacement {
		t.Errorf("in the end it runs on %q", got)
	}
}
