package scheduler

import (
	"fmt"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// defaultMaxConcurrent is how many Namespaces leave a SyncTarget at once that says nothing else.
const defaultMaxConcurrent = 5

// countMoves counts the moves of a Namespace that are under way.
func (p *planner) countMoves(n *namespace) {
	if n.policy == nil {
		return
	}
	for _, a := range n.assignments {
		switch {
		case a.runs() && a.replacedBy != nil, n.policy.movesDirectly() && a.withdrawing() && isMove(a.spec.Reason):
			a.cluster.moving++
			n.policy.moving++
			n.moving = true
		case n.policy.movesDirectly() && p.arriving(n, a):
			n.policy.moving++
			n.moving = true
		}
	}
}

// arriving reports whether an Assignment takes the place of one that has gone before, and has yet to become available.
// It counts as a move for as long as the grace period.
func (p *planner) arriving(n *namespace, a *assignment) bool {
	if !a.runs() || a.spec.Replaces == "" || a.replaces != nil || a.reportedAvailable() {
		return false
	}
	if a.read == nil {
		return true
	}
	until := a.read.CreationTimestamp.Add(n.policy.gracePeriod())
	p.checkAt(until)
	return p.now.Before(until)
}

// countMove counts a move that begins.
func (p *planner) countMove(m move) {
	m.old.cluster.moving++
	m.namespace.policy.moving++
	m.namespace.moving = true
}

// withinBudget reports whether a move may begin, and says what it waits for if not. Those of a SyncTarget that is
// unreachable or is being deleted do not wait: what they are to prevent comes anyway.
func (p *planner) withinBudget(m move) bool {
	policy, from := m.namespace.policy, m.old.cluster
	concurrent := defaultMaxConcurrent
	if drain := from.target.Spec.Drain; drain != nil {
		concurrent = max(1, int(drain.MaxConcurrent))
	}
	switch {
	case m.reason == workloadv1alpha1.AssignmentFailover || m.reason == workloadv1alpha1.AssignmentTargetDeleted:
		return true
	case from.moving >= concurrent:
		m.namespace.say(fmt.Sprintf("is to leave SyncTarget %q, and waits until other Namespaces have left it", from.name))
		return false
	case policy.moving >= max(1, int(policy.placement.Spec.Move.MaxUnavailable)):
		m.namespace.say(fmt.Sprintf("is to leave SyncTarget %q, and waits since spec.move.maxUnavailable of the Placement "+
			"other Namespaces move", from.name))
		return false
	}
	return true
}
