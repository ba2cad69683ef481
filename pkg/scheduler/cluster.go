package scheduler

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// cluster is a SyncTarget with what one pass needs to know of it, found out once.
type cluster struct {
	target *workloadv1alpha1.SyncTarget
	name   string
	key    string
	// index is its place among the clusters of the pass.
	index int
	// syncerNamespace is where its Assignments are.
	syncerNamespace  string
	evictionPaused   bool
	deletionDeadline time.Time
	// ready: heartbeats arrive, so that what its syncer has reported is current.
	ready bool
	// taints are those that count now, and that status.taints is to have.
	taints []workloadv1alpha1.ObservedTaint

	// running counts the Assignments with the intent Run, those that this pass creates among them.
	running int
	// moving counts the Namespaces that leave it for another cluster now.
	moving int
	// replaced counts those of them that still run there.
	replaced int
	// held are the Namespaces that are to leave it and cannot.
	held []workloadv1alpha1.HeldNamespace
	// counts is what status.assignments is to have.
	counts workloadv1alpha1.AssignmentCounts
}

// newClusters returns the clusters by name, and registers when the taints of one change the decisions.
func newClusters(clusters []Cluster, now time.Time) []*cluster {
	result := make([]*cluster, 0, len(clusters))
	for _, c := range clusters {
		ready := meta.IsStatusConditionTrue(c.Target.Status.Conditions, workloadv1alpha1.ConditionReady)
		result = append(result, &cluster{
			target: c.Target, name: c.Target.Name, key: c.Key,
			syncerNamespace: workloadv1alpha1.SyncerNamespace(c.Target.Name, c.Key),
			evictionPaused:  c.EvictionPaused, deletionDeadline: c.DeletionDeadline,
			ready:  ready,
			taints: wantedTaints(c, metav1.NewTime(now)),
		})
	}
	slices.SortFunc(result, func(a, b *cluster) int { return strings.Compare(a.name, b.name) })
	for i, c := range result {
		c.index = i
	}
	return result
}

// terminating reports whether the SyncTarget is being deleted.
func (c *cluster) terminating() bool { return c.target.DeletionTimestamp != nil }

// movesNothing reports whether a SyncTarget that is being deleted moves nothing any more: what is on it is withdrawn at
// once.
func (c *cluster) movesNothing(now time.Time) bool {
	return c.target.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan ||
		c.target.Annotations[workloadv1alpha1.AnnotationAbandon] == "true" ||
		!c.deletionDeadline.IsZero() && !now.Before(c.deletionDeadline)
}

// unreachable reports whether the syncer is silent, so that what runs there is not known.
func (c *cluster) unreachable(effect workloadv1alpha1.TaintEffect) bool {
	return slices.ContainsFunc(c.taints, func(t workloadv1alpha1.ObservedTaint) bool {
		return t.Key == workloadv1alpha1.TaintUnreachable && t.Effect == effect
	})
}
