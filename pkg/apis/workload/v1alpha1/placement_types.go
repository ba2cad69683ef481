package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Placement says on which SyncTargets of its workspace the selected Namespaces run. The service makes an Assignment for each
// Namespace and SyncTarget, and says in the conditions how they fare.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=kcp,shortName=pl
// +kubebuilder:printcolumn:name="Scheduled",type=string,JSONPath=`.status.conditions[?(@.type=="Scheduled")].status`,description="Whether each selected Namespace has the clusters that it is to have"
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.conditions[?(@.type=="Available")].status`,description="Whether what is in the selected Namespaces runs there"
// +kubebuilder:printcolumn:name="Namespaces",type=integer,JSONPath=`.status.summary.namespaces`,description="Namespaces that the Placement selects"
// +kubebuilder:printcolumn:name="Placed",type=integer,JSONPath=`.status.summary.placed`,description="Namespaces that have the clusters that they are to have"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Pending",type=integer,priority=1,JSONPath=`.status.summary.pending`,description="Namespaces that wait for a cluster"
// +kubebuilder:printcolumn:name="Moving",type=integer,priority=1,JSONPath=`.status.summary.moving`,description="Namespaces that move from one cluster to another"
// +kubebuilder:printcolumn:name="Held",type=integer,priority=1,JSONPath=`.status.summary.held`,description="Namespaces that are to move and cannot"
// +kubebuilder:printcolumn:name="Priority",type=integer,priority=1,JSONPath=`.spec.priority`,description="Of two Placements that select a Namespace, the one with the higher priority decides"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Scheduled")].message`,description="What the condition Scheduled says"
type Placement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the user wants.
	// +required
	Spec PlacementSpec `json:"spec"`

	// status is what the service has decided, and how it fares.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status PlacementStatus `json:"status,omitempty"`
}

// PlacementSpec says which Namespaces run where.
type PlacementSpec struct {
	// namespaceSelector selects Namespaces of the workspace by their labels. An empty one selects all of them. Namespaces that
	// hold kubeconfigs or the identities of syncers are never selected.
	// +required
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`

	// priority decides which Placement counts where several select a Namespace: the one with the highest, of these the oldest.
	// The others say so.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Priority int32 `json:"priority,omitempty"`

	// clusterAffinity says which SyncTargets are used. Without it all of the workspace may be.
	// +optional
	ClusterAffinity *ClusterAffinity `json:"clusterAffinity,omitempty"`

	// numberOfClusters is on how many SyncTargets each Namespace runs. Each of them runs all of it.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	NumberOfClusters int32 `json:"numberOfClusters,omitempty"`

	// spreadConstraints spread the clusters of a Namespace over the values of a cell.
	// +optional
	// +listType=map
	// +listMapKey=topologyKey
	// +kubebuilder:validation:MaxItems=8
	SpreadConstraints []SpreadConstraint `json:"spreadConstraints,omitempty"`

	// tolerations let Namespaces run on SyncTargets with matching taints. With effect NoExecute and tolerationSeconds they
	// bound how long. The taint workload.kcp.io/unreachable of a SyncTarget whose syncer is silent is tolerated for ever
	// unless a toleration says otherwise: by default nothing moves on silence.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []PlacementToleration `json:"tolerations,omitempty"`

	// move says how a Namespace goes from one SyncTarget to another.
	// +optional
	// +kubebuilder:default={}
	Move MovePolicy `json:"move,omitempty"`

	// failback says whether a Namespace that has moved because its SyncTarget was unreachable goes back when that is ready again.
	// +optional
	// +kubebuilder:default=Manual
	Failback FailbackPolicy `json:"failback,omitempty"`
}

// ClusterAffinity says which SyncTargets are used. What is given must all hold.
type ClusterAffinity struct {
	// clusterNames are names of SyncTargets. Empty means any.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	ClusterNames []string `json:"clusterNames,omitempty"`
	// required are terms of which one must match. Empty means that all SyncTargets match.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Required []ClusterSelectorTerm `json:"required,omitempty"`
	// preferred are terms that count in favour of the SyncTargets that match them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Preferred []PreferredClusterTerm `json:"preferred,omitempty"`
}

// ClusterSelectorTerm selects SyncTargets. What is given must all match; an empty term matches none.
type ClusterSelectorTerm struct {
	// matchLabels are labels of the SyncTarget.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
	// matchExpressions are about labels of the SyncTarget.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	MatchExpressions []metav1.LabelSelectorRequirement `json:"matchExpressions,omitempty"`
	// matchCells are cells of the SyncTarget.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	MatchCells map[string]CellValue `json:"matchCells,omitempty"`
}

// PreferredClusterTerm counts in favour of the SyncTargets that match its term.
type PreferredClusterTerm struct {
	// weight is how much.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`
	// term selects SyncTargets.
	// +required
	Term ClusterSelectorTerm `json:"term"`
}

