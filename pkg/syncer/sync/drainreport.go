package sync

import (
	"context"
	"slices"

	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// reportDrained reports that nothing of ours is left in a Namespace, and ends its sync. After a failure it is still being
// drained, and the drain can be taken back.
func (e *Controller) reportDrained(ctx context.Context, p *namespaceSync, ending *drain) error {
	if !e.beginDrainReport(p, ending) {
		e.queue.Add(queueKey{namespace: p.upstream}) // what is left is verified again
		return nil
	}
	written, err := e.writeDrained(ctx, p, ending)
	if written {
		e.stopNamespace(p)
	} else {
		p.cancelDrainReport()
	}
	e.queue.Add(queueKey{}) // the Namespace may have been opened again in this moment
	return err
}

// writeDrained writes it, unless a live read of the source shows that the Namespace is not to be drained any more, or in
// another way, or at another epoch. What is read is what is written to: a later change makes the write fail.
func (e *Controller) writeDrained(ctx context.Context, p *namespaceSync, ending *drain) (written bool, err error) {
	live, err := e.source.ReadPlan(ctx)
	if err != nil {
		return false, err
	}
	a := live.Assignment(p.upstream)
	if a == nil || !ending.isLike(drainOf(live, p.upstream)) {
		return false, nil
	}
	report := source.Report{
		Epoch: ending.epoch, DownstreamNamespace: p.downstreamNamespace,
		Conditions: withTransitionTimes(a.Reported.Conditions, withdrawn(ending.orphan), e.clock.Now()),
	}
	err = e.source.WriteReport(ctx, *a, report)
	return err == nil, err
}

// beginDrainReport tells whether a Namespace is still being drained in the same way and the caches still show nothing
// of ours in it, and keeps the drain from being taken back while it is reported.
func (e *Controller) beginDrainReport(p *namespaceSync, ending *drain) bool {
	return e.namespace(p.upstream) == p && !slices.ContainsFunc(p.allResources(), func(l *resourceSync) bool { return !e.cacheShowsDrained(l) }) &&
		p.beginDrainReport(ending)
}
