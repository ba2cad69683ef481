package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/conditions"
)

// maxPlacedNamespaces is how many Namespaces status.namespaces of a Placement names.
const maxPlacedNamespaces = 100

// collectPlacements adds the Placements of which the status or the finalizer changes.
func (p *planner) collectPlacements() {
	named := p.namedByRunning()
	for _, policy := range p.policies {
		present := policy.placement
		finalizers, status := wantedFinalizers(present, named.Has(present.UID)), p.wantedStatus(policy)
		if slices.Equal(finalizers, present.Finalizers) && equalStatus(&status, &present.Status) {
			continue
		}
		wanted := present.DeepCopy()
		wanted.Finalizers, wanted.Status = finalizers, status
		p.changes.Placements = append(p.changes.Placements, *wanted)
	}
}

// namedByRunning returns the UIDs of the Placements that Assignments name which have the intent Run as they were read:
// it must have been written that they are withdrawn.
func (p *planner) namedByRunning() sets.Set[types.UID] {
	named := sets.New[types.UID]()
	add := func(a *assignment) {
		switch {
		case a.restored && a.runs():
			named.Insert(a.spec.Placement.UID)
		case a.read != nil && a.read.Spec.Intent == workloadv1alpha1.IntentRun:
			named.Insert(a.read.Spec.Placement.UID)
		}
	}
	for _, n := range p.namespaces {
		for _, a := range n.assignments {
			add(a)
		}
	}
	for _, a := range p.hidden {
		add(a)
	}
	return named
}

// wantedFinalizers adds the finalizer to a Placement, and takes it off one that is being deleted when nothing that runs
// names it.
func wantedFinalizers(placement *workloadv1alpha1.Placement, named bool) []string {
	i := slices.Index(placement.Finalizers, workloadv1alpha1.PlacementFinalizer)
	switch {
	case placement.DeletionTimestamp == nil && i < 0:
		return append(slices.Clone(placement.Finalizers), workloadv1alpha1.PlacementFinalizer)
	case placement.DeletionTimestamp != nil && i >= 0 && !named:
		return slices.Delete(slices.Clone(placement.Finalizers), i, i+1)
	}
	return placement.Finalizers
}

// wantedStatus returns the status that a Placement is to have. It stays as it is while the Placement has yet to get its finalizer.
func (p *planner) wantedStatus(policy *policy) workloadv1alpha1.PlacementStatus {
	if policy.placement.DeletionTimestamp != nil {
		return p.deletionStatus(policy)
	}
	if !policy.inForce() {
		return policy.placement.Status
	}
	slices.SortFunc(policy.selected, func(a, b *namespace) int {
		return cmp.Or(cmp.Compare(a.state, b.state), strings.Compare(a.Name, b.Name))
	})
	status := workloadv1alpha1.PlacementStatus{
		ObservedGeneration: policy.placement.Generation,
		Conditions:         slices.Clone(policy.placement.Status.Conditions),
		Summary:            policy.summary(),
	}
	for _, n := range policy.selected[:min(len(policy.selected), maxPlacedNamespaces)] {
		status.Namespaces = append(status.Namespaces, workloadv1alpha1.PlacedNamespace{
			Name: n.Name, Clusters: n.where, Message: n.message(),
		})
	}
	for _, c := range []metav1.Condition{policy.scheduled(), policy.applied(), policy.available()} {
		c.Message = truncate(c.Message)
		c.ObservedGeneration = policy.placement.Generation
		c.LastTransitionTime = metav1.NewTime(p.now)
		meta.SetStatusCondition(&status.Conditions, c)
	}
	SetProgress(&status, p.now)
	return status
}

// SetProgress sets the conditions Stalled and Reconciling of a Placement by the others.
func SetProgress(status *workloadv1alpha1.PlacementStatus, now time.Time) {
	conditions.SetProgress(&status.Conditions, status.ObservedGeneration, metav1.NewTime(now), placementConditions, stallsPlacement)
}

// placementConditions are those of a Placement, in the order in which they become True.
var placementConditions = []string{
	workloadv1alpha1.ConditionScheduled, workloadv1alpha1.ConditionApplied, workloadv1alpha1.ConditionAvailable,
}

// stallsPlacement reports whether time alone does not make a condition of a Placement True. A SyncTarget that fits may yet come.
func stallsPlacement(c metav1.Condition) bool {
	switch c.Reason {
	case workloadv1alpha1.ReasonInvalidPlacement, workloadv1alpha1.ReasonConflict, workloadv1alpha1.ReasonObjectsFailing,
		workloadv1alpha1.ReasonValidationFailed:
		return true
	}
	return false
}

// deletionStatus says what the deletion of a Placement waits for, if that is a Namespace that is not to be seen.
func (p *planner) deletionStatus(policy *policy) workloadv1alpha1.PlacementStatus {
	status := policy.placement.Status
	i := slices.IndexFunc(p.hidden, func(a *assignment) bool { return a.runs() && p.policyOf(a) == policy })
	if i < 0 {
		return status
	}
	a := p.hidden[i]
	status.Conditions = slices.Clone(status.Conditions)
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: workloadv1alpha1.ConditionScheduled, Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonTerminating,
		Message: fmt.Sprintf("The deletion waits: Namespace %q runs on SyncTarget %q, and the service does not see it, so that it is not known "+
			"whether another Placement selects it. Let the claim on Namespaces in the APIBinding show it", a.spec.Namespace.Name, a.cluster.name),
		ObservedGeneration: policy.placement.Generation, LastTransitionTime: metav1.NewTime(p.now),
	})
	return status
}

