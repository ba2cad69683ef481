package scheduler

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Plan returns what is to be written so that the workspace is as it should be. It follows from its argument alone,
// which it does not change: whatever part of the changes has been written, the next Plan completes them. At rest it
// returns no changes.
func Plan(w Workspace) Changes {
	p := newPlanner(w)
	for _, n := range p.namespaces {
		p.settle(n)
	}
	p.withdrawHidden()
	p.startMoves()
	for _, n := range p.namespaces {
		if !n.undecided {
			setOrder(n)
		}
		n.where, n.state = n.placed(), n.findState()
	}
	p.collectAssignments()
	p.collectPlacements()
	p.collectTargets()
	p.collectAnnotations()
	return p.changes
}

// planner holds one pass over a workspace.
type planner struct {
	now time.Time
	// availableSince is that of the Workspace.
	availableSince map[types.UID]time.Time
	clusters       []*cluster
	policies       []*policy
	placements     map[string]*workloadv1alpha1.Placement
	namespaces     []*namespace
	// hidden are Assignments of which the Namespace is not known. They stay, unless the SyncTarget or the Placement is being deleted.
	hidden []*assignment
	// terminating are the names of the Namespaces that are being deleted.
	terminating sets.Set[string]
	changes     Changes
}

func newPlanner(w Workspace) *planner {
	p := &planner{
		now:            w.Now,
		availableSince: w.AvailableSince,
		clusters:       newClusters(w.Clusters, w.Now),
		policies:       newPolicies(w.Placements),
		placements:     make(map[string]*workloadv1alpha1.Placement, len(w.Placements)),
		namespaces:     make([]*namespace, 0, len(w.Namespaces)),
		terminating:    sets.New[string](),
	}
	for i := range w.Placements {
		p.placements[w.Placements[i].Name] = &w.Placements[i]
	}
	byUID := make(map[types.UID]*namespace, len(w.Namespaces))
	byName := make(map[string]*namespace, len(w.Namespaces))
	for _, given := range w.Namespaces {
		n := &namespace{Namespace: given}
		p.namespaces = append(p.namespaces, n)
		byUID[n.UID] = n
		if !n.Gone {
			byName[n.Name] = n
		}
		if n.Terminating {
			p.terminating.Insert(n.Name)
		}
	}
	slices.SortFunc(p.namespaces, func(a, b *namespace) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.UID), string(b.UID)))
	})
	for _, a := range p.counting(w.Assignments) {
		p.add(a, byUID[a.spec.Namespace.UID], byName[a.spec.Namespace.Name])
	}
	for _, n := range p.namespaces {
		n.sort()
		p.releaseLost(n)
		p.restore(n)
		n.link()
		p.choosePolicy(n)
	}
	for _, a := range p.hidden {
		if p.isLost(a) {
			p.release(a)
		}
	}
	return p
}

// counting returns the Assignments that are in the Namespace of a syncer, and name the SyncTarget there by its key and
// UID. Others that are in its way, or that nobody will ever need, are deleted.
func (p *planner) counting(assignments []workloadv1alpha1.Assignment) []*assignment {
	bySyncer, targets := make(map[string]*cluster, len(p.clusters)), sets.New[string]()
	for _, c := range p.clusters {
		bySyncer[c.syncerNamespace] = c
		targets.Insert(string(c.target.UID))
	}
	result := make([]*assignment, 0, len(assignments))
	for i := range assignments {
		read := &assignments[i]
		c, uid := bySyncer[read.Namespace], read.Labels[workloadv1alpha1.LabelUID]
		counts := c != nil && read.Labels[workloadv1alpha1.LabelKey] == c.key && uid == string(c.target.UID)
		switch {
		case counts && !hasEndedWithTarget(c, read):
		case counts, c != nil, read.DeletionTimestamp != nil && !targets.Has(uid):
			p.changes.Delete = append(p.changes.Delete, *read)
			continue
		default:
			continue
		}
		a := &assignment{read: read, cluster: c, created: createdOf(read), spec: read.Spec, availableSince: p.availableSince[read.UID]}
		if a.runs() {
			c.running++
		}
		result = append(result, a)
	}
	return result
}

// hasEndedWithTarget reports whether an Assignment that is deleted needs no record whatever it says: its SyncTarget is being deleted, too, and the
// syncer has no rights any more.
func hasEndedWithTarget(c *cluster, read *workloadv1alpha1.Assignment) bool {
	if read.DeletionTimestamp == nil || !c.terminating() {
		return false
	}
	admitted := meta.FindStatusCondition(read.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	return admitted != nil && admitted.Reason == workloadv1alpha1.ReasonRevoked && admitted.ObservedGeneration == read.Generation
}

// add gives an Assignment to its Namespace. One whose Namespace has made way for another of its name belongs to a
// Namespace that is known to be gone.
func (p *planner) add(a *assignment, own, sameName *namespace) {
	if sameName != nil && sameName != own {
		sameName.predecessors = append(sameName.predecessors, a)
	}
	switch {
	case own != nil:
		own.assignments = append(own.assignments, a)
	case sameName != nil:
		gone := &namespace{Namespace: Namespace{Name: a.spec.Namespace.Name, UID: a.spec.Namespace.UID, Gone: true}, assignments: []*assignment{a}}
		p.namespaces = append(p.namespaces, gone)
	default:
		p.hidden = append(p.hidden, a)
	}
}

// checkAt has the next pass be made at a time, if not before.
func (p *planner) checkAt(t time.Time) {
	if t.After(p.now) && (p.changes.NextCheck.IsZero() || t.Before(p.changes.NextCheck)) {
		p.changes.NextCheck = t
	}
}

// collectAssignments adds the changes of Assignments.
func (p *planner) collectAssignments() {
	for _, n := range p.namespaces {
		for _, a := range n.assignments {
			p.collect(n, a)
		}
	}
	for _, a := range p.hidden {
		p.collect(nil, a)
	}
}

func (p *planner) collect(n *namespace, a *assignment) {
	switch {
	case a.released, a.waits:
		// What becomes of the record is decided.
	case a.read == nil:
		p.changes.Create = append(p.changes.Create, a.object())
	case a.revocation() != nil && !p.keepsRecord(n, a):
		a.deleted = true
		p.changes.Delete = append(p.changes.Delete, *a.read)
	case a.spec != a.read.Spec:
		updated := a.read.DeepCopy()
		updated.Spec = a.spec
		p.changes.Update = append(p.changes.Update, *updated)
	}
}

// keepsRecord reports whether an Assignment that is revoked stays for a while, so that the SyncTarget is not tried
// again at once.
func (p *planner) keepsRecord(n *namespace, a *assignment) bool {
	if n == nil || n.ended() || n.policy == nil || a.spec.Reason != workloadv1alpha1.AssignmentReplacementFailed || a.cluster.terminating() {
		return false
	}
	until := a.revocation().LastTransitionTime.Add(n.policy.gracePeriod())
	p.checkAt(until)
	return p.now.Before(until)
}
