package scheduler

import (
	"fmt"
	"slices"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// choosePolicy finds the Placement that counts for a Namespace: of those that select it and are not being deleted, the
// first in the order of precedence. A Namespace that is never synced is not selected, unless it has Assignments from
// before.
func (p *planner) choosePolicy(n *namespace) {
	if n.ended() || slices.ContainsFunc(n.running(), p.isOfInvalid) {
		return
	}
	for _, policy := range p.policies {
		switch {
		case !policy.selects(&n.Namespace):
		case n.Refusal != "" && len(n.running()) == 0:
			policy.refused = append(policy.refused, n)
		case n.policy == nil:
			n.policy = policy
			policy.selected = append(policy.selected, n)
		default:
			policy.lost = append(policy.lost, n)
		}
	}
}

// isOfInvalid reports whether the Placement that has decided is there and cannot be used: then no other one takes over.
func (p *planner) isOfInvalid(a *assignment) bool {
	decided := p.policyOf(a)
	return decided != nil && decided.invalid != nil && decided.placement.DeletionTimestamp == nil
}

func (p *policy) reference() workloadv1alpha1.ObjectReference {
	return workloadv1alpha1.ObjectReference{Name: p.placement.Name, UID: p.placement.UID}
}

// withdrawUnselected withdraws what runs in a Namespace for which no Placement counts, where that is the user's doing:
// the Placement that has decided is being deleted, or is there and does not select it any more. A Placement that has
// vanished without having been seen in deletion, or that is invalid, ends nothing.
func (p *planner) withdrawUnselected(n *namespace) {
	for _, a := range n.running() {
		decided := p.policyOf(a)
		switch {
		case a.cluster.terminating():
			p.withdraw(n, a, workloadv1alpha1.AssignmentTargetDeleted)
		case decided == nil:
			n.say(fmt.Sprintf("Placement %q is gone without having been deleted in order: what runs stays. "+
				"Create a Placement that selects the Namespace, which then counts for it", a.spec.Placement.Name))
		case decided.placement.DeletionTimestamp != nil:
			p.withdraw(n, a, workloadv1alpha1.AssignmentPlacementDeleted)
		case decided.invalid != nil:
			n.say(fmt.Sprintf("Placement %q is invalid: what runs stays", a.spec.Placement.Name))
		default:
			p.withdraw(n, a, workloadv1alpha1.AssignmentPlacementChanged)
		}
	}
}

// withdrawRefused withdraws what runs in a Namespace that is never synced any more, as when somebody has put a kubeconfig there.
func (p *planner) withdrawRefused(n *namespace) {
	n.say(n.Refusal)
	n.missing = n.policy.numberOfClusters()
	for _, a := range n.running() {
		p.withdraw(n, a, workloadv1alpha1.AssignmentPlacementChanged)
	}
}

// withdrawHidden withdraws what runs in Namespaces that are not to be seen, where nothing about the Namespace could change that: the
// SyncTarget is being deleted, or the Placement and no other one could count.
func (p *planner) withdrawHidden() {
	last := !slices.ContainsFunc(p.policies, func(other *policy) bool { return other.placement.DeletionTimestamp == nil })
	for _, a := range p.hidden {
		if !a.runs() || a.released {
			continue
		}
		decided := p.policyOf(a)
		switch {
		case a.cluster.terminating() && !a.cluster.movesNothing(p.now) && p.isReplacedUnseen(a):
			p.checkAt(a.cluster.deletionDeadline)
			continue
		case a.cluster.terminating():
			a.withdraw(intentOfWithdrawal(nil, a, workloadv1alpha1.AssignmentTargetDeleted), workloadv1alpha1.AssignmentTargetDeleted)
		case last && decided != nil:
			a.withdraw(intentOfWithdrawal(nil, a, workloadv1alpha1.AssignmentPlacementDeleted), workloadv1alpha1.AssignmentPlacementDeleted)
		default:
			continue
		}
		a.cluster.running--
	}
}

// isReplacedUnseen reports whether something is on its way to take the place of what runs in a Namespace that is not to be seen.
func (p *planner) isReplacedUnseen(a *assignment) bool {
	return slices.ContainsFunc(p.hidden, func(other *assignment) bool {
		return other.runs() && other.spec.Namespace.UID == a.spec.Namespace.UID && other.spec.Replaces == a.cluster.name
	})
}

// policyOf returns the Placement that an Assignment names, by its UID; nil if it is not there.
func (p *planner) policyOf(a *assignment) *policy {
	for _, policy := range p.policies {
		if policy.placement.UID == a.spec.Placement.UID && policy.placement.Name == a.spec.Placement.Name {
			return policy
		}
	}
	return nil
}

// adopt has the Placement that counts stand in every running Assignment.
func (n *namespace) adopt() {
	for _, a := range n.running() {
		a.spec.Placement = n.policy.reference()
	}
}
