package scheduler

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// maxPlacedClusters is how many clusters of a Namespace status.namespaces of a Placement can name.
const maxPlacedClusters = 64

// findState returns what the status of a Placement counts the Namespace as.
func (n *namespace) findState() namespaceState {
	switch {
	case n.missing > 0:
		return statePending
	case n.held:
		return stateHeld
	case n.moving:
		return stateMoving
	case n.policy != nil && n.notAvailable() != nil:
		return stateNotAvailable
	}
	return statePlaced
}

// notAvailable returns a running Assignment that keeps the Namespace from having as many available clusters as it is to
// have; nil if it has.
func (n *namespace) notAvailable() *assignment {
	available := 0
	var first *assignment
	for _, a := range n.assignments {
		switch {
		case !a.runs():
		case a.available():
			available++
		case first == nil || first.replaces != nil && a.replaces == nil:
			first = a
		}
	}
	if available >= n.policy.numberOfClusters() {
		return nil
	}
	return first
}

// placed says where the Namespace is, by the names of the clusters.
func (n *namespace) placed() []workloadv1alpha1.PlacedCluster {
	clusters := make([]workloadv1alpha1.PlacedCluster, 0, len(n.assignments))
	for _, a := range n.present() {
		clusters = append(clusters, a.placed())
	}
	return clusters[:min(len(clusters), maxPlacedClusters)]
}

// present returns the Assignments by which the Namespace runs, or may run, by the names of the clusters.
func (n *namespace) present() []*assignment {
	present := make([]*assignment, 0, len(n.assignments))
	for _, a := range n.assignments {
		if a.isPresent() {
			present = append(present, a)
		}
	}
	slices.SortFunc(present, func(a, b *assignment) int { return strings.Compare(a.cluster.name, b.cluster.name) })
	return present
}

func (a *assignment) placed() workloadv1alpha1.PlacedCluster {
	placed := workloadv1alpha1.PlacedCluster{
		ClusterName: a.cluster.name, State: workloadv1alpha1.PlacedArriving, Replaces: a.spec.Replaces, Reason: a.spec.Reason,
	}
	switch {
	case !a.runs():
		placed.State = workloadv1alpha1.PlacedLeaving
	case a.reportedAvailable():
		placed.State = workloadv1alpha1.PlacedRunning
		placed.Since = a.condition(workloadv1alpha1.ConditionAvailable).LastTransitionTime.DeepCopy()
	case a.read != nil:
		placed.Since = a.read.CreationTimestamp.DeepCopy()
	}
	if placed.Since != nil && *placed.Since == (metav1.Time{}) {
		placed.Since = nil
	}
	return placed
}
