package source

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
)

// Source is where the objects come from that are synced, and where reports go.
type Source interface {
	// Run keeps the cached Plan up to date until ctx ends, and calls changed after each change of it.
	Run(ctx context.Context, changed func()) error
	// Plan is what is to be synced, by the cache. It is nil while the cache shows nothing that this syncer acts for:
	// then nothing is started and nothing is ended.
	Plan() *Plan
	// ReadPlan reads the Plan live. The read begins after the call; calls at the same time may share one. That the
	// source does not answer, or has nothing that this syncer acts for, is an error.
	ReadPlan(ctx context.Context) (*Plan, error)

	// Discovery tells what the source serves.
	Discovery() *discovery.Client
	// Objects are those of a resource in a Namespace.
	Objects(namespace Namespace, resource schema.GroupVersionResource) Objects

	// WriteStatus reports how all resources and Namespaces fare.
	WriteStatus(ctx context.Context, status Status) error
	// WriteWithdrawn reports of Namespaces whether nothing of ours is left in them. It returns those of which that was
	// not reported since the source does not want them to be withdrawn.
	WriteWithdrawn(ctx context.Context, changes map[Namespace]bool) (notWanted []Namespace, err error)
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
	Assignments        []Assignment
	// Withdrawn are the Namespaces that were reported to have nothing of ours left.
	Withdrawn []Namespace
	// Reported is the last report.
	Reported Status
}

// Status is what the sync reports of everything together.
type Status struct {
	Resources []workloadv1alpha1.SyncedResourceStatus
	// SyncedNamespaces are those in which everything has arrived.
	SyncedNamespaces []Namespace
}

// Assignment is what is to become of one Namespace.
type Assignment struct {
	Namespace Namespace
	Intent    Intent
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

// Withdrawal returns how the copies of a Namespace are to end. A Namespace that the Plan does not contain is not
// withdrawn, and neither is one that was reported as withdrawn, which has nothing left to end.
func (p *Plan) Withdrawal(namespace Namespace) (intent Intent, wanted bool) {
	if p.IsWithdrawn(namespace) {
		return Prepare, false
	}
	for _, a := range p.Assignments {
		if a.Namespace == namespace && a.Intent.IsWithdrawal() {
			return a.Intent, true
		}
	}
	return Prepare, false
}

// IsWithdrawn tells whether a Namespace was reported as withdrawn.
func (p *Plan) IsWithdrawn(namespace Namespace) bool { return slices.Contains(p.Withdrawn, namespace) }
