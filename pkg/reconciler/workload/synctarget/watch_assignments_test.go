package synctarget

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestAssignmentEvents: what the syncer reports brings a pass only if it may change a verdict.
func TestAssignmentEvents(t *testing.T) {
	says := func(condition string, status metav1.ConditionStatus, epoch int64) func(*workloadv1alpha1.Assignment) {
		return func(a *workloadv1alpha1.Assignment) {
			a.Status.ObservedEpoch = epoch
			meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{Type: condition, Status: status, Reason: condition})
		}
	}
	admitted := says(workloadv1alpha1.ConditionAdmitted, metav1.ConditionTrue, 0)
	leaving := func(a *workloadv1alpha1.Assignment) {
		admitted(a)
		a.Spec.Intent, a.Spec.Epoch = workloadv1alpha1.IntentWithdraw, 2
	}
	one := []string{testCluster + "/" + testName}
	tests := map[string]struct {
		reason         string
		before, change func(*workloadv1alpha1.Assignment)
		want           []string
	}{
		"nothing":         {"A resync.", admitted, func(*workloadv1alpha1.Assignment) {}, []string{}},
		"the intent":      {"", admitted, func(a *workloadv1alpha1.Assignment) { a.Spec.Intent, a.Generation = workloadv1alpha1.IntentOrphan, 2 }, one},
		"the record":      {"Somebody has changed it by hand.", admitted, says(workloadv1alpha1.ConditionAdmitted, metav1.ConditionFalse, 0), one},
		"applied":         {"", admitted, says(workloadv1alpha1.ConditionApplied, metav1.ConditionTrue, 1), one},
		"applied earlier": {"It speaks of another epoch.", admitted, says(workloadv1alpha1.ConditionApplied, metav1.ConditionTrue, 7), []string{}},
		"not applied":     {"It was not before.", admitted, says(workloadv1alpha1.ConditionApplied, metav1.ConditionFalse, 1), []string{}},
		"available":       {"The scheduler looks at that.", admitted, says(workloadv1alpha1.ConditionAvailable, metav1.ConditionTrue, 1), []string{}},
		"counts": {"", admitted, func(a *workloadv1alpha1.Assignment) {
			a.Status.Objects = &workloadv1alpha1.AssignmentObjects{Applied: 9}
		}, []string{}},
		"withdrawn":        {"", leaving, says(workloadv1alpha1.ConditionWithdrawn, metav1.ConditionTrue, 2), one},
		"withdrawn before": {"It speaks of another epoch.", leaving, says(workloadv1alpha1.ConditionWithdrawn, metav1.ConditionTrue, 1), []string{}},
		"to another":       {"Both look at it.", admitted, func(a *workloadv1alpha1.Assignment) { assignTo(a, newTarget(edge2)) }, []string{testCluster + "/" + testName, testCluster + "/edge-2"}},
		"elsewhere":        {"It counts in the Namespace of the syncer alone.", func(a *workloadv1alpha1.Assignment) { a.Namespace = "shop" }, func(a *workloadv1alpha1.Assignment) { a.Generation = 2 }, []string{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			before := assignment("shop", tc.before)
			after := before.DeepCopy()
			tc.change(after)
			q := newQueue(t)
			h := assignmentEvents(testCluster, w.cache)
			h.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
			if diff := cmp.Diff(tc.want, queued(q)); diff != "" {
				t.Errorf("%s\nqueued: -want +got\n%s", tc.reason, diff)
			}
		})
	}
	w := usual(t)
	for name, happen := range map[string]func(queue){
		"created": func(q queue) {
			assignmentEvents(testCluster, w.cache).Create(t.Context(), event.CreateEvent{Object: assignment("shop")}, q)
		},
		"deleted": func(q queue) {
			assignmentEvents(testCluster, w.cache).Delete(t.Context(), event.DeleteEvent{Object: assignment("shop")}, q)
		},
	} {
		q := newQueue(t)
		happen(q)
		if diff := cmp.Diff(one, queued(q)); diff != "" {
			t.Errorf("%s: queued: -want +got\n%s", name, diff)
		}
	}
}

// edge2 makes a target another one.
func edge2(target *workloadv1alpha1.SyncTarget) { target.Name, target.UID = "edge-2", "another" }
