package scheduler

import (
	"cmp"
	"slices"
	"strings"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// namespaceState is what the status of a Placement counts a Namespace as.
type namespaceState int

// The states in the order in which a Placement lists its Namespaces.
const (
	statePending namespaceState = iota
	stateHeld
	stateMoving
	stateNotAvailable
	statePlaced
)

// namespace is a Namespace with its Assignments and what this pass has found out about it.
type namespace struct {
	Namespace
	// policy is the Placement that counts; nil for none.
	policy *policy
	// assignments are those that count and are of this UID, by order, age and cluster.
	assignments []*assignment
	// predecessors are Assignments of an earlier Namespace of this name, which used the same Namespace of the physical
	// cluster.
	predecessors []*assignment

	// undecided: an Assignment was lost. Until that is made anew, nothing else is decided about the Namespace.
	undecided bool
	// missing is how many clusters it lacks, moving whether a move is under way, and held whether one cannot begin.
	missing      int
	moving, held bool
	// where is what is told about the clusters that it is on, comes to or leaves, and state what a Placement counts it
	// as. They are set when all has been decided.
	where []workloadv1alpha1.PlacedCluster
	state namespaceState
	// messages say what is awaited or in the way.
	messages []string
}

// ended reports whether the Namespace is being deleted or has been.
func (n *namespace) ended() bool { return n.Terminating || n.Gone }

// say adds a sentence to what is told about the Namespace.
func (n *namespace) say(message string) {
	if message != "" && !slices.Contains(n.messages, message) {
		n.messages = append(n.messages, message)
	}
}

func (n *namespace) message() string { return truncate(strings.Join(n.messages, "; ")) }

// running returns the Assignments with the intent Run.
func (n *namespace) running() []*assignment {
	running := make([]*assignment, 0, len(n.assignments))
	for _, a := range n.assignments {
		if a.runs() {
			running = append(running, a)
		}
	}
	return running
}

// roots returns the running Assignments that do not replace another running one: one for each cluster that the
// Namespace has.
func (n *namespace) roots() []*assignment {
	roots := make([]*assignment, 0, len(n.assignments))
	for _, a := range n.assignments {
		if a.runs() && a.replaces == nil {
			roots = append(roots, a)
		}
	}
	return roots
}

// link finds out which Assignments replace one another. Since `replaces` stays when a move is over, an Assignment that
// is younger cannot be the one that is replaced.
func (n *namespace) link() {
	for _, a := range n.assignments {
		a.replaces, a.replacedBy = nil, nil
	}
	for _, a := range n.assignments {
		if !a.runs() || a.spec.Replaces == "" {
			continue
		}
		for _, old := range n.assignments {
			if old.runs() && old.cluster.name == a.spec.Replaces && old.replacedBy == nil && a.mayReplace(old) {
				a.replaces, old.replacedBy = old, a
			}
		}
	}
}

// sort brings the Assignments into a stable order.
func (n *namespace) sort() {
	slices.SortFunc(n.assignments, func(a, b *assignment) int {
		return cmp.Or(
			cmp.Compare(a.spec.Order, b.spec.Order),
			a.created.Compare(b.created.Time),
			cmp.Compare(a.cluster.index, b.cluster.index))
	})
}

// rejected says why the Namespace cannot be assigned to a cluster because of what it has, or had, there.
func (n *namespace) rejected(c *cluster) rejection {
	for _, a := range n.assignments {
		if a.cluster != c {
			continue
		}
		switch {
		case a.runs():
			return reject("in use already")
		case a.spec.Reason == workloadv1alpha1.AssignmentReplacementFailed:
			return reject("has failed to run it recently")
		}
		return reject("being left by it")
	}
	for _, a := range n.predecessors {
		if a.cluster == c {
			return reject("being left by an earlier Namespace of the name")
		}
	}
	return rejection{}
}
