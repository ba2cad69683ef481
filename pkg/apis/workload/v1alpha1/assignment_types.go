package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Assignment is the record that one Namespace of the workspace is to run on one SyncTarget, or to leave it. It is kept in the
// Namespace of that SyncTarget's syncer. The service writes it; users read it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,categories=kcp
// +kubebuilder:printcolumn:name="Of",type=string,JSONPath=`.spec.namespace.name`,description="The Namespace of the workspace that is assigned"
// +kubebuilder:printcolumn:name="Intent",type=string,JSONPath=`.spec.intent`,description="What is to become of the copies"
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.conditions[?(@.type=="Available")].status`,description="Whether what is in the Namespace runs there"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`,description="Why it is assigned, or withdrawn"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Placement",type=string,priority=1,JSONPath=`.spec.placement.name`,description="The Placement that decided"
// +kubebuilder:printcolumn:name="Admitted",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Admitted")].status`,description="Whether the syncer has its rights in the Namespace"
// +kubebuilder:printcolumn:name="Objects",type=integer,priority=1,JSONPath=`.status.objects.applied`,description="Objects that have a copy"
// +kubebuilder:printcolumn:name="Failing",type=integer,priority=1,JSONPath=`.status.objects.failing`,description="Objects that the physical cluster refuses, or whose copy has failed"
type Assignment struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is to become of the Namespace on the SyncTarget. Written by the controller.
	// +required
	Spec AssignmentSpec `json:"spec"`

	// status is what has become of it.
	// +optional
	Status AssignmentStatus `json:"status,omitempty"`
}

// AssignmentSpec is what is to become of one Namespace on one SyncTarget.
type AssignmentSpec struct {
	// namespace of the workspace.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="namespace cannot be changed"
	Namespace ObjectReference `json:"namespace"`
	// placement that decided last.
	// +required
	Placement ObjectReference `json:"placement"`
	// epoch is raised with each change of intent. What was reported of an earlier one does not count.
	// +required
	// +kubebuilder:validation:Minimum=1
	Epoch int64 `json:"epoch"`
	// intent is what is to become of the copies.
	// +required
	Intent AssignmentIntent `json:"intent"`
	// reason for the intent.
	// +required
	Reason AssignmentReason `json:"reason"`
	// replaces is the name of the SyncTarget that this one takes the place of. It stays after that has been left.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Replaces string `json:"replaces,omitempty"`
	// order of the clusters of a Namespace. Jobs, CronJobs and PersistentVolumeClaims run on 0 alone.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Order int32 `json:"order"`
	// writesStatus: the status of the copies here becomes the status of the objects. Of all clusters of a Namespace one does.
	// +optional
	WritesStatus bool `json:"writesStatus,omitempty"`
}

// ObjectReference names one object, which keeps its UID.
type ObjectReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid of the object.
	// +required
	UID types.UID `json:"uid"`
}

// AssignmentIntent is what is to become of the copies of a Namespace.
// +kubebuilder:validation:Enum=Run;Withdraw;Orphan
type AssignmentIntent string

const (
	// IntentRun means that the objects of the Namespace have copies.
	IntentRun AssignmentIntent = "Run"
	// IntentWithdraw means that the copies are deleted.
	IntentWithdraw AssignmentIntent = "Withdraw"
	// IntentOrphan means that the copies stay and belong to the physical cluster from then on.
	IntentOrphan AssignmentIntent = "Orphan"
)

// AssignmentReason is why a Namespace is assigned to a SyncTarget, or withdrawn from it.
// +kubebuilder:validation:Enum=Scheduled;Drain;Failover;Failback;PlacementChanged;PlacementDeleted;NamespaceDeleted;TargetDeleted;ReplacementFailed
type AssignmentReason string

const (
	// AssignmentScheduled means that the Placement asks for it.
	AssignmentScheduled AssignmentReason = "Scheduled"
	// AssignmentDrain means that its SyncTarget is being drained, or has a NoExecute taint that is not tolerated.
	AssignmentDrain AssignmentReason = "Drain"
	// AssignmentFailover means that its SyncTarget has been unreachable for longer than the Placement tolerates.
	AssignmentFailover AssignmentReason = "Failover"
	// AssignmentFailback means that the SyncTarget that it had left because that was unreachable is ready again.
	AssignmentFailback AssignmentReason = "Failback"
	// AssignmentPlacementChanged means that the Placement asks for other or fewer clusters, or does not select the Namespace any more.
	AssignmentPlacementChanged AssignmentReason = "PlacementChanged"
	// AssignmentPlacementDeleted means that the Placement is being deleted.
	AssignmentPlacementDeleted AssignmentReason = "PlacementDeleted"
	// AssignmentNamespaceDeleted means that the Namespace is being deleted.
	AssignmentNamespaceDeleted AssignmentReason = "NamespaceDeleted"
	// AssignmentTargetDeleted means that the SyncTarget is being deleted.
	AssignmentTargetDeleted AssignmentReason = "TargetDeleted"
	// AssignmentReplacementFailed means that it was to replace another, and was not available within the grace period.
	AssignmentReplacementFailed AssignmentReason = "ReplacementFailed"
)

// AssignmentStatus is what has become of one Namespace on one SyncTarget.
type AssignmentStatus struct {
	// observedEpoch is the epoch of the spec that the syncer's conditions speak of. Written by the syncer.
	// +optional
	ObservedEpoch int64 `json:"observedEpoch,omitempty"`
	// downstreamNamespace is the Namespace of the physical cluster that the copies are in. Written by the syncer.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	DownstreamNamespace string `json:"downstreamNamespace,omitempty"`
	// objects counts the objects of the Namespace. Written by the syncer.
	// +optional
	Objects *AssignmentObjects `json:"objects,omitempty"`
	// conditions are Admitted, written by the controller, and Applied, Available and Withdrawn, written by the syncer.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AssignmentObjects counts the objects of a Namespace on one SyncTarget.
type AssignmentObjects struct {
	// applied is how many have, or are to have, a copy.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Applied int32 `json:"applied"`
	// failing is how many of them the physical cluster refuses, or whose copy has failed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Failing int32 `json:"failing"`
	// boundClaims is how many PersistentVolumeClaims are bound to a volume there.
	// +optional
	// +kubebuilder:validation:Minimum=0
	BoundClaims int32 `json:"boundClaims"`
}

// AssignmentList is a list of Assignments.
//
// +kubebuilder:object:root=true
type AssignmentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Assignment `json:"items"`
}
