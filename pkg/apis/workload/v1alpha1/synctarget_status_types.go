package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SyncTargetPhase sums the conditions up in a word.
// +kubebuilder:validation:Enum=Pending;Ready;NotReady;Terminating
type SyncTargetPhase string

const (
	// PhasePending means that there never was a heartbeat.
	PhasePending SyncTargetPhase = "Pending"
	// PhaseReady means that heartbeats arrive.
	PhaseReady SyncTargetPhase = "Ready"
	// PhaseNotReady means that there were heartbeats, but the target is not ready now.
	PhaseNotReady SyncTargetPhase = "NotReady"
	// PhaseTerminating means that the target is being deleted.
	PhaseTerminating SyncTargetPhase = "Terminating"
)

// SyncTargetStatus is what the service and the syncer have found.
type SyncTargetStatus struct {
	// key identifies this target in labels and names. Written by the controller.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Key string `json:"key,omitempty"`

	// clusterID is the UID of the physical cluster's Namespace kube-system, pinned at first contact.
	// Written by the controller.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ClusterID string `json:"clusterID,omitempty"`

	// phase sums the conditions up in a word. Written by the controller.
	// +optional
	Phase SyncTargetPhase `json:"phase,omitempty"`

	// conditions are Valid, Deployed and Ready, and Synced once a Namespace is assigned; Stalled or Reconciling while one of the first
	// three is not True. Written by the controller.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that the conditions speak of. Written by the controller.
	// +optional
	// +kubebuilder:validation:Format=int64
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// lastHeartbeatTime is when a heartbeat of the syncer last arrived. While the syncer renews its Lease, the controller writes
	// it, by its own clock: at each change of the condition Ready, and once in each --heartbeat-status-interval. A syncer that
	// has no Lease writes it itself, by its own clock, with each heartbeat.
	// +optional
	LastHeartbeatTime *metav1.Time `json:"lastHeartbeatTime,omitempty"`

	// syncer is what the syncer reports of itself and of its cluster. Written by the syncer.
	// +optional
	Syncer *SyncerStatus `json:"syncer,omitempty"`

	// credentials says which token the syncer uses in the workspace, and when it gets another. Written by the controller.
	// +optional
	Credentials *CredentialsStatus `json:"credentials,omitempty"`

	// installationHash changes whenever what is installed for the syncer in the physical cluster changes, or whether the
	// syncer may see it. Then the controller reads all of it again. Written by the syncer.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	InstallationHash string `json:"installationHash,omitempty"`

	// syncedResources says how each synced resource fares. Written by the syncer.
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=resource
	// +kubebuilder:validation:MaxItems=256
	SyncedResources []SyncedResourceStatus `json:"syncedResources,omitempty"`

	// taints are those that count for Placements: of the spec, and the controller's own, workload.kcp.io/unschedulable and
	// workload.kcp.io/unreachable. Written by the controller.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=80
	Taints []ObservedTaint `json:"taints,omitempty"`

	// assignments counts the Assignments of this target. Written by the controller.
	// +optional
	Assignments *AssignmentCounts `json:"assignments,omitempty"`

	// drain says how far the drain is; absent without spec.drain. Written by the controller.
	// +optional
	Drain *DrainStatus `json:"drain,omitempty"`
}

// AssignmentCounts counts the Assignments of a SyncTarget.
type AssignmentCounts struct {
	// running are those of which the Namespace is available there.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Running int32 `json:"running"`
	// pending have yet to become available.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Pending int32 `json:"pending"`
	// withdrawing are those of which the Namespace leaves.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Withdrawing int32 `json:"withdrawing"`
	// refused are those that the syncer cannot be given its rights for, or of which the physical cluster refuses something.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Refused int32 `json:"refused"`
}

// DrainStatus says how far a drain is.
type DrainStatus struct {
	// remaining is how many Namespaces have yet to leave, moving and held ones among them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Remaining int32 `json:"remaining"`
	// moving is how many leave now.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Moving int32 `json:"moving"`
	// held are Namespaces that cannot leave. Of more than 100 the others are left out.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	// +kubebuilder:validation:MaxItems=100
	Held []HeldNamespace `json:"held,omitempty"`
}

// HeldNamespace is a Namespace that is to leave a SyncTarget and cannot.
type HeldNamespace struct {
	// namespace is its name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// reason says why, and what would let it.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason"`
}

// SyncedResourceState says whether a resource can be synced.
// +kubebuilder:validation:Enum=Accepted;Incompatible;Missing;Forbidden
type SyncedResourceState string

const (
	// ResourceAccepted means that objects of the resource are synced.
	ResourceAccepted SyncedResourceState = "Accepted"
	// ResourceIncompatible means that the two sides disagree on what an object is; the message says where.
	ResourceIncompatible SyncedResourceState = "Incompatible"
	// ResourceMissing means that one of the sides does not serve the resource.
	ResourceMissing SyncedResourceState = "Missing"
	// ResourceForbidden means that the resource is never synced, or that one of the sides does not let the syncer list
	// it, or fails to.
	ResourceForbidden SyncedResourceState = "Forbidden"
)

// SyncedResourceStatus says how a synced resource fares.
type SyncedResourceStatus struct {
	// group of the resource; empty for the core group.
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group"`
	// resource in the plural.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Resource string `json:"resource"`
	// versions that both sides serve.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Versions []string `json:"versions,omitempty"`
	// state says whether the resource can be synced.
	// +optional
	State SyncedResourceState `json:"state,omitempty"`
	// message says why not; of an accepted one, on which side its watch fails and why, and which fields only one side knows.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// unwatchedSince is since when the watch of the resource has been failing on a side, so that changes there are not seen.
	// It is absent while both sides are watched.
	// +optional
	UnwatchedSince *metav1.Time `json:"unwatchedSince,omitempty"`
	// objects is how many are held in the assigned Namespaces because they have, or are to have, a copy.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Objects int32 `json:"objects,omitempty"`
	// failing is how many of them the physical cluster refuses, or whose copy has failed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Failing int32 `json:"failing,omitempty"`
	// requested is what the Pods of the copies request together, by resource name: for Deployments, ReplicaSets and StatefulSets the
	// replicas that are wanted, for DaemonSets those that are to be scheduled, for Jobs and CronJobs the active ones. Requests that
	// the physical cluster adds to a Pod, as by a LimitRange, are not in it, nor are those of kinds that are not built in.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=32
	Requested map[string]resource.Quantity `json:"requested,omitempty"`
}

// ObservedTaint is a taint that the controller has seen, or set itself.
type ObservedTaint struct {
	// key of the taint.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	Key string `json:"key"`
	// value of the taint.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Value string `json:"value,omitempty"`
	// effect on Namespaces whose Placement does not tolerate the taint.
	// +required
	Effect TaintEffect `json:"effect"`
	// timeAdded is when the controller saw or set it, by its own clock. tolerationSeconds count from here.
	// +required
	TimeAdded metav1.Time `json:"timeAdded"`
}