// SpreadConstraint spreads the clusters of each Namespace over the values of a cell.
type SpreadConstraint struct {
	// topologyKey is the name of a cell. SyncTargets without it are not used where whenUnsatisfiable is DoNotSchedule.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	TopologyKey string `json:"topologyKey"`
	// maxSkew is how many more clusters of a Namespace one value of the cell may have than another.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	MaxSkew int32 `json:"maxSkew,omitempty"`
	// whenUnsatisfiable says whether a Namespace rather waits, or runs on fewer clusters, than exceeds maxSkew.
	// +optional
	// +kubebuilder:default=DoNotSchedule
	WhenUnsatisfiable UnsatisfiableConstraintAction `json:"whenUnsatisfiable,omitempty"`
}

// UnsatisfiableConstraintAction says what happens where a spread constraint cannot be met.
// +kubebuilder:validation:Enum=DoNotSchedule;ScheduleAnyway
type UnsatisfiableConstraintAction string

const (
	// DoNotSchedule uses no SyncTarget that would exceed maxSkew.
	DoNotSchedule UnsatisfiableConstraintAction = "DoNotSchedule"
	// ScheduleAnyway prefers SyncTargets that reduce the skew.
	ScheduleAnyway UnsatisfiableConstraintAction = "ScheduleAnyway"
)

// PlacementToleration tolerates taints of SyncTargets.
//
// +kubebuilder:validation:XValidation:rule="has(self.key) && size(self.key) > 0 || has(self.operator) && self.operator == 'Exists'",message="a toleration without key needs the operator Exists: it tolerates every taint"
// +kubebuilder:validation:XValidation:rule="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || size(self.value) == 0",message="a toleration with the operator Exists has no value"
// +kubebuilder:validation:XValidation:rule="!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",message="tolerationSeconds needs the effect NoExecute"
type PlacementToleration struct {
	// key of the taint. Empty matches every key, with operator Exists.
	// +optional
	// +kubebuilder:validation:MaxLength=316
	Key string `json:"key,omitempty"`
	// operator relates the key to the value. Equal if absent.
	// +optional
	Operator TolerationOperator `json:"operator,omitempty"`
	// value of the taint.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Value string `json:"value,omitempty"`
	// effect of the taint. Empty matches every effect.
	// +optional
	Effect TaintEffect `json:"effect,omitempty"`
	// tolerationSeconds is how long a NoExecute taint is tolerated from when it was added, in seconds. Absent is for ever.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// TolerationOperator relates the key of a toleration to its value.
// +kubebuilder:validation:Enum=Exists;Equal
type TolerationOperator string

const (
	// TolerationExists tolerates every value.
	TolerationExists TolerationOperator = "Exists"
	// TolerationEqual tolerates the same value.
	TolerationEqual TolerationOperator = "Equal"
)

// MovePolicy says how a Namespace goes from one SyncTarget to another.
type MovePolicy struct {
	// purgeMode says what becomes of the copies on the SyncTarget that a Namespace leaves.
	// +optional
	// +kubebuilder:default=Gracefully
	PurgeMode PurgeMode `json:"purgeMode,omitempty"`
	// gracePeriodSeconds is how long a replacement may take to become available, in seconds. One that is not by then is taken
	// back, and what it was to replace stays. It is also how long the SyncTarget is not tried again for that Namespace.
	// +optional
	// +kubebuilder:default=600
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	GracePeriodSeconds int32 `json:"gracePeriodSeconds,omitempty"`
	// maxUnavailable is how many of the selected Namespaces move at once. It does not hold up those of a SyncTarget that is
	// unreachable.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MaxUnavailable int32 `json:"maxUnavailable,omitempty"`
	// volumes says whether a Namespace moves that has bound PersistentVolumeClaims. Their content does not move.
	// +optional
	// +kubebuilder:default=Hold
	Volumes VolumePolicy `json:"volumes,omitempty"`
}

// PurgeMode says what becomes of the copies on the SyncTarget that a Namespace leaves.
// +kubebuilder:validation:Enum=Gracefully;Directly;Never
type PurgeMode string

const (
	// PurgeGracefully deletes the copies once the replacement has been available for 30 seconds.
	PurgeGracefully PurgeMode = "Gracefully"
	// PurgeDirectly deletes the copies, and starts the replacement when they are known to be gone: it never runs twice.
	PurgeDirectly PurgeMode = "Directly"
	// PurgeNever leaves the copies running once the replacement has been available for 30 seconds. They are synced no more.
	PurgeNever PurgeMode = "Never"
)

// VolumePolicy says whether a Namespace moves that has bound PersistentVolumeClaims.
// +kubebuilder:validation:Enum=Hold;LeaveBehind
type VolumePolicy string

const (
	// VolumesHold keeps the Namespace where its volumes are.
	VolumesHold VolumePolicy = "Hold"
	// VolumesLeaveBehind lets the Namespace move, and start there with new volumes.
	VolumesLeaveBehind VolumePolicy = "LeaveBehind"
)

// FailbackPolicy says whether a Namespace goes back to the SyncTarget that it had left because that was unreachable.
// +kubebuilder:validation:Enum=Manual;Automatic
type FailbackPolicy string

const (
	// FailbackManual leaves the Namespace where it is.
	FailbackManual FailbackPolicy = "Manual"
	// FailbackAutomatic moves the Namespace back.
	FailbackAutomatic FailbackPolicy = "Automatic"
)

// PlacementList is a list of Placements.
//
// +kubebuilder:object:root=true
type PlacementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Placement `json:"items"`
}
