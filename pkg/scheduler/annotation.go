package scheduler

import (
	"encoding/json"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// placementAnnotation is the value of AnnotationPlacement of a Namespace.
type placementAnnotation struct {
	Placement string              `json:"placement,omitempty"`
	Clusters  []annotationCluster `json:"clusters,omitempty"`
	Message   string              `json:"message,omitempty"`
}

// annotationCluster says how a Namespace fares on a SyncTarget, and all that its Assignment is made anew from if that is lost.
type annotationCluster struct {
	Name  string                       `json:"name"`
	State workloadv1alpha1.PlacedState `json:"state"`
	// Reason is left out where it is Scheduled.
	Reason   workloadv1alpha1.AssignmentReason `json:"reason,omitempty"`
	Replaces string                            `json:"replaces,omitempty"`
	Order    int32                             `json:"order,omitempty"`
	// Created is said of both clusters of a move: which one came after the other tells which one replaces the other.
	Created string `json:"created,omitempty"`
	// Orphan: the copies stay when the Namespace has left.
	Orphan bool `json:"orphan,omitempty"`
}

// annotated is what the annotation says of an Assignment of the Namespace.
func (n *namespace) annotated(a *assignment) annotationCluster {
	recorded := annotationCluster{
		Name: a.cluster.name, State: a.placed().State, Reason: a.spec.Reason, Replaces: a.spec.Replaces, Order: a.spec.Order,
		Orphan: a.spec.Intent == workloadv1alpha1.IntentOrphan,
	}
	if recorded.Reason == workloadv1alpha1.AssignmentScheduled {
		recorded.Reason = ""
	}
	if slices.ContainsFunc(n.assignments, func(other *assignment) bool {
		return other.spec.Replaces == a.cluster.name || a.spec.Replaces == other.cluster.name
	}) {
		recorded.Created = formatTime(a.created)
	}
	return recorded
}

// formatTime writes a time as the API does; empty for none.
func formatTime(t metav1.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// collectAnnotations adds the annotations of Namespaces that change. That of one which is being deleted stays as it is, unless one of
// its Assignments is lost, and so does one of which it is not known whether one is.
func (p *planner) collectAnnotations() {
	for _, n := range p.namespaces {
		if n.Gone || n.Unread || n.Terminating && !slices.ContainsFunc(n.assignments, p.isLost) || n.policy != nil && !n.policy.inForce() {
			continue
		}
		value := n.annotation()
		if value == n.Annotation {
			continue
		}
		p.changes.Annotations = append(p.changes.Annotations, NamespaceAnnotation{Name: n.Name, UID: n.UID, Value: value})
		p.tellPending(n)
	}
}

// annotation returns the value that the annotation is to have; empty where there is nothing to tell.
func (n *namespace) annotation() string {
	a := placementAnnotation{Message: n.message()}
	for _, present := range n.present() {
		a.Clusters = append(a.Clusters, n.annotated(present))
	}
	switch {
	case n.policy != nil:
		a.Placement = n.policy.placement.Name
	case len(a.Clusters) == 0:
		return ""
	default:
		a.Placement = n.assignments[0].spec.Placement.Name
	}
	value, err := json.Marshal(a)
	if err != nil {
		return ""
	}
	return string(value)
}

// hints returns the clusters that the annotation of a Namespace without any Assignment names: there it was to be before
// they were lost. Where anything of it is left, restore has made the Assignment anew.
func (n *namespace) hints() sets.Set[string] {
	if len(n.assignments) > 0 || n.Annotation == "" {
		return nil
	}
	hints := sets.New[string]()
	for _, c := range parseAnnotation(n.Annotation).Clusters {
		if c.State != workloadv1alpha1.PlacedLeaving {
			hints.Insert(c.Name)
		}
	}
	return hints
}

// parseAnnotation returns what an annotation says; nothing, if somebody has made something else of it.
func parseAnnotation(value string) placementAnnotation {
	var a placementAnnotation
	if err := json.Unmarshal([]byte(value), &a); err != nil {
		return placementAnnotation{}
	}
	return a
}

// tellPending tells that a Namespace waits for a cluster, when it begins to or when the cause changes.
func (p *planner) tellPending(n *namespace) {
	if n.policy == nil || n.missing == 0 || n.message() == "" || n.message() == parseAnnotation(n.Annotation).Message {
		return
	}
	p.tell(n, nil, true, EventFailedScheduling, n.message())
}
