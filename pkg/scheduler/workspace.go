package scheduler

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Workspace is what the decisions about one workspace follow from, and all that they follow from.
type Workspace struct {
	Now        time.Time
	Namespaces []Namespace
	Placements []workloadv1alpha1.Placement
	Clusters   []Cluster
	// Assignments are all of the workspace. Those of a SyncTarget that is not among Clusters, by name and UID, do not
	// count.
	Assignments []workloadv1alpha1.Assignment
	// AvailableSince tells by the UID of an Assignment since when it is known that everything runs there, by the clock of Now. Of one
	// that is missing the time that its syncer has reported counts, which is by the clock of the physical cluster.
	AvailableSince map[types.UID]time.Time
}

// Namespace is one of the workspace. One that is not among those of a Workspace may only be hidden: nothing follows
// from that.
type Namespace struct {
	Name   string
	UID    types.UID
	Labels map[string]string
	// Terminating: it is being deleted.
	Terminating bool
	// Gone: kcp has said that there is no Namespace of this name and UID any more.
	Gone bool
	// Refusal says why it is never synced; empty for no reason.
	Refusal string
	// Annotation is the present value of AnnotationPlacement.
	Annotation string
	// Unrecorded are the UIDs of SyncTargets whose syncers have their rights in it though no Assignment says so. It needs to be known
	// of MissingAssignments alone.
	Unrecorded []types.UID
	// Unread: it could not be read of some MissingAssignment whether it is among Unrecorded. Then nothing is decided about the
	// Namespace, since it may run there.
	Unread bool
}

// Cluster is a SyncTarget of the workspace.
type Cluster struct {
	Target *workloadv1alpha1.SyncTarget
	// Key is the key of the SyncTarget.
	Key string
	// EvictionPaused: many SyncTargets have fallen silent together, or heartbeats cannot be judged. That this one is
	// silent makes nothing leave it.
	EvictionPaused bool
	// DeletionDeadline is until when a SyncTarget that is being deleted may take to move what it has elsewhere. Zero if
	// it is not being deleted.
	DeletionDeadline time.Time
}

// Changes are what is to be written so that a workspace is as it should be. Where nothing is to change it is empty.
type Changes struct {
	// Create, Update and Delete are Assignments, to be written in this order. One that is deleted loses our finalizer, too. An updated or deleted one is the one that
	// was read, with its resourceVersion; of an updated one the spec alone differs.
	Create, Update, Delete []workloadv1alpha1.Assignment
	// Placements are those of which the status or our finalizer changes, as they are to be.
	Placements []workloadv1alpha1.Placement
	// Targets are those of which status.taints, status.assignments or status.drain change, as they are to be.
	Targets []*workloadv1alpha1.SyncTarget
	// Annotations of Namespaces that change. An empty value removes it.
	Annotations []NamespaceAnnotation
	// Events tell what begins to move, or has moved.
	Events []Event
	// NextCheck is when the decisions may be others though nothing has changed; zero for never.
	NextCheck time.Time
}

// NamespaceAnnotation is the value of AnnotationPlacement that a Namespace is to have.
type NamespaceAnnotation struct {
	Name  string
	UID   types.UID
	Value string
}

// Event is to be told about a Placement and a Namespace.
type Event struct {
	// Placement is nil where there is none any more.
	Placement *workloadv1alpha1.Placement
	Namespace string
	// Warning tells that it is one.
	Warning         bool
	Reason, Message string
}
