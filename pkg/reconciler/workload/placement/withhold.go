package placement

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

// requiredLevel says what has to be read live before these changes are written.
func requiredLevel(w *scheduler.Workspace, c *scheduler.Changes) level {
	read := byName(w.Assignments)
	for i := range c.Update {
		if withdraws(read, &c.Update[i]) {
			return liveAll
		}
	}
	if slices.ContainsFunc(c.Delete, func(a workloadv1alpha1.Assignment) bool { return a.Spec.Intent == workloadv1alpha1.IntentRun }) {
		return liveAll // it is let go since its SyncTarget, or the Namespace that it is in, goes
	}
	if writesAssignments(c) || slices.ContainsFunc(c.Placements, releases) {
		return liveAssignments
	}
	return fromCache
}

func writesAssignments(c *scheduler.Changes) bool {
	return len(c.Create)+len(c.Update)+len(c.Delete) > 0
}

// releases tells whether a Placement that is being deleted loses our finalizer.
func releases(placement workloadv1alpha1.Placement) bool {
	return placement.DeletionTimestamp != nil && !slices.Contains(placement.Finalizers, workloadv1alpha1.PlacementFinalizer)
}

// byName returns Assignments by Namespace and name.
func byName(assignments []workloadv1alpha1.Assignment) map[types.NamespacedName]*workloadv1alpha1.Assignment {
	out := make(map[types.NamespacedName]*workloadv1alpha1.Assignment, len(assignments))
	for i := range assignments {
		out[types.NamespacedName{Namespace: assignments[i].Namespace, Name: assignments[i].Name}] = &assignments[i]
	}
	return out
}

// withdraws tells whether an update ends the intent Run.
func withdraws(read map[types.NamespacedName]*workloadv1alpha1.Assignment, update *workloadv1alpha1.Assignment) bool {
	before := read[types.NamespacedName{Namespace: update.Namespace, Name: update.Name}]
	return before != nil && before.Spec.Intent == workloadv1alpha1.IntentRun && update.Spec.Intent != workloadv1alpha1.IntentRun
}

// endings are those of the changes of a workspace without Namespaces that end what is being deleted.
func endings(c scheduler.Changes) scheduler.Changes {
	return scheduler.Changes{
		Update: c.Update, Delete: c.Delete, NextCheck: c.NextCheck,
		Placements: slices.DeleteFunc(c.Placements, func(p workloadv1alpha1.Placement) bool { return p.DeletionTimestamp == nil }),
	}
}

// withhold takes out of the changes what is not done while the APIBinding is being deleted. It deletes Placements too, in no
// particular order, but nobody wanted that what they have placed ends: that follows from the deletionPolicy of each SyncTarget.
func withhold(w *scheduler.Workspace, c scheduler.Changes) scheduler.Changes {
	read, withheld := byName(w.Assignments), sets.New[string]()
	for i := range c.Create {
		withheld.Insert(c.Create[i].Spec.Namespace.Name)
	}
	c.Create = nil
	c.Update = slices.DeleteFunc(slices.Clone(c.Update), func(update workloadv1alpha1.Assignment) bool {
		reason := update.Spec.Reason
		ends := withdraws(read, &update) && (reason == workloadv1alpha1.AssignmentPlacementDeleted || reason == workloadv1alpha1.AssignmentPlacementChanged)
		if ends {
			withheld.Insert(update.Spec.Namespace.Name)
		}
		return ends
	})
	c.Events = slices.DeleteFunc(slices.Clone(c.Events), func(e scheduler.Event) bool { return withheld.Has(e.Namespace) })
	return c
}
