package placement

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/synctarget/synctarget/pkg/agent"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

// readUnrecorded finds out for the Namespaces which SyncTargets' syncers have their rights there though the Assignment is gone. The rights are
// read live, and only of Assignments that the annotation of the Namespace names and that are not there. That rights are gone is read
// once: nothing gives them without an Assignment. Where it cannot be read nothing is decided about that Namespace.
func readUnrecorded(ctx context.Context, s *scope, o *observation) {
	var (
		mu      sync.Mutex
		errs    []error
		ended   = sets.New[string]()
		reading errgroup.Group
	)
	reading.SetLimit(parallelWrites)
	for _, missing := range scheduler.MissingAssignments(&o.Workspace) {
		reading.Go(func() error {
			namespace, target := &o.Namespaces[missing.Namespace], missing.Cluster.Target
			id := string(namespace.UID) + "/" + string(target.UID)
			granted, err := isUnrecorded(ctx, s, id, namespace.Name, missing.Cluster)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				namespace.Unread = true
				errs = append(errs, err)
			case granted:
				namespace.Unrecorded = append(namespace.Unrecorded, target.UID)
			default:
				ended.Insert(id)
			}
			return nil
		})
	}
	_ = reading.Wait()
	o.readErr = errors.Join(append(errs, o.readErr)...)
	s.workspace.setEnded(ended)
}

// isUnrecorded tells whether the syncer of a SyncTarget has its rights in a Namespace. id is that of the Assignment in the record of
// those that have come to their end.
func isUnrecorded(ctx context.Context, s *scope, id, namespace string, c *scheduler.Cluster) (bool, error) {
	if s.workspace.hasEnded(id) {
		return false, nil
	}
	granted, err := agent.GrantedTo(ctx, s.upstream, c.Target, c.Key, namespace)
	if err != nil {
		return false, fmt.Errorf("reading the rights of the syncer of SyncTarget %q in Namespace %q, of which the Assignment is gone: %w", c.Target.Name, namespace, err)
	}
	return granted, nil
}

// hasEnded tells whether an Assignment that is not there was found to have come to its end.
func (w *workspace) hasEnded(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended.Has(id)
}

// setEnded replaces the record of Assignments that have come to their end.
func (w *workspace) setEnded(ended sets.Set[string]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = ended
}
