package source

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
)

// Source is where the objects come from that are synced, and where reports go.
type Source interface {
	// Run keeps the cached Plan up to date until ctx ends, and calls changed after each change of it.
	Run(ctx context.Context, changed func()) error
	// Plan is what is to be synced, by the cache. It is nil until the cache shows all of it, and while it shows nothing that
	// this syncer acts for: then nothing is started and nothing is ended.
	Plan() *Plan
	// ReadPlan reads the Plan live. The read begins after the call; calls at the same time may share one. That the
	// source does not answer, or has nothing that this syncer acts for, is an error.
	ReadPlan(ctx context.Context) (*Plan, error)

	// Discovery tells what the source serves.
	Discovery() *discovery.Client
	// Objects are those of a resource in a Namespace.
	Objects(namespace Namespace, resource schema.GroupVersionResource) Objects

	// WriteStatus reports how all resources fare.
	WriteStatus(ctx context.Context, resources []workloadv1alpha1.SyncedResourceStatus) error
	// WriteReport replaces the Report of an Assignment. It fails with a conflict if the Assignment has changed since the Plan
	// that it was taken from.
	WriteReport(ctx context.Context, assignment Assignment, report Report) error
	// ReadEvent reads an Event about an object. It returns nil if there is none of this name.
	ReadEvent(ctx context.Context, namespace Namespace, name string) (*corev1.Event, error)
	// WriteEvent writes an Event about an object, or brings the one of its name up to date.
	WriteEvent(ctx context.Context, namespace Namespace, event *corev1.Event) error
}

// Namespace is a Namespace of the source.
type Namespace struct {
	// Cluster is the name of its logical cluster.
	Cluster string
	Name    string
}

// Key is the key of an object of the Namespace in a cache.
func (n Namespace) Key(name string) string { return n.Name + "/" + name }

// Plan is what a source wants to be synced. It is not changed.
type Plan struct {
	// Generation changes with Resources.
	Generation int64
	// Resources are to be synced; Leaving are not any more, and may still have copies.
	Resources, Leaving []workloadv1alpha1.GroupResource
	// Assignments are one for each Namespace at most.
	Assignments []Assignment
	// Reported is the last report on the resources.
	Reported []workloadv1alpha1.SyncedResourceStatus
}

// Assignment is what is to become of one Namespace.
type Assignment struct {
	Namespace Namespace
	Intent    Intent
	// Epoch rises with each change of what is wanted. What was reported of an earlier one does not count.
	Epoch int64
	// First tells that this is the first of the clusters that the Namespace runs on: what may run on one of them alone runs here.
	First bool
	// WritesStatus tells that the status of the copies becomes the status of the objects.
	WritesStatus bool
	// Reported is the last Report.
	Reported Report
	// Record is where the source keeps the Assignment.
	Record Record
}

// Record identifies one state of an Assignment in the source.
type Record struct {
	Name    string
	UID     types.UID
	Version string
}

// Report is how one Namespace fares.
type Report struct {
	// Epoch is that of the Assignment that the Report is about; 0 if nothing was reported.
	Epoch int64
	// DownstreamNamespace is the Namespace of the physical cluster.
	DownstreamNamespace string
	Objects             workloadv1alpha1.AssignmentObjects
	// Conditions are Applied, Available and Withdrawn, in this order, without those that do not apply.
	Conditions []metav1.Condition
}

// Intent is what is to become of the copies of a Namespace.
type Intent int

const (
	// Prepare means that the Namespace cannot be synced yet, or any more. Nothing is started in it, and nothing is ended.
	Prepare Intent = iota
	// Run means that its objects have copies.
	Run
	// Withdraw means that its copies are deleted.
	Withdraw
	// Orphan means that its copies stay and belong to the physical cluster from then on.
	Orphan
)

// IsWithdrawal tells whether nothing of ours is to be left in a Namespace.
func (i Intent) IsWithdrawal() bool { return i == Withdraw || i == Orphan }

// IsWithdrawn tells whether nothing of ours is left in the Namespace, by a report on the present epoch.
func (a *Assignment) IsWithdrawn() bool {
	return a.Intent.IsWithdrawal() && a.Reported.Epoch == a.Epoch &&
		meta.IsStatusConditionTrue(a.Reported.Conditions, workloadv1alpha1.ConditionWithdrawn)
}

// Assignment returns the Assignment of a Namespace, nil for none.
func (p *Plan) Assignment(namespace Namespace) *Assignment {
	for i := range p.Assignments {
		if p.Assignments[i].Namespace == namespace {
			return &p.Assignments[i]
		}
	}
	return nil
}
