package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PlacementStatus is what the service has decided, and how it fares. Written by the controller.
type PlacementStatus struct {
	// observedGeneration is the generation of the spec that the conditions speak of.
	// +optional
	// +kubebuilder:validation:Format=int64
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Scheduled, Applied and Available; Stalled or Reconciling while one of them is not True.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// namespaces are selected ones, those with something to say first. Of more than 100 the others are left out.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Namespaces []PlacedNamespace `json:"namespaces,omitempty"`

	// summary counts the selected Namespaces.
	// +optional
	Summary *PlacementSummary `json:"summary,omitempty"`
}

// PlacementSummary counts the Namespaces that a Placement selects, and for which no other Placement counts.
type PlacementSummary struct {
	// namespaces is all of them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Namespaces int32 `json:"namespaces"`
	// placed have the clusters that they are to have.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Placed int32 `json:"placed"`
	// pending wait for a cluster.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Pending int32 `json:"pending"`
	// moving go from one cluster to another.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Moving int32 `json:"moving"`
	// held are to move and cannot.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Held int32 `json:"held"`
}

// PlacedNamespace says where a Namespace is.
type PlacedNamespace struct {
	// name of the Namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// clusters are those that it is on, comes to or leaves.
	// +optional
	// +listType=map
	// +listMapKey=clusterName
	// +kubebuilder:validation:MaxItems=64
	Clusters []PlacedCluster `json:"clusters,omitempty"`
	// message says what is awaited, or what is in the way.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// PlacedCluster says how a Namespace fares on a SyncTarget.
type PlacedCluster struct {
	// clusterName is the name of the SyncTarget.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClusterName string `json:"clusterName"`
	// state of the Namespace there.
	// +required
	State PlacedState `json:"state"`
	// since is when it got into this state.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// replaces is the name of the SyncTarget that this one takes the place of.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Replaces string `json:"replaces,omitempty"`
	// reason why it is there.
	// +optional
	Reason AssignmentReason `json:"reason,omitempty"`
}

// PlacedState says how a Namespace fares on a SyncTarget.
// +kubebuilder:validation:Enum=Running;Arriving;Leaving
type PlacedState string

const (
	// PlacedRunning means that what is in the Namespace has been available there.
	PlacedRunning PlacedState = "Running"
	// PlacedArriving means that it has yet to become available there.
	PlacedArriving PlacedState = "Arriving"
	// PlacedLeaving means that its copies are deleted there, or let go.
	PlacedLeaving PlacedState = "Leaving"
)
