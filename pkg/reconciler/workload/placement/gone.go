package placement

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

// unseen is a Namespace that runs somewhere, and that the lists of the workspace do not show.
type unseen struct {
	workloadv1alpha1.ObjectReference
	assignments []*workloadv1alpha1.Assignment
}

// unseenNamespaces are those, by UID.
func unseenNamespaces(w *scheduler.Workspace) map[types.UID]*unseen {
	seen := sets.New[types.UID]()
	for _, namespace := range w.Namespaces {
		seen.Insert(namespace.UID)
	}
	targets := sets.New[string]()
	for _, cluster := range w.Clusters {
		targets.Insert(string(cluster.Target.UID))
	}
	found := map[types.UID]*unseen{}
	for i := range w.Assignments {
		assignment := &w.Assignments[i]
		namespace := assignment.Spec.Namespace
		if assignment.Spec.Intent != workloadv1alpha1.IntentRun || seen.Has(namespace.UID) || !targets.Has(assignment.Labels[workloadv1alpha1.LabelUID]) {
			continue
		}
		if found[namespace.UID] == nil {
			found[namespace.UID] = &unseen{ObjectReference: namespace}
		}
		found[namespace.UID].assignments = append(found[namespace.UID].assignments, assignment)
	}
	return found
}

// addGone adds the Namespaces that run somewhere, and that a live read shows to be gone. The others that cannot be seen may be hidden
// from the service, by the selector of a permission claim: they are not added, and read again after hiddenRecheck.
func (r *Reconciler) addGone(ctx context.Context, s *scope, o *observation) {
	var (
		mu      sync.Mutex
		errs    []error
		hidden  = map[types.UID]time.Time{}
		reading errgroup.Group
	)
	reading.SetLimit(parallelWrites)
	for uid, namespace := range unseenNamespaces(&o.Workspace) {
		if since := s.workspace.hiddenSince(uid); o.Now.Sub(since) < hiddenRecheck {
			hidden[uid] = since
			continue
		}
		reading.Go(func() error {
			gone, err := isGone(ctx, s.upstream, namespace)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				errs = append(errs, err)
			case gone:
				o.Namespaces = append(o.Namespaces, scheduler.Namespace{Name: namespace.Name, UID: uid, Gone: true})
			default:
				hidden[uid] = o.Now
			}
			return nil
		})
	}
	_ = reading.Wait()
	o.readErr = errors.Join(errs...)
	s.workspace.setHidden(hidden)
	for _, since := range hidden {
		if at := since.Add(hiddenRecheck); o.recheckHidden.IsZero() || at.Before(o.recheckHidden) {
			o.recheckHidden = at
		}
	}
}

// isGone tells whether a Namespace does not exist any more. Another one of its name proves that. kcp says "not found" of one that is
// hidden from the service, too: such a one is gone when the syncers' rights in it, which have our finalizer, are gone too.
func isGone(ctx context.Context, upstream client.Client, namespace *unseen) (bool, error) {
	live := namespaceMeta()
	err := upstream.Get(ctx, client.ObjectKey{Name: namespace.Name}, live)
	switch {
	case err == nil:
		return live.UID != namespace.UID, nil
	case !isNotFound(err, namespace.Name):
		return false, fmt.Errorf("reading Namespace %q: %w", namespace.Name, err)
	}
	for _, assignment := range namespace.assignments {
		name, key := assignment.Annotations[workloadv1alpha1.AnnotationSyncTarget], assignment.Labels[workloadv1alpha1.LabelKey]
		granted, err := agent.Granted(ctx, upstream, name, key, namespace.Name)
		if err != nil {
			return false, fmt.Errorf("reading the rights of the syncer of SyncTarget %q in Namespace %q: %w", name, namespace.Name, err)
		}
		if granted {
			return false, nil
		}
	}
	return true, nil
}

// isNotFound tells whether kcp has answered that there is no Namespace of this name. Where it does not serve Namespaces at all, its
// answer has the same code.
func isNotFound(err error, name string) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "namespaces" && details.Name == name
}
