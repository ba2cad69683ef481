package scheduler

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// An Assignment is lost when somebody deletes the Namespace of its syncer in the workspace. What it tells of is still there: the
// copies, and the rights of the syncer in the Namespace. It is made anew from the annotation of the Namespace: to run, or to leave.
// That comes before any other decision about the Namespace, and asks no filter, since these say where something new may go. What is
// to leave the SyncTarget then leaves by an ordinary move.
//
// The annotation alone is no reason for that: it may be older than the last withdrawal, and users can edit it. It counts only where
// the rights of the syncer are still there. A syncer gets these by an Assignment alone, and the record of a withdrawal is deleted
// only after they are gone. Rights that were given to an earlier SyncTarget of the name carry its UID, and do not count. And an
// Assignment is released only when the annotation says all that it is made anew from.

// releaseGrace is how long an Assignment is held that is deleted with the Namespace of its syncer: where the whole workspace is
// deleted, it is seen by then that its SyncTarget is, too.
const releaseGrace = 5 * time.Second

// MissingAssignment is one that the annotation of a Namespace names, and that is not there.
type MissingAssignment struct {
	// Namespace is the index of the Namespace in the Workspace.
	Namespace int
	Cluster   *Cluster
}

// MissingAssignments returns those of a workspace, of SyncTargets that are not being deleted. Each was lost, or has come to its end
// and the annotation does not say so yet.
func MissingAssignments(w *Workspace) (missing []MissingAssignment) {
	type key struct{ syncerNamespace, name string }
	present := sets.New[key]()
	for i := range w.Assignments {
		present.Insert(key{w.Assignments[i].Namespace, w.Assignments[i].Name})
	}
	byName := make(map[string]*Cluster, len(w.Clusters))
	for i := range w.Clusters {
		if c := &w.Clusters[i]; c.Target.DeletionTimestamp == nil {
			byName[c.Target.Name] = c
		}
	}
	for i := range w.Namespaces {
		for name := range clustersNamed(w.Namespaces[i].Annotation) {
			c := byName[name]
			if c != nil && !present.Has(key{workloadv1alpha1.SyncerNamespace(name, c.Key), workloadv1alpha1.AssignmentName(w.Namespaces[i].UID)}) {
				missing = append(missing, MissingAssignment{Namespace: i, Cluster: c})
			}
		}
	}
	return missing
}

// clustersNamed returns the names of the clusters in an annotation. Of one that somebody has made very long, the first count.
func clustersNamed(annotation string) sets.Set[string] {
	names := sets.New[string]()
	if annotation == "" {
		return names
	}
	for _, c := range parseAnnotation(annotation).Clusters {
		if names.Insert(c.Name); names.Len() == maxPlacedClusters {
			break
		}
	}
	return names
}

// releaseLost releases the Assignments that are deleted with the Namespace of their syncer, which is made anew. Nothing else is decided
// in this pass about what they tell of.
func (p *planner) releaseLost(n *namespace) {
	for _, a := range n.assignments {
		if p.isLost(a) && n.isRecorded(a) {
			p.release(a)
			n.undecided = true
		}
	}
}

// release deletes the record, though what it records goes on.
func (p *planner) release(a *assignment) {
	a.released = true
	p.changes.Delete = append(p.changes.Delete, *a.read)
}

// isLost reports whether an Assignment is deleted with the Namespace of its syncer, while its SyncTarget is not.
func (p *planner) isLost(a *assignment) bool {
	if a.read == nil || a.read.DeletionTimestamp == nil || a.cluster.terminating() || !p.terminating.Has(a.read.Namespace) {
		return false
	}
	at := a.read.DeletionTimestamp.Add(releaseGrace)
	p.checkAt(at)
	return !p.now.Before(at)
}

// isRecorded reports whether the annotation says all that an Assignment is made anew from. Of a Namespace that is gone nothing is.
func (n *namespace) isRecorded(a *assignment) bool {
	if n.Gone || !a.isPresent() {
		return true
	}
	want := n.annotated(a)
	return slices.ContainsFunc(parseAnnotation(n.Annotation).Clusters, func(recorded annotationCluster) bool {
		if recorded.State != workloadv1alpha1.PlacedLeaving && want.State != workloadv1alpha1.PlacedLeaving {
			recorded.State = want.State
		}
		return recorded == want
	})
}

