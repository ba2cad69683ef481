package plugin

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// assignmentsOf returns the Assignments of a SyncTarget, sorted by the name of their Namespace.
func assignmentsOf(ctx context.Context, workspace *connection, target *workloadv1alpha1.SyncTarget) ([]workloadv1alpha1.Assignment, error) {
	if target.Status.Key == "" {
		return nil, nil
	}
	return agent.Assignments(ctx, workspace, target, target.Status.Key)
}

// assignmentState is how a Namespace fares on a SyncTarget, in the words of a Placement, and the message of the first condition
// that says why.
func assignmentState(a *workloadv1alpha1.Assignment) (state, message string) {
	if a.Spec.Intent != workloadv1alpha1.IntentRun {
		return string(workloadv1alpha1.PlacedLeaving), messageOf(a, workloadv1alpha1.ConditionWithdrawn)
	}
	for _, condition := range []string{workloadv1alpha1.ConditionAdmitted, workloadv1alpha1.ConditionApplied, workloadv1alpha1.ConditionAvailable} {
		if !meta.IsStatusConditionTrue(a.Status.Conditions, condition) {
			return string(workloadv1alpha1.PlacedArriving), messageOf(a, condition)
		}
	}
	return string(workloadv1alpha1.PlacedRunning), ""
}

// messageOf is that of a condition that is not True.
func messageOf(a *workloadv1alpha1.Assignment, name string) string {
	condition := meta.FindStatusCondition(a.Status.Conditions, name)
	if condition == nil || condition.Status == metav1.ConditionTrue {
		return ""
	}
	return condition.Message
}
