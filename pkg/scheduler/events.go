package scheduler

import (
	"fmt"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/sanitize"
)

// Reasons of Events.
const (
	EventScheduled        = "Scheduled"
	EventFailedScheduling = "FailedScheduling"
	EventMoving           = "Moving"
	EventMoved            = "Moved"
	EventMoveFailed       = "MoveFailed"
	EventWithdrawn        = "Withdrawn"
)

// maxMessage is the longest message of a condition, in characters.
const maxMessage = 1024

func truncate(message string) string { return sanitize.Truncate(message, maxMessage) }

// tell adds an Event. It goes with a change of an Assignment, so that it is told once.
func (p *planner) tell(n *namespace, a *assignment, warning bool, reason, message string) {
	event := Event{Namespace: n.Name, Warning: warning, Reason: reason, Message: truncate(message)}
	switch {
	case n.policy != nil:
		event.Placement = n.policy.placement
	case a != nil:
		event.Placement = p.placements[a.spec.Placement.Name]
	}
	p.changes.Events = append(p.changes.Events, event)
}

func (p *planner) tellCreated(n *namespace, a *assignment) {
	if a.replaces != nil {
		p.tell(n, a, false, EventMoving, fmt.Sprintf("Namespace %q moves from SyncTarget %q to SyncTarget %q: %s",
			n.Name, a.replaces.cluster.name, a.cluster.name, a.spec.Reason))
		return
	}
	p.tell(n, a, false, EventScheduled, fmt.Sprintf("Namespace %q is assigned to SyncTarget %q", n.Name, a.cluster.name))
}

// tellWithdrawn tells what a withdrawal means. It is called before the Assignment changes.
func (p *planner) tellWithdrawn(n *namespace, a *assignment, reason workloadv1alpha1.AssignmentReason) {
	switch {
	case reason == workloadv1alpha1.AssignmentReplacementFailed:
		p.tell(n, a, true, EventMoveFailed, fmt.Sprintf("Namespace %q stays on SyncTarget %q: on SyncTarget %q it was not available within "+
			"the grace period. The Assignment there tells why", n.Name, a.spec.Replaces, a.cluster.name))
	case a.replacedBy != nil && a.replacedBy.spec.Reason == reason && a.replacedBy.available():
		p.tell(n, a, false, EventMoved, fmt.Sprintf("Namespace %q runs on SyncTarget %q and leaves SyncTarget %q: %s",
			n.Name, a.replacedBy.cluster.name, a.cluster.name, reason))
	default:
		p.tell(n, a, false, EventWithdrawn, fmt.Sprintf("Namespace %q leaves SyncTarget %q: %s", n.Name, a.cluster.name, reason))
	}
}
