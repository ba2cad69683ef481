package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SyncTarget registers a physical Kubernetes cluster with a workspace. The service installs a syncer there,
// watches over it, and says in the conditions how it fares.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=kcp,shortName=st
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether heartbeats of the syncer arrive"
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`,description="Summary of the conditions"
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.spec.cluster`,description="The physical cluster this target stands for"
// +kubebuilder:printcolumn:name="Heartbeat",type=date,JSONPath=`.status.lastHeartbeatTime`,description="Time since the last heartbeat"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why it is ready or not"
// +kubebuilder:printcolumn:name="Deployed",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Deployed")].reason`,description="How the installation of the syncer fares"
// +kubebuilder:printcolumn:name="Nodes",type=integer,priority=1,JSONPath=`.status.syncer.nodes`,description="Nodes of the physical cluster that are ready"
// +kubebuilder:printcolumn:name="Kubernetes",type=string,priority=1,JSONPath=`.status.syncer.kubernetesVersion`,description="Version of the physical cluster"
// +kubebuilder:printcolumn:name="Key",type=string,priority=1,JSONPath=`.status.key`,description="Identifies this target in labels and names"
type SyncTarget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the user wants.
	// +required
	Spec SyncTargetSpec `json:"spec"`

	// status is what the service and the syncer have found.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status SyncTargetStatus `json:"status,omitempty"`
}

// SyncTargetSpec is what the user wants.
//
// +kubebuilder:validation:XValidation:rule="has(self.kubeconfigSecretRef) == has(oldSelf.kubeconfigSecretRef)",message="kubeconfigSecretRef cannot be added or removed later: whether the service or the user installs the syncer is fixed at creation"
type SyncTargetSpec struct {
	// cluster names the physical cluster this target stands for. Required, but judged by the Valid condition.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Cluster string `json:"cluster,omitempty"`

	// cells place the target, for example {region: eu-west-1}. Targets with the same cells run as if in one
	// cluster. At least one is required, which is judged by the Valid condition.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=64
	Cells map[string]CellValue `json:"cells,omitempty"`

	// capacity declares what the cluster has to offer, by resource name. None may be negative, which is judged
	// by the Valid condition. What the syncer measures stands in status.syncer.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=64
	Capacity map[string]resource.Quantity `json:"capacity,omitempty"`

	// unschedulable keeps new workloads away. It never evicts.
	// +optional
	Unschedulable bool `json:"unschedulable,omitempty"`

	// taints keep Namespaces away whose Placement does not tolerate them. With effect NoExecute they also make those leave
	// that are there: each for another SyncTarget, if one fits.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Taints []Taint `json:"taints,omitempty"`

	// drain moves everything to other SyncTargets while it is present. What fits on none stays; status.drain says why. New
	// workloads are kept away.
	// +optional
	Drain *DrainSpec `json:"drain,omitempty"`

	// kubeconfigSecretRef is the Secret with a kubeconfig of the physical cluster, by which the service installs
	// the syncer. Without it (pull mode) the user installs the syncer. It can be changed, but not added or removed.
	// +optional
	KubeconfigSecretRef *KubeconfigSecretReference `json:"kubeconfigSecretRef,omitempty"`

	// syncer overrides how the syncer is run.
	// +optional
	Syncer *SyncerSpec `json:"syncer,omitempty"`

	// syncedResources replaces the default set of resources that are synced.
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=resource
	// +kubebuilder:validation:MaxItems=256
	SyncedResources []GroupResource `json:"syncedResources,omitempty"`

	// deletionPolicy says what becomes of the synced copies when the target is deleted.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// Taint keeps Namespaces away whose Placement does not tolerate it.
type Taint struct {
	// key of the taint.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('workload.kcp.io/')",message="taints of workload.kcp.io are set by the service, in status.taints"
	Key string `json:"key"`
	// value of the taint.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Value string `json:"value,omitempty"`
	// effect on Namespaces whose Placement does not tolerate the taint.
	// +required
	Effect TaintEffect `json:"effect"`
}

// TaintEffect is what a taint of a SyncTarget does to Namespaces whose Placement does not tolerate it.
// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
type TaintEffect string

const (
	// TaintNoSchedule keeps them away.
	TaintNoSchedule TaintEffect = "NoSchedule"
	// TaintPreferNoSchedule keeps them away where another SyncTarget fits.
	TaintPreferNoSchedule TaintEffect = "PreferNoSchedule"
	// TaintNoExecute keeps them away, and makes those that are there leave.
	TaintNoExecute TaintEffect = "NoExecute"
)

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

// DrainSpec says how a SyncTarget is drained.
type DrainSpec struct {
	// maxConcurrent is how many Namespaces leave at once.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MaxConcurrent int32 `json:"maxConcurrent,omitempty"`
}

// CellValue is the value of a cell.
// +kubebuilder:validation:MaxLength=253
type CellValue string

// KubeconfigSecretReference names a kubeconfig in a Secret of the same workspace.
type KubeconfigSecretReference struct {
	// namespace of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key in the Secret's data.
	// +optional
	// +kubebuilder:default=kubeconfig
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// GroupResource names a resource of an API group.
type GroupResource struct {
	// group of the resource; empty for the core group.
	// +optional
	// +kubebuilder:default=""
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group"`
	// resource in the plural, for example deployments.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Resource string `json:"resource"`
}

// DeletionPolicy says what becomes of the synced copies when a SyncTarget is deleted.
// +kubebuilder:validation:Enum=Delete;Orphan
type DeletionPolicy string

const (
	// DeletionPolicyDelete removes the synced copies.
	DeletionPolicyDelete DeletionPolicy = "Delete"
	// DeletionPolicyOrphan leaves the synced copies running.
	DeletionPolicyOrphan DeletionPolicy = "Orphan"
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

// SyncTargetList is a list of SyncTargets.
//
// +kubebuilder:object:root=true
type SyncTargetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SyncTarget `json:"items"`
}
