package sync

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// finishDrain ends a closing place once nothing of ours is left in it: it reports the Namespace as drained, on which the
// controller takes our rights back and clears the counterpart away. The objects are withdrawn one by one, by passes of their
// own.
func (e *Controller) finishDrain(ctx context.Context, p *namespaceSync) (again time.Duration, err error) {
	ending := p.draining()
	if ending == nil || !e.cachesShowDrained(p) {
		return 0, nil // the pass that frees the last one comes back
	}
	if e.hasUnknownResources() {
		return drainedRetry, nil
	}
	p.passes.await()
	drained, err := e.isDrained(ctx, p)
	if err != nil {
		return 0, err
	}
	if !drained {
		return drainedRetry, nil
	}
	if !p.beginDrainReport(ending) {
		return immediately, nil // it was open in between
	}
	if err := e.writeDrained(ctx, p.upstreamNamespace, true); err != nil {
		p.cancelDrainReport()
		e.queue.Add(queueKey{})
		return 0, err
	}
	e.stopNamespace(p)
	e.queue.Add(queueKey{}) // should it have been opened again in this moment
	return 0, nil
}

// drainedRetry is when the servers are asked again after they have shown what the caches did not.
const drainedRetry = 2 * time.Second

// cachesShowDrained tells whether everything has been listed, and the caches show nothing of ours any more.
func (e *Controller) cachesShowDrained(p *namespaceSync) bool {
	for _, l := range p.allResources() {
		if !l.listAnswered() || l.up.Objects.Any(e.hasOurMetadata) || l.down != nil && l.down.Objects.Any(e.isManaged) {
			return false
		}
	}
	return true
}

// hasUnknownResources tells whether there are resources of which a side does not say now whether it serves them.
func (e *Controller) hasUnknownResources() bool {
	catalog := e.catalog.Load()
	return catalog != nil && slices.ContainsFunc(*catalog, func(r discovery.Resource) bool { return r.Unknown })
}

// isDrained asks both servers whether nothing of ours is left.
func (e *Controller) isDrained(ctx context.Context, p *namespaceSync) (bool, error) {
	for _, l := range p.allResources() {
		if left, err := e.anyLeft(ctx, p, l); left || err != nil {
			return false, err
		}
	}
	return true, nil
}

// anyLeft asks both servers whether anything of ours is left of a resource.
func (e *Controller) anyLeft(ctx context.Context, p *namespaceSync, l *resourceSync) (bool, error) {
	sources, err := l.up.Client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("listing %s in Namespace %q of the workspace: %w", l.api.GroupResource, p.upstreamNamespace, err)
	}
	marked := slices.ContainsFunc(sources.Items, func(o unstructured.Unstructured) bool { return e.hasOurMetadata(&o) })
	if marked || l.down == nil {
		return marked, nil
	}
	copies, err := l.down.Client.List(ctx, metav1.ListOptions{})
	if _, kind := rejection.Classify(err); err != nil && kind != rejection.Transient && l.down.ListError.Load() != nil && !l.down.Objects.Any(e.isManaged) {
		return false, nil // and what is held is not let go
	}
	if err != nil {
		return false, fmt.Errorf("listing %s in Namespace %q of the physical cluster: %w", l.api.GroupResource, p.downstreamNamespace, err)
	}
	return slices.ContainsFunc(copies.Items, func(o unstructured.Unstructured) bool { return e.isManaged(&o) }), nil
}
