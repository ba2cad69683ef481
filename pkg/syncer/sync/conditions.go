package sync

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// findings are how an assigned Namespace fares.
type findings struct {
	// synced tells that everything that is to be synced has reached the physical cluster, or says why it has not.
	synced bool
	// counted tells that each object of the first lists has been counted. Before that, as after a restart, what was reported
	// stands as far as nothing is known to the contrary.
	counted bool
	objects workloadv1alpha1.AssignmentObjects
	// failing is one object that fails, and notReady one of those that serve and whose copy is not ready; empty for none.
	failing, notReady string
}

const notApplied = "some of it has yet to reach the physical cluster"

// conditions are Applied and Available.
//
// A copy that is up and running but differs from its object, which Applied says, counts as ready: what others set in the physical
// cluster, such as an autoscaler, must not hold up a move for ever. And what fails but does not serve, such as a Job, does not
// make unavailable what does.
func (f findings) conditions(before source.Report, key string) []metav1.Condition {
	see := "; see its annotation " + workloadv1alpha1.SyncAnnotation(key) + " and its status in the workspace"
	applied := metav1.Condition{Status: metav1.ConditionTrue, Reason: workloadv1alpha1.ReasonApplied, Message: "everything has reached the physical cluster"}
	available := metav1.Condition{Status: metav1.ConditionTrue, Reason: workloadv1alpha1.ReasonAvailable, Message: "everything that serves is ready"}
	switch {
	case f.failing != "":
		applied = metav1.Condition{Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonObjectsFailing, Message: f.failing + " is refused by the physical cluster, or has failed there" + see}
	case !f.synced:
		applied = metav1.Condition{Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonApplying, Message: notApplied}
	}
	switch {
	case f.notReady != "":
		available = metav1.Condition{Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonNotAvailable, Message: f.notReady + " is not ready in the physical cluster" + see}
	case !f.synced:
		available = metav1.Condition{Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonNotAvailable, Message: notApplied}
	}
	applied.Type, available.Type = workloadv1alpha1.ConditionApplied, workloadv1alpha1.ConditionAvailable
	if wasSynced := meta.IsStatusConditionTrue(before.Conditions, applied.Type); !f.counted && f.synced == wasSynced {
		applied = keepUnless(f.failing != "", applied, before)
		available = keepUnless(f.notReady != "", available, before)
	}
	return []metav1.Condition{applied, available}
}

// keepUnless returns the condition of a type that was reported before, if there is one and nothing is known to the contrary.
func keepUnless(isKnown bool, c metav1.Condition, before source.Report) metav1.Condition {
	if reported := meta.FindStatusCondition(before.Conditions, c.Type); reported != nil && !isKnown {
		return *reported
	}
	return c
}

// withdrawing are the conditions of a Namespace that is being drained.
var withdrawing = []metav1.Condition{{
	Type: workloadv1alpha1.ConditionWithdrawn, Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonWithdrawing,
	Message: "copies, or the finalizers that stand for them, have yet to go",
}}

// withdrawn are those of one that has been drained.
func withdrawn(orphaned bool) []metav1.Condition {
	c := metav1.Condition{
		Type: workloadv1alpha1.ConditionWithdrawn, Status: metav1.ConditionTrue, Reason: workloadv1alpha1.ReasonWithdrawn,
		Message: "no copy and no finalizer of the syncer is left",
	}
	if orphaned {
		c.Message = "the copies belong to the physical cluster now, and no finalizer of the syncer is left"
	}
	return []metav1.Condition{c}
}

// withTransitionTimes are conditions with the time of their last transition: an unchanged status keeps it.
func withTransitionTimes(before, wanted []metav1.Condition, at time.Time) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(wanted))
	for _, c := range wanted {
		c.LastTransitionTime = metav1.NewTime(at).Rfc3339Copy()
		if last := meta.FindStatusCondition(before, c.Type); last != nil && last.Status == c.Status {
			c.LastTransitionTime = last.LastTransitionTime
		}
		out = append(out, c)
	}
	return out
}

// hasSameConditions tells whether two reports are about the same epoch and say the same, but for their words and counts.
func hasSameConditions(a, b source.Report) bool {
	if a.Epoch != b.Epoch || a.DownstreamNamespace != b.DownstreamNamespace || len(a.Conditions) != len(b.Conditions) {
		return false
	}
	for i, c := range a.Conditions {
		if d := b.Conditions[i]; c.Type != d.Type || c.Status != d.Status || c.Reason != d.Reason {
			return false
		}
	}
	return true
}

// objectNamed names an object of a resource as its user does.
func objectNamed(resource workloadv1alpha1.GroupResource, name string) string {
	return fmt.Sprintf("%s %q", resource, name)
}