// restore makes lost Assignments anew. Nothing else is decided about the Namespace before they are there.
func (p *planner) restore(n *namespace) {
	n.undecided = n.undecided || n.Unread
	if len(n.Unrecorded) == 0 {
		return
	}
	annotation := parseAnnotation(n.Annotation)
	for _, recorded := range annotation.Clusters {
		c := p.clusterNamed(recorded.Name)
		if c == nil || c.terminating() || annotation.Placement == "" || !slices.Contains(n.Unrecorded, c.target.UID) || n.isOn(c) {
			continue
		}
		replaces := recorded.Replaces
		if p.clusterNamed(replaces) == nil {
			replaces = ""
		}
		a := &assignment{cluster: c, spec: recorded.spec(n, p.placementNamed(annotation.Placement), replaces), restored: true}
		if created, err := time.Parse(time.RFC3339, recorded.Created); err == nil {
			a.created = metav1.NewTime(created)
		}
		if a.waits = p.terminating.Has(c.syncerNamespace); a.waits {
			n.say(fmt.Sprintf("its Assignment to SyncTarget %q is lost, and made anew when Namespace %q is", c.name, c.syncerNamespace))
		} else {
			p.tell(n, a, false, EventScheduled, fmt.Sprintf("Namespace %q is assigned to SyncTarget %q again: that Assignment was lost", n.Name, c.name))
		}
		if a.runs() {
			c.running++
		}
		n.assignments, n.undecided = append(n.assignments, a), true
	}
	n.sort()
}

// reportUnread has the Placement say of a Namespace that it waits, where it is not known whether it runs somewhere.
func (n *namespace) reportUnread() {
	if !n.Unread || n.policy == nil || n.ended() {
		return
	}
	n.missing = max(1, n.policy.numberOfClusters()-len(n.roots()))
	n.say("an Assignment that its annotation names is gone, and kcp does not answer whether the syncer still has its rights; nothing is " +
		"decided before that is known")
}

// placementNamed refers to a Placement, by its name alone if it is not there.
func (p *planner) placementNamed(name string) workloadv1alpha1.ObjectReference {
	reference := workloadv1alpha1.ObjectReference{Name: name}
	if placement := p.placements[name]; placement != nil {
		reference.UID = placement.UID
	}
	return reference
}

// isOn reports whether there is an Assignment of the Namespace to a cluster.
func (n *namespace) isOn(c *cluster) bool {
	return slices.ContainsFunc(n.assignments, func(a *assignment) bool { return a.cluster == c })
}

// reason is that of the Assignment. What is none, as after an edit, would be refused by the API.
func (recorded *annotationCluster) reason() workloadv1alpha1.AssignmentReason {
	switch recorded.Reason {
	case workloadv1alpha1.AssignmentDrain, workloadv1alpha1.AssignmentFailover, workloadv1alpha1.AssignmentFailback,
		workloadv1alpha1.AssignmentPlacementChanged, workloadv1alpha1.AssignmentPlacementDeleted, workloadv1alpha1.AssignmentNamespaceDeleted,
		workloadv1alpha1.AssignmentTargetDeleted, workloadv1alpha1.AssignmentReplacementFailed:
		return recorded.Reason
	}
	return workloadv1alpha1.AssignmentScheduled
}

// spec is what an Assignment is made anew with. A Namespace that is being deleted only leaves.
func (recorded *annotationCluster) spec(n *namespace, placement workloadv1alpha1.ObjectReference, replaces string) workloadv1alpha1.AssignmentSpec {
	spec := workloadv1alpha1.AssignmentSpec{
		Namespace: workloadv1alpha1.ObjectReference{Name: n.Name, UID: n.UID},
		Placement: placement,
		Epoch:     1,
		Intent:    workloadv1alpha1.IntentRun,
		Reason:    recorded.reason(),
		Replaces:  replaces,
		Order:     max(0, recorded.Order),
	}
	switch {
	case recorded.Orphan:
		spec.Intent = workloadv1alpha1.IntentOrphan
	case recorded.State == workloadv1alpha1.PlacedLeaving:
		spec.Intent = workloadv1alpha1.IntentWithdraw
	case n.ended():
		spec.Intent, spec.Reason = workloadv1alpha1.IntentWithdraw, workloadv1alpha1.AssignmentNamespaceDeleted
	}
	return spec
}