// equalStatus compares without reflection, since every pass compares every Placement.
func equalStatus(a, b *workloadv1alpha1.PlacementStatus) bool {
	return a.ObservedGeneration == b.ObservedGeneration && ptr.Equal(a.Summary, b.Summary) && slices.Equal(a.Conditions, b.Conditions) &&
		slices.EqualFunc(a.Namespaces, b.Namespaces, func(a, b workloadv1alpha1.PlacedNamespace) bool {
			return a.Name == b.Name && a.Message == b.Message && slices.EqualFunc(a.Clusters, b.Clusters, equalPlaced)
		})
}

func equalPlaced(a, b workloadv1alpha1.PlacedCluster) bool {
	same := a.Since.Equal(b.Since)
	a.Since, b.Since = nil, nil
	return same && a == b
}

func (p *policy) summary() *workloadv1alpha1.PlacementSummary {
	s := &workloadv1alpha1.PlacementSummary{Namespaces: int32(len(p.selected))}
	for _, n := range p.selected {
		if n.missing == 0 {
			s.Placed++
		} else {
			s.Pending++
		}
		if n.moving {
			s.Moving++
		}
		if n.held {
			s.Held++
		}
	}
	return s
}

// scheduled says whether each selected Namespace has the clusters that it is to have.
func (p *policy) scheduled() metav1.Condition {
	c := metav1.Condition{Type: workloadv1alpha1.ConditionScheduled, Status: metav1.ConditionFalse}
	switch {
	case p.invalid != nil:
		c.Reason, c.Message = workloadv1alpha1.ReasonInvalidPlacement, p.invalid.Error()
	case len(p.selected) == 0 && len(p.lost) > 0:
		c.Reason = workloadv1alpha1.ReasonConflict
		c.Message = p.conflict() + " So it is with all that this Placement selects"
	case len(p.selected) == 0:
		c.Reason, c.Message = workloadv1alpha1.ReasonNoNamespaces, p.noNamespaces()
	case p.selected[0].missing > 0:
		c.Reason = workloadv1alpha1.ReasonUnschedulable
		c.Message = fmt.Sprintf("Namespace %q: %s", p.selected[0].Name, p.selected[0].message())
	default:
		c.Status, c.Reason = metav1.ConditionTrue, workloadv1alpha1.ReasonScheduled
		c.Message = strings.TrimSpace("Each selected Namespace has its clusters. " + p.conflict())
	}
	return c
}

// conflict names a Namespace that this Placement selects, and the Placement that counts for it; empty if there is none.
func (p *policy) conflict() string {
	if len(p.lost) == 0 {
		return ""
	}
	winner := p.lost[0].policy.placement
	why := "it has the higher priority"
	if winner.Spec.Priority == p.placement.Spec.Priority {
		why = "it has the same priority and is older"
	}
	return fmt.Sprintf("For Namespace %q Placement %q counts instead, since %s.", p.lost[0].Name, winner.Name, why)
}

func (p *policy) noNamespaces() string {
	if len(p.refused) > 0 {
		return fmt.Sprintf("spec.namespaceSelector selects only Namespaces that are never synced. Namespace %q: %s",
			p.refused[0].Name, p.refused[0].Refusal)
	}
	return "spec.namespaceSelector selects no Namespace of the workspace"
}

// applied says whether everything that is to run has reached the clusters.
func (p *policy) applied() metav1.Condition {
	c := metav1.Condition{
		Type: workloadv1alpha1.ConditionApplied, Status: metav1.ConditionTrue, Reason: workloadv1alpha1.ReasonApplied,
		Message: "Everything in the selected Namespaces has reached its clusters",
	}
	if blocked, ok := p.notScheduled(c.Type); ok {
		return blocked
	}
	for _, n := range p.selected {
		for _, a := range n.roots() {
			if a.isTrue(workloadv1alpha1.ConditionApplied) {
				continue
			}
			c.Status, c.Reason = metav1.ConditionFalse, workloadv1alpha1.ReasonApplying
			c.Message = n.on(a, "what is there has yet to reach the cluster")
			if reported := a.condition(workloadv1alpha1.ConditionApplied); reported != nil {
				c.Reason, c.Message = reported.Reason, n.on(a, reported.Message)
			}
			return c
		}
	}
	return c
}

// available says whether everything that is to run does. What a syncer has reported that is silent now does not count.
func (p *policy) available() metav1.Condition {
	c := metav1.Condition{
		Type: workloadv1alpha1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: workloadv1alpha1.ReasonAvailable,
		Message: "Everything in the selected Namespaces runs",
	}
	if blocked, ok := p.notScheduled(c.Type); ok {
		return blocked
	}
	for _, n := range p.selected {
		a := n.notAvailable()
		if a == nil {
			continue
		}
		c.Status, c.Reason = metav1.ConditionFalse, workloadv1alpha1.ReasonNotAvailable
		c.Message = n.on(a, "the syncer has yet to report that everything runs")
		reported := a.condition(workloadv1alpha1.ConditionAvailable)
		switch {
		case !a.cluster.ready && a.reportedAvailable():
			c.Status = metav1.ConditionUnknown
			c.Message = n.on(a, "the SyncTarget is not ready, so that it is not known what runs there")
		case reported != nil:
			c.Message = n.on(a, reported.Message)
		}
		return c
	}
	return c
}

// notScheduled returns the condition of a Placement of which some Namespace has not its clusters, or that has none.
func (p *policy) notScheduled(conditionType string) (metav1.Condition, bool) {
	scheduled := p.scheduled()
	if scheduled.Status == metav1.ConditionTrue {
		return metav1.Condition{}, false
	}
	scheduled.Type = conditionType
	return scheduled, true
}

func (n *namespace) on(a *assignment, message string) string {
	return fmt.Sprintf("Namespace %q on SyncTarget %q: %s", n.Name, a.cluster.name, message)
}
