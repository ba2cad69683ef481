package scheduler

import (
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// withdraw ends an Assignment, and says so in an Event.
func (p *planner) withdraw(n *namespace, a *assignment, reason workloadv1alpha1.AssignmentReason) {
	p.tellWithdrawn(n, a, reason)
	a.withdraw(intentOfWithdrawal(n, a, reason), reason)
	a.cluster.running--
	n.link()
}

// intentOfWithdrawal returns what becomes of the copies. They stay where the SyncTarget is being deleted and its deletionPolicy says so,
// and where the Namespace moves and its Placement says so. n is nil for a Namespace that is not to be seen.
func intentOfWithdrawal(n *namespace, a *assignment, reason workloadv1alpha1.AssignmentReason) workloadv1alpha1.AssignmentIntent {
	if a.cluster.terminating() && a.cluster.target.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan {
		return workloadv1alpha1.IntentOrphan
	}
	if n == nil || n.policy == nil || n.policy.placement.Spec.Move.PurgeMode != workloadv1alpha1.PurgeNever {
		return workloadv1alpha1.IntentWithdraw
	}
	switch reason {
	case workloadv1alpha1.AssignmentDrain, workloadv1alpha1.AssignmentFailover, workloadv1alpha1.AssignmentFailback,
		workloadv1alpha1.AssignmentTargetDeleted:
		return workloadv1alpha1.IntentOrphan
	case workloadv1alpha1.AssignmentPlacementChanged:
		// The affinity holds no more and a replacement has taken over; a cluster that is merely one too many is purged.
		if a.replacedBy != nil {
			return workloadv1alpha1.IntentOrphan
		}
	}
	return workloadv1alpha1.IntentWithdraw
}

// leaveDeletedTargets withdraws the Namespace from SyncTargets that are being deleted and move nothing any more.
func (p *planner) leaveDeletedTargets(n *namespace) {
	for _, a := range n.running() {
		if !a.cluster.terminating() {
			continue
		}
		p.checkAt(a.cluster.deletionDeadline)
		if a.cluster.movesNothing(p.now) {
			p.withdraw(n, a, workloadv1alpha1.AssignmentTargetDeleted)
		}
	}
}
