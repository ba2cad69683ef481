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

// SyncTargetList is a list of SyncTargets.
//
// +kubebuilder:object:root=true
type SyncTargetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SyncTarget `json:"items"`
}
