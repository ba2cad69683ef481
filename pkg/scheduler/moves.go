package scheduler

import (
	"fmt"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// findMustLeave finds out why what runs is to leave its cluster, if it is.
func (p *planner) findMustLeave(policy *policy, a *assignment) {
	switch {
	case a.cluster.terminating():
		a.mustLeave = workloadv1alpha1.AssignmentTargetDeleted
	case a.cluster.target.Spec.Drain != nil:
		a.mustLeave = workloadv1alpha1.AssignmentDrain
	case !policy.admits(a.cluster, p.clusters):
		a.mustLeave = workloadv1alpha1.AssignmentPlacementChanged
	default:
		a.mustLeave = p.evicted(policy, a.cluster)
	}
}

// evicted returns why NoExecute taints make a Namespace leave a cluster; empty while all of them are tolerated.
func (p *planner) evicted(policy *policy, c *cluster) workloadv1alpha1.AssignmentReason {
	var reason workloadv1alpha1.AssignmentReason
	for i := range c.taints {
		taint := &c.taints[i]
		if taint.Effect != workloadv1alpha1.TaintNoExecute {
			continue
		}
		until, forever := toleratedUntil(policy.placement.Spec.Tolerations, taint)
		switch {
		case forever:
		case p.now.Before(until):
			p.checkAt(until)
		case taint.Key == workloadv1alpha1.TaintUnreachable:
			reason = workloadv1alpha1.AssignmentFailover
		default:
			return workloadv1alpha1.AssignmentDrain
		}
	}
	return reason
}

// settleMoves completes the moves of which the replacement has been available for long enough, and gives up those that
// are not wanted any more, or take longer than the grace period.
func (p *planner) settleMoves(n *namespace) {
	for _, replacement := range n.running() {
		if old := replacement.replaces; old != nil && old.runs() {
			p.settleMove(n, old, replacement)
		}
	}
}

func (p *planner) settleMove(n *namespace, old, replacement *assignment) {
	overdueAt := replacement.read.CreationTimestamp.Add(n.policy.gracePeriod())
	ahead := replacement.reportedAvailable() && replacement.progress() > old.progress()
	switch {
	case mayBeHeldByVolumes(n.policy, old):
		n.say(awaitsReport(old))
	case heldByVolumes(n.policy, old) && ahead:
		n.say(fmt.Sprintf("stays on SyncTarget %q, too: PersistentVolumeClaims are bound to volumes there", old.cluster.name))
	case heldByVolumes(n.policy, old):
		p.withdraw(n, replacement, workloadv1alpha1.AssignmentPlacementChanged)
	case replacement.spec.Reason == workloadv1alpha1.AssignmentFailover && old.cluster.evictionPaused && !old.cluster.ready:
		n.say(fmt.Sprintf("stays on SyncTarget %q until evictions go on: many SyncTargets are silent, or heartbeats "+
			"cannot be judged", old.cluster.name))
	case replacement.mustLeave == workloadv1alpha1.AssignmentTargetDeleted:
		p.settleDeletedReplacement(n, old, replacement)
	case replacement.steady(p.now):
		p.withdraw(n, old, replacement.spec.Reason)
	case !wantsMove(n.policy, old, replacement) && !ahead:
		p.withdraw(n, replacement, workloadv1alpha1.AssignmentPlacementChanged)
	case replacement.available():
		p.checkAt(replacement.steadyAt())
	case ahead:
		// It has run where the old one has not. What is silent there now may still be all that runs.
	case replacement.mustLeave != "":
		p.withdraw(n, replacement, replacement.mustLeave)
	case old.mustLeave == workloadv1alpha1.AssignmentTargetDeleted:
		// The old one goes anyway: a replacement that takes long is better than none.
	case !p.now.Before(overdueAt):
		p.withdraw(n, replacement, workloadv1alpha1.AssignmentReplacementFailed)
	default:
		p.checkAt(overdueAt)
	}
}

// settleDeletedReplacement settles a move to a SyncTarget that is being deleted. The condition Ready of that says nothing of its syncer
// any more; what this has reported last counts, unless it was silent before.
//
//	replacement runs  old one runs  old one must leave
//	no                any           any                 the replacement goes; another one is chosen if the old one must leave
//	yes               yes           any                 the same
//	yes               no            yes                 the old one goes after 30 seconds: then the replacement moves on itself
//	yes               no            no                  both stay, until the old one runs or the deletion does not wait any more
func (p *planner) settleDeletedReplacement(n *namespace, old, replacement *assignment) {
	switch {
	case !replacement.seemsToRun(), old.seemsToRun():
		p.withdraw(n, replacement, workloadv1alpha1.AssignmentTargetDeleted)
	case old.mustLeave == "":
	case p.now.Before(replacement.steadyAt()):
		p.checkAt(replacement.steadyAt())
	default:
		p.withdraw(n, old, replacement.spec.Reason)
	}
}

// wantsMove reports whether there still is a cause for a move that is under way. One that was begun because a
// SyncTarget is silent goes on until that is ready again, also where the time for which silence is tolerated counts
// anew after a pause of evictions.
func wantsMove(p *policy, old, replacement *assignment) bool {
	switch replacement.spec.Reason {
	case workloadv1alpha1.AssignmentFailback:
		return old.mustLeave != "" || failsBack(p)
	case workloadv1alpha1.AssignmentFailover:
		silence := workloadv1alpha1.ObservedTaint{Key: workloadv1alpha1.TaintUnreachable, Effect: workloadv1alpha1.TaintNoExecute}
		_, forever := toleratedUntil(p.placement.Spec.Tolerations, &silence)
		return old.mustLeave != "" || !old.cluster.ready && !forever
	}
	return old.mustLeave != ""
}

func failsBack(p *policy) bool {
	return p.placement.Spec.Failback == workloadv1alpha1.FailbackAutomatic
}

// heldByVolumes reports whether a Namespace stays where its volumes are. Those of a SyncTarget that is being deleted
// go with it.
func heldByVolumes(p *policy, a *assignment) bool {
	return a.boundClaims() > 0 && volumesHold(p, a)
}

// mayBeHeldByVolumes reports whether it is not known yet whether a Namespace stays where its volumes are.
func mayBeHeldByVolumes(p *policy, a *assignment) bool {
	return a.awaitsReport() && volumesHold(p, a)
}

func volumesHold(p *policy, a *assignment) bool {
	return p.placement.Spec.Move.Volumes != workloadv1alpha1.VolumesLeaveBehind && a.mustLeave != workloadv1alpha1.AssignmentTargetDeleted
}

func awaitsReport(a *assignment) string {
	return fmt.Sprintf("its Assignment to SyncTarget %q was lost and made anew; the syncer has yet to report whether PersistentVolumeClaims are "+
		"bound to volumes there", a.cluster.name)
}

// move is one that is to begin.
type move struct {
	namespace *namespace
	old       *assignment
	reason    workloadv1alpha1.AssignmentReason
	// to is the only cluster that will do; nil for any.
	to *cluster
}

// startMoves begins the moves that are due and within the budgets.
func (p *planner) startMoves() {
	for _, n := range p.namespaces {
		p.countMoves(n)
	}
	for _, n := range p.namespaces {
		if n.policy == nil || !n.policy.inForce() || n.undecided {
			continue
		}
		for _, old := range n.roots() {
			if m, due := p.dueMove(n, old); due {
				p.startMove(m)
			}
		}
	}
}

// dueMove returns the move that is to begin for what runs on a cluster, if any.
func (p *planner) dueMove(n *namespace, old *assignment) (m move, due bool) {
	switch {
	case old.read == nil || old.replacedBy != nil:
		return move{}, false
	case old.mustLeave != "":
		return move{namespace: n, old: old, reason: old.mustLeave}, true
	case failsBack(n.policy) && old.spec.Reason == workloadv1alpha1.AssignmentFailover && old.available():
		home := p.clusterNamed(old.spec.Replaces)
		return move{namespace: n, old: old, reason: workloadv1alpha1.AssignmentFailback, to: home}, home != nil
	}
	return move{}, false
}

func (p *planner) clusterNamed(name string) *cluster {
	for _, c := range p.clusters {
		if c.name == name {
			return c
		}
	}
	return nil
}

// startMove begins a move, or says why it cannot.
func (p *planner) startMove(m move) {
	n := m.namespace
	d := schedule(request{namespace: n, policy: n.policy, staying: n.stayingWithout(m.old), count: 1, only: m.to}, p.clusters)
	switch {
	case len(d.clusters) == 0 && m.reason == workloadv1alpha1.AssignmentFailback:
		// It stays where it is until its former cluster fits again.
	case mayBeHeldByVolumes(n.policy, m.old):
		p.hold(m, awaitsReport(m.old))
	case heldByVolumes(n.policy, m.old):
		p.hold(m, "PersistentVolumeClaims are bound to volumes there, which do not move; spec.move.volumes: LeaveBehind of the Placement "+
			"lets the Namespace go without them")
	case len(d.clusters) == 0:
		p.holdOrWithdraw(m, d.message)
	case !p.withinBudget(m):
	case n.policy.movesDirectly():
		p.withdraw(n, m.old, m.reason)
		p.countMove(m)
	default:
		p.create(n, newAssignment(n, d.clusters[0], m.reason, m.old.cluster.name))
		p.countMove(m)
	}
}

// stayingWithout returns the clusters that the Namespace has when it has left one.
func (n *namespace) stayingWithout(old *assignment) []*cluster {
	var clusters []*cluster
	for _, a := range n.roots() {
		if a != old {
			clusters = append(clusters, a.cluster)
		}
	}
	return clusters
}

// holdOrWithdraw deals with a Namespace that fits nowhere else: it stays, unless its SyncTarget is being deleted.
func (p *planner) holdOrWithdraw(m move, why string) {
	if m.reason != workloadv1alpha1.AssignmentTargetDeleted {
		p.hold(m, why)
		return
	}
	p.withdraw(m.namespace, m.old, m.reason)
	m.namespace.missing++
	m.namespace.say(why)
}

// hold says why a move cannot begin.
func (p *planner) hold(m move, why string) {
	m.namespace.held = true
	m.namespace.say(fmt.Sprintf("cannot leave SyncTarget %q: %s", m.old.cluster.name, why))
	m.old.cluster.held = append(m.old.cluster.held, workloadv1alpha1.HeldNamespace{Namespace: m.namespace.Name, Reason: truncate(why)})
}
