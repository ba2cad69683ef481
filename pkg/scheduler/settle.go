package scheduler

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/sets"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// settle does for one Namespace what needs no budget: it withdraws what has ended, completes or gives up moves, and
// makes the number of clusters as it should be.
func (p *planner) settle(n *namespace) {
	switch {
	case n.undecided:
		n.reportUnread()
		return
	case n.ended():
		for _, a := range n.running() {
			p.withdraw(n, a, workloadv1alpha1.AssignmentNamespaceDeleted)
		}
		return
	case n.policy == nil:
		p.withdrawUnselected(n)
		return
	case !n.policy.inForce():
		return
	case n.Refusal != "":
		p.withdrawRefused(n)
		return
	}
	n.adopt()
	for _, a := range n.running() {
		p.findMustLeave(n.policy, a)
	}
	p.leaveDeletedTargets(n)
	p.settleMoves(n)
	p.narrow(n)
	p.widen(n)
}

// narrow withdraws what is more than numberOfClusters: first what is not known to run, then what must leave anyway,
// then the highest order. So of what runs something stays.
func (p *planner) narrow(n *namespace) {
	for {
		roots := n.roots()
		if len(roots) <= n.policy.numberOfClusters() {
			return
		}
		surplus := roots[0]
		for _, a := range roots[1:] {
			if !a.worthMoreThan(surplus) {
				surplus = a
			}
		}
		p.withdraw(n, surplus, workloadv1alpha1.AssignmentPlacementChanged)
		n.link()
	}
}

// worthMoreThan reports whether an Assignment is rather kept than another of a lower order.
func (a *assignment) worthMoreThan(other *assignment) bool {
	if x, y := a.progress(), other.progress(); x != y {
		return x > y
	}
	return a.mustLeave == "" && other.mustLeave != ""
}

// progress tells how far what runs on a cluster is known to have come.
func (a *assignment) progress() int {
	switch {
	case a.available():
		return 3
	case a.reportedAvailable():
		return 2
	case a.isTrue(workloadv1alpha1.ConditionApplied):
		return 1
	}
	return 0
}

// widen assigns the Namespace to as many clusters as it lacks. With PurgeDirectly a cluster counts until the copies
// there are known to be gone.
func (p *planner) widen(n *namespace) {
	n.missing = max(0, n.policy.numberOfClusters()-len(n.roots()))
	count := n.missing
	if n.policy.movesDirectly() {
		for _, a := range n.assignments {
			if a.withdrawing() && isMove(a.spec.Reason) {
				count--
				n.say(fmt.Sprintf("waits until the copies on SyncTarget %q are gone", a.cluster.name))
			}
		}
	}
	if count <= 0 {
		return
	}
	d := schedule(request{namespace: n, policy: n.policy, staying: n.staying(), count: count, hints: n.hints()}, p.clusters)
	left := n.left()
	for _, c := range d.clusters {
		reason, replaces := workloadv1alpha1.AssignmentScheduled, ""
		if len(left) > 0 {
			reason, replaces, left = left[0].spec.Reason, left[0].cluster.name, left[1:]
		}
		p.create(n, newAssignment(n, c, reason, replaces))
		n.missing--
	}
	if d.message != "" {
		n.say(d.message)
	}
}

// create adds an Assignment, which this pass then takes for one that is there.
func (p *planner) create(n *namespace, a *assignment) {
	n.assignments = append(n.assignments, a)
	a.cluster.running++
	n.link()
	p.tellCreated(n, a)
}

// staying returns the clusters that the Namespace has.
func (n *namespace) staying() []*cluster {
	var clusters []*cluster
	for _, a := range n.roots() {
		clusters = append(clusters, a.cluster)
	}
	return clusters
}

// left returns the Assignments that a move with PurgeDirectly has ended, and that nothing replaces yet.
func (n *namespace) left() []*assignment {
	if !n.policy.movesDirectly() {
		return nil
	}
	replaced := sets.New[string]()
	for _, a := range n.running() {
		replaced.Insert(a.spec.Replaces)
	}
	var left []*assignment
	for _, a := range n.assignments {
		if a.revocation() != nil && isMove(a.spec.Reason) && !replaced.Has(a.cluster.name) {
			left = append(left, a)
		}
	}
	return left
}
