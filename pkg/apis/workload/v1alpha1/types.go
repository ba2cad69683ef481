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

// SyncerSpec overrides how the syncer is run. What is absent is chosen by the service.
type SyncerSpec struct {
	// image of the syncer.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`
	// replicas of the syncer: one acts, the others stand by. Default 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	Replicas *int32 `json:"replicas,omitempty"`
	// logLevel is the verbosity of the syncer's log, from 0 (what changes the world) to 7. Default 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=7
	LogLevel *int32 `json:"logLevel,omitempty"`
	// kubeAPIQPS is the limit of requests per second that the syncer sends to each side, the workspace and the
	// physical cluster, to sync objects. Default 200. The lists of its informers have a limit of their own, which is
	// 50 per second or kubeAPIQPS if that is lower.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	KubeAPIQPS *int32 `json:"kubeAPIQPS,omitempty"`
	// kubeAPIBurst is how many requests the syncer may send to each side at once, before kubeAPIQPS limits them.
	// Default: twice kubeAPIQPS. The lists of its informers have a limit of their own, which is 100 or kubeAPIBurst
	// if that is lower.
	// +optional
	// +kubebuilder:validation:Minimum=1
	KubeAPIBurst *int32 `json:"kubeAPIBurst,omitempty"`
	// resources of the syncer's container.
	// +optional
	Resources *ResourceRequirements `json:"resources,omitempty"`
	// nodeSelector of the syncer's pods.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=64
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`
	// tolerations of the syncer's pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []Toleration `json:"tolerations,omitempty"`
	// imagePullSecrets name Secrets in the syncer's Namespace in the physical cluster.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []LocalObjectReference `json:"imagePullSecrets,omitempty"`
}

// LabelValue is the value of a label.
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// ResourceRequirements are the compute resources of a container.
type ResourceRequirements struct {
	// requests are what the container is guaranteed.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(name, type(self[name]) != string || size(self[name]) <= 64)",message="a quantity may have at most 64 characters"
	Requests map[string]resource.Quantity `json:"requests,omitempty"`
	// limits are what the container may use at most.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(name, type(self[name]) != string || size(self[name]) <= 64)",message="a quantity may have at most 64 characters"
	Limits map[string]resource.Quantity `json:"limits,omitempty"`
}

// Toleration lets a pod run on a node with a matching taint.
type Toleration struct {
	// key of the taint. Empty matches every key, with operator Exists.
	// +optional
	// +kubebuilder:validation:MaxLength=316
	Key string `json:"key,omitempty"`
	// operator relates the key to the value.
	// +optional
	// +kubebuilder:validation:Enum=Exists;Equal
	Operator string `json:"operator,omitempty"`
	// value of the taint.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Value string `json:"value,omitempty"`
	// effect of the taint. Empty matches every effect.
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
	Effect string `json:"effect,omitempty"`
	// tolerationSeconds bounds how long a NoExecute taint is tolerated, in seconds.
	// +optional
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// LocalObjectReference names an object in the same Namespace.
type LocalObjectReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
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

	// conditions are Valid, Deployed and Ready, and Synced once a Namespace is opened. Written by the controller.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that the conditions speak of. Written by the controller.
	// +optional
	// +kubebuilder:validation:Format=int64
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// lastHeartbeatTime is when the syncer last reported, by the syncer's clock. Written by the syncer.
	// +optional
	LastHeartbeatTime *metav1.Time `json:"lastHeartbeatTime,omitempty"`

	// syncer is what the syncer reports of itself and of its cluster. Written by the syncer.
	// +optional
	Syncer *SyncerStatus `json:"syncer,omitempty"`

	// syncedResources says how each synced resource fares. Written by the syncer.
	// +optional
	// +listType=map
	// +listMapKey=group
	// +listMapKey=resource
	// +kubebuilder:validation:MaxItems=256
	SyncedResources []SyncedResourceStatus `json:"syncedResources,omitempty"`

	// namespaces are those of the workspace that are labelled to be opened to this target, or were. Written by the
	// controller.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1024
	Namespaces []NamespaceStatus `json:"namespaces,omitempty"`

	// drainedNamespaces are the closing ones in which the syncer has left nothing of its own. Written by the syncer.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=63
	DrainedNamespaces []string `json:"drainedNamespaces,omitempty"`

	// syncedNamespaces are the open ones of which all that is to be synced has reached the physical cluster, or says why it has
	// not. Written by the syncer.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=63
	SyncedNamespaces []string `json:"syncedNamespaces,omitempty"`
}

// NamespaceState says whether what is in a Namespace is synced.
// +kubebuilder:validation:Enum=Opening;Open;Closing;Refused
type NamespaceState string

const (
	// NamespaceOpening means that the syncer is yet to be given its rights.
	NamespaceOpening NamespaceState = "Opening"
	// NamespaceOpen means that what is in the Namespace is synced.
	NamespaceOpen NamespaceState = "Open"
	// NamespaceClosing means that the copies are being removed, and then the syncer's rights.
	NamespaceClosing NamespaceState = "Closing"
	// NamespaceRefused means that the Namespace is never synced; the message says why.
	NamespaceRefused NamespaceState = "Refused"
)

// NamespaceStatus says how a Namespace of the workspace fares.
type NamespaceStatus struct {
	// name of the Namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// state says whether what is in the Namespace is synced.
	// +required
	State NamespaceState `json:"state"`
	// message says why not.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// SyncerStatus is what the syncer reports of itself and of its cluster.
type SyncerStatus struct {
	// version of the syncer.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Version string `json:"version,omitempty"`
	// instance is the pod that acts.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Instance string `json:"instance,omitempty"`
	// clusterID is the UID of the Namespace kube-system of the cluster that the syncer runs in.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ClusterID string `json:"clusterID,omitempty"`
	// kubernetesVersion of the physical cluster.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	// nodes is how many nodes are ready and schedulable or cordoned.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Nodes int32 `json:"nodes"`
	// capacity is the sum over the ready nodes, by resource name.
	// +optional
	// +mapType=granular
	Capacity map[string]resource.Quantity `json:"capacity,omitempty"`
	// allocatable is the sum over the ready nodes, by resource name.
	// +optional
	// +mapType=granular
	Allocatable map[string]resource.Quantity `json:"allocatable,omitempty"`
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
	// objects is how many are held in the opened Namespaces because they have, or are to have, a copy.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Objects int32 `json:"objects,omitempty"`
	// failing is how many of them the physical cluster refuses, or whose copy has failed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Failing int32 `json:"failing,omitempty"`
}

// SyncTargetList is a list of SyncTargets.
//
// +kubebuilder:object:root=true
type SyncTargetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SyncTarget `json:"items"`
}
