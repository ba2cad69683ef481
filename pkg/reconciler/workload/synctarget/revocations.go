package synctarget

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// revocations records, by the UID of the SyncTarget, at which generation of Assignments this process has seen that the syncer's rights
// are gone. Rights are given for another generation alone.
type revocations struct {
	mu    sync.Mutex
	byUID map[types.UID]map[types.UID]int64
}

func newRevocations() *revocations {
	return &revocations{byUID: map[types.UID]map[types.UID]int64{}}
}

func (r *revocations) add(target types.UID, a *workloadv1alpha1.Assignment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byUID[target] == nil {
		r.byUID[target] = map[types.UID]int64{}
	}
	r.byUID[target][a.UID] = a.Generation
}

func (r *revocations) has(target types.UID, a *workloadv1alpha1.Assignment) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	generation, found := r.byUID[target][a.UID]
	return found && generation == a.Generation
}

// keep forgets the Assignments of a SyncTarget that are not among these.
func (r *revocations) keep(target types.UID, present []*assignedNamespace) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid := range r.byUID[target] {
		if !slices.ContainsFunc(present, func(n *assignedNamespace) bool { return n.Assignment.UID == uid }) {
			delete(r.byUID[target], uid)
		}
	}
}

func (r *revocations) forget(target types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byUID, target)
}

// verifyRevoked looks live whether the rights are gone where an Assignment says so: the syncer may write that, too. Those that are
// still there are to be taken back. It looks once at each, and at none that this process has taken back itself.
func (r *Reconciler) verifyRevoked(ctx context.Context, s *scope, plan namespacePlan) error {
	r.revocations.keep(s.target.UID, plan.items)
	// The rights are by the name of the Namespace: another one of the name may have them.
	others := plan.in(namespaceOpening, namespaceReopening, namespaceOpen, namespaceDraining, namespaceReleasing, namespaceDrained, namespaceCleaningUp)
	return forEachNamespace(plan.in(namespaceRevoked), func(n *assignedNamespace) error {
		if r.revocations.has(s.target.UID, n.Assignment) || slices.ContainsFunc(others, func(other *assignedNamespace) bool { return other.Name == n.Name }) {
			return nil
		}
		granted, err := agent.Granted(ctx, s.upstream, s.target.Name, s.key, n.Name)
		switch {
		case err != nil:
			return fmt.Errorf("reading the syncer's rights in Namespace %q: %w", n.Name, err)
		case granted:
			n.State = namespaceDrained
		default:
			r.revocations.add(s.target.UID, n.Assignment)
		}
		return nil
	})
}
