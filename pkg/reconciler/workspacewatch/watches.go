// Package workspacewatch watches the kinds of a controller in each workspace that is served.
package workspacewatch

import (
	"context"
	"errors"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	mchandler "sigs.k8s.io/multicluster-runtime/pkg/handler"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"
	mcsource "sigs.k8s.io/multicluster-runtime/pkg/source"
)

// Queue is the queue of a controller.
type Queue = workqueue.TypedRateLimitingInterface[mcreconcile.Request]

// Kind is a kind that is watched in each workspace.
type Kind struct {
	// Object is an empty object of the kind. A PartialObjectMetadata names a kind of which the metadata alone are watched.
	Object client.Object
	// Events handles what happens to objects of the kind.
	Events mchandler.EventHandlerFunc
	// Optional: the APIExport may not claim the kind.
	Optional bool
}

// Split returns the kinds, and those of them that a controller can do without. None occurs twice.
func Split(kinds ...Kind) (required, optional []client.Object) {
	type name struct{ goType, kind string }
	seen := map[name]bool{}
	for _, k := range kinds {
		n := name{goType: fmt.Sprintf("%T", k.Object)}
		if partial, ok := k.Object.(*metav1.PartialObjectMetadata); ok {
			n.kind = partial.GroupVersionKind().String()
		}
		switch {
		case seen[n]:
		case k.Optional:
			optional = append(optional, k.Object)
		default:
			required = append(required, k.Object)
		}
		seen[n] = true
	}
	return required, optional
}

// Watches watches the kinds of a controller in each workspace from when it is engaged until it is disengaged.
// MultiClusterWatch of multicluster-runtime v0.24 does so too, but each of its watches leaves a goroutine behind that ends with
// the process.
type Watches struct {
	mu      sync.Mutex
	sources []mcsource.SyncingSource[client.Object]
	// queue is that of the controller; nil until the controller starts.
	queue Queue
	// waiting are the watches of workspaces that were engaged before.
	waiting []func(Queue) error
}

// SetKinds is called before anything else.
func (w *Watches) SetKinds(kinds []Kind) {
	for _, kind := range kinds {
		w.sources = append(w.sources, mcsource.Kind(kind.Object, kind.Events))
	}
}

// Start starts the watches of the workspaces that are engaged already. Later ones have theirs started by Engage.
func (w *Watches) Start(_ context.Context, q Queue) error {
	w.mu.Lock()
	waiting := w.waiting
	w.queue, w.waiting = q, nil
	w.mu.Unlock()
	var errs []error
	for _, watch := range waiting {
		errs = append(errs, watch(q))
	}
	return errors.Join(errs...)
}

// Engage starts the watches of a workspace, which end with ctx.
func (w *Watches) Engage(ctx context.Context, workspace multicluster.ClusterName, cl cluster.Cluster) error {
	watch := func(q Queue) error {
		if ctx.Err() != nil {
			return nil // disengaged before the controller started
		}
		for _, kind := range w.sources {
			source, _, err := kind.ForCluster(workspace, cl)
			if err == nil {
				err = source.Start(ctx, q)
			}
			if err != nil {
				return fmt.Errorf("watching logical cluster %q: %w", workspace, err)
			}
		}
		return nil
	}
	w.mu.Lock()
	q := w.queue
	if q == nil {
		w.waiting = append(w.waiting, watch)
	}
	w.mu.Unlock()
	if q == nil {
		return nil
	}
	return watch(q)
}
