package resource

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// closePlace ends a closing place once nothing of ours is left in it: it reports the Namespace as drained, on which the
// controller takes our rights back and clears the counterpart away. The objects are withdrawn one by one, by passes of their
// own.
func (e *Engine) closePlace(ctx context.Context, p *place) (again time.Duration, err error) {
	ending := p.ending()
	if ending == nil || !e.seemsDrained(p) {
		return 0, nil // the pass that frees the last one comes back
	}
	if e.unsure() {
		return drainedRetry, nil
	}
	p.passes.await()
	drained, err := e.drained(ctx, p)
	if err != nil {
		return 0, err
	}
	if !drained {
		return drainedRetry, nil
	}
	if !p.leave(ending) {
		return soon, nil // it was open in between
	}
	if err := e.reportDrained(ctx, p.namespace, true); err != nil {
		p.stay()
		e.queue.Add(item{})
		return 0, err
	}
	e.stopPlace(p)
	e.queue.Add(item{}) // should it have been opened again in this moment
	return 0, nil
}

// drainedRetry is when the servers are asked again after they have shown what the caches did not.
const drainedRetry = 2 * time.Second

// seemsDrained tells whether everything has been listed, and the caches show nothing of ours any more.
func (e *Engine) seemsDrained(p *place) bool {
	for _, l := range p.all() {
		if !l.answered() || l.up.objects.shows(e.marks) || l.down != nil && l.down.objects.shows(e.ours) {
			return false
		}
	}
	return true
}

// unsure tells whether there are resources of which a side does not say now whether it serves them.
func (e *Engine) unsure() bool {
	catalog := e.catalog.Load()
	return catalog != nil && slices.ContainsFunc(*catalog, func(r Resource) bool { return r.Unknown })
}

// drained asks both servers whether nothing of ours is left.
func (e *Engine) drained(ctx context.Context, p *place) (bool, error) {
	for _, l := range p.all() {
		if left, err := e.left(ctx, p, l); left || err != nil {
			return false, err
		}
	}
	return true, nil
}

// left asks both servers whether anything of ours is left of a resource.
func (e *Engine) left(ctx context.Context, p *place, l *lane) (bool, error) {
	sources, err := l.up.client.List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("listing %s in Namespace %q of the workspace: %w", l.resource.GroupResource, p.namespace, err)
	}
	marked := slices.ContainsFunc(sources.Items, func(o unstructured.Unstructured) bool { return e.marks(&o) })
	if marked || l.down == nil {
		return marked, nil
	}
	copies, err := l.down.client.List(ctx, metav1.ListOptions{})
	if _, kind := refusal(err); err != nil && kind != passing && l.down.barred.Load() != nil && !l.down.objects.shows(e.ours) {
		return false, nil // and what is held is not let go
	}
	if err != nil {
		return false, fmt.Errorf("listing %s in Namespace %q of the physical cluster: %w", l.resource.GroupResource, p.counterpart, err)
	}
	return slices.ContainsFunc(copies.Items, func(o unstructured.Unstructured) bool { return e.ours(&o) }), nil
}
