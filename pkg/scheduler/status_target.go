package scheduler

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// maxHeld is how many Namespaces status.drain.held names.
const maxHeld = 100

// collectTargets adds the SyncTargets of which the status changes.
func (p *planner) collectTargets() {
	for _, n := range p.namespaces {
		for _, a := range n.assignments {
			a.count()
		}
	}
	for _, a := range p.hidden {
		a.count()
	}
	for _, c := range p.clusters {
		taints, counts, drain := c.taints, c.assignmentCounts(), c.drainStatus()
		status := &c.target.Status
		if slices.EqualFunc(status.Taints, taints, equalTaint) && ptr.Equal(status.Assignments, counts) && equalDrain(status.Drain, drain) {
			continue
		}
		target := c.target.DeepCopy()
		target.Status.Taints, target.Status.Assignments, target.Status.Drain = taints, counts, drain
		p.changes.Targets = append(p.changes.Targets, target)
	}
}

func equalTaint(a, b workloadv1alpha1.ObservedTaint) bool {
	return a.Key == b.Key && a.Value == b.Value && a.Effect == b.Effect && a.TimeAdded.Equal(&b.TimeAdded)
}

func equalDrain(a, b *workloadv1alpha1.DrainStatus) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Remaining == b.Remaining && a.Moving == b.Moving && slices.Equal(a.Held, b.Held)
}

// count counts an Assignment at its cluster.
func (a *assignment) count() {
	counts := &a.cluster.counts
	if a.runs() && a.replacedBy != nil {
		a.cluster.replaced++
	}
	switch {
	case a.deleted:
	case a.withdrawing():
		counts.Withdrawing++
	case !a.runs():
	case a.refused():
		counts.Refused++
	case a.reportedAvailable():
		counts.Running++
	default:
		counts.Pending++
	}
}

// refused reports whether the syncer cannot be given its rights, or the physical cluster refuses something.
func (a *assignment) refused() bool {
	if a.read == nil {
		return false
	}
	admitted := meta.FindStatusCondition(a.read.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	return admitted != nil && admitted.Reason == workloadv1alpha1.ReasonNamespaceRefused ||
		a.read.Status.Objects != nil && a.read.Status.Objects.Failing > 0
}

func (c *cluster) assignmentCounts() *workloadv1alpha1.AssignmentCounts {
	if c.counts == (workloadv1alpha1.AssignmentCounts{}) {
		return nil
	}
	return &c.counts
}

func (c *cluster) drainStatus() *workloadv1alpha1.DrainStatus {
	if c.target.Spec.Drain == nil {
		return nil
	}
	return &workloadv1alpha1.DrainStatus{
		Remaining: c.counts.Running + c.counts.Pending + c.counts.Refused + c.counts.Withdrawing,
		Moving:    int32(c.replaced) + c.counts.Withdrawing,
		Held:      c.held[:min(len(c.held), maxHeld)],
	}
}
