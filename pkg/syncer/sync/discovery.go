package sync

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// There is no watch for what a side serves, so both sides are asked again and again. After a start and a change of the
// spec, the delay between two runs begins at discoveryBase. It doubles with each run, up to discoveryInterval.
const (
	discoveryBase     = time.Second
	discoveryInterval = time.Minute
	discoveryJitter   = 0.1
)

// discoveryDelays are the times from one run of discovery to the next: regular is the time without a signal, and
// signalled the least time to a run that a signal asks for. A watch that is answered with 404 signals with each
// attempt: while that leads to nothing new, discovery must not run with each signal.
type discoveryDelays struct{ regular, signalled time.Duration }

// initialDelays allow the first signal to bring the next run forward at once.
var initialDelays = discoveryDelays{regular: discoveryBase}

// after returns the delays that follow a run.
func (d discoveryDelays) after(isSignalled, foundNew bool) discoveryDelays {
	double := func(delay time.Duration) time.Duration { return min(max(2*delay, discoveryBase), discoveryInterval) }
	next := discoveryDelays{regular: double(d.regular), signalled: d.signalled}
	switch {
	case foundNew:
		next.signalled = discoveryBase
	case isSignalled:
		next.signalled = double(d.signalled)
	case d.regular == discoveryInterval:
		next.signalled = 0 // there was no signal for a whole interval: the next one has another cause
	}
	return next
}

// next returns the time from the last run to the next one.
func (d discoveryDelays) next(isSignalled bool) time.Duration {
	if isSignalled {
		return min(d.regular, d.signalled)
	}
	return d.regular
}

// runDiscovery asks both sides what they serve, again and again.
func (e *Controller) runDiscovery(ctx context.Context) {
	var last discoveryRun
	var generation int64
	delays, lastAt, isSignalled := initialDelays, e.clock.Now(), false
	for {
		timer := e.clock.NewTimer(wait.Jitter(delays.next(isSignalled), discoveryJitter) - e.clock.Since(lastAt))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-e.rediscover:
			timer.Stop()
			isSignalled = true
			if plan := e.source.Plan(); plan != nil && plan.Generation != generation {
				generation, delays = plan.Generation, initialDelays
			}
			continue
		case <-timer.C():
		}
		foundNew := false
		if plan := e.source.Plan(); plan != nil { // otherwise its event signals
			e.expireListErrors()
			last, foundNew = e.refreshDiscovery(ctx, plan, last, isSignalled)
		}
		delays, lastAt, isSignalled = delays.after(isSignalled, foundNew), e.clock.Now(), false
	}
}

// discoveryRun is what the catalog was made from.
type discoveryRun struct {
	// answers are those of the source and of the physical cluster.
	answers          [2]*discovery.Answer
	wanted, removing []workloadv1alpha1.GroupResource
	// complete tells that everything was read that is needed.
	complete bool
}

// isSame tells whether the next run would make the same catalog.
func (r discoveryRun) isSame(next discoveryRun) bool {
	return r.complete && r.answers == next.answers && slices.Equal(r.wanted, next.wanted) && slices.Equal(r.removing, next.removing)
}

// refreshDiscovery asks both sides what they serve, once, and makes the catalog if anything has changed since the last
// run. With full, neither side is asked whether something has changed. It returns this run, and whether the catalog is
// another.
func (e *Controller) refreshDiscovery(ctx context.Context, plan *source.Plan, last discoveryRun, full bool) (run discoveryRun, foundNew bool) {
	run, err := e.discover(ctx, plan, full)
	if err != nil {
		log.FromContext(ctx).V(1).Info("Discovery failed; what was known before is used", "cause", err.Error())
		return last, false
	}
	if last.isSame(run) {
		return last, false
	}
	var before []discovery.Resource
	if known := e.catalog.Load(); known != nil {
		before = *known
	}
	catalog, complete := e.negotiate(ctx, run, before)
	run.complete = complete
	if before != nil && reflect.DeepEqual(before, catalog) {
		return run, false
	}
	e.catalog.Store(&catalog)
	e.queue.Add(queueKey{})
	signal(e.statusUrgent)
	return run, true
}

// discover asks both sides what they serve.
func (e *Controller) discover(ctx context.Context, plan *source.Plan, full bool) (run discoveryRun, err error) {
	run.wanted = plan.Resources
	if run.removing, err = e.removingResources(ctx, plan); err != nil {
		return run, err
	}
	for i, client := range e.discoveryClients {
		if run.answers[i], err = client.Discover(ctx, full); err != nil {
			return run, err
		}
	}
	return run, nil
}

// negotiate makes the catalog, and tells whether everything could be read that it needs.
func (e *Controller) negotiate(ctx context.Context, run discoveryRun, before []discovery.Resource) (catalog []discovery.Resource, complete bool) {
	workspace, cluster := run.answers[0], run.answers[1]
	unavailable := maps.Clone(workspace.Unavailable)
	maps.Copy(unavailable, cluster.Unavailable)

	catalog = discovery.NegotiateAll(run.wanted, workspace.Served, cluster.Served)
	complete = e.schemas.CheckCompatibility(ctx, catalog)
	// A resource that was being removed and is named again must not continue to be removed if its group is unavailable.
	discovery.KeepLastKnown(catalog, slices.DeleteFunc(slices.Clone(before), func(r discovery.Resource) bool { return r.Removing }), unavailable)
	removing := discovery.NegotiateAll(run.removing, workspace.Served, cluster.Served)
	discovery.KeepLastKnown(removing, before, unavailable)
	discovery.MarkRemoving(removing)
	return append(catalog, removing...), complete
}

// namesResources tells whether the catalog consists of these resources, beside those that are being removed.
func namesResources(catalog []discovery.Resource, wanted []workloadv1alpha1.GroupResource) bool {
	named := slices.DeleteFunc(slices.Clone(catalog), func(r discovery.Resource) bool { return r.Removing })
	return slices.EqualFunc(named, wanted, func(r discovery.Resource, gr workloadv1alpha1.GroupResource) bool { return r.GroupResource == gr })
}

// removingResources returns the resources that the source, read live, no longer wants and that may still have copies.
func (e *Controller) removingResources(ctx context.Context, plan *source.Plan) ([]workloadv1alpha1.GroupResource, error) {
	if len(plan.Leaving) == 0 {
		return nil, nil
	}
	live, err := e.source.ReadPlan(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(live.Leaving), func(gr workloadv1alpha1.GroupResource) bool {
		left, err := e.isRemoved(ctx, live, gr)
		if err != nil {
			log.FromContext(ctx).V(1).Info("cannot tell yet whether a resource is left", "resource", gr.String(), "cause", err.Error())
		}
		return left
	}), nil
}

// isRemoved tells whether both servers show, in every assigned Namespace, nothing of ours of a resource.
func (e *Controller) isRemoved(ctx context.Context, plan *source.Plan, gr workloadv1alpha1.GroupResource) (bool, error) {
	for _, a := range plan.Assignments {
		if a.Intent == source.Prepare || a.IsWithdrawn() {
			continue
		}
		if removed, err := e.isRemovedFrom(ctx, a.Namespace, gr); !removed || err != nil {
			return false, err
		}
	}
	return true, nil
}

// isRemovedFrom tells it of one Namespace.
func (e *Controller) isRemovedFrom(ctx context.Context, namespace source.Namespace, gr workloadv1alpha1.GroupResource) (bool, error) {
	e.mu.Lock()
	p := e.namespaces[namespace]
	e.mu.Unlock()
	if p == nil {
		return false, nil
	}
	l := p.resource(gr)
	if l == nil {
		return e.isUnwatchedAndGone(ctx, p, gr)
	}
	if !l.api.Removing || !l.listAnswered() {
		return false, nil
	}
	p.passes.await()
	left, err := e.anyLeft(ctx, p, l)
	return !left && err == nil, err
}

// isUnwatchedAndGone tells whether a resource that is being left has no objects that could be followed, as one that the workspace
// serves without Namespaces or not at all, and the physical cluster has no copies of it either.
func (e *Controller) isUnwatchedAndGone(ctx context.Context, p *namespaceSync, gr workloadv1alpha1.GroupResource) (bool, error) {
	catalog := e.catalog.Load()
	if catalog == nil {
		return false, nil
	}
	at := slices.IndexFunc(*catalog, func(r discovery.Resource) bool { return r.Removing && r.GroupResource == gr })
	if at < 0 || (*catalog)[at].IsWatchable() || (*catalog)[at].Unknown {
		return false, nil
	}
	there := (*catalog)[at].Downstream()
	if there.Version == "" {
		return true, nil
	}
	found, err := (&listProgress{}).search(ctx, e.downMetadata.Resource(there).Namespace(p.downstreamNamespace).List, e.managedSelector(), e.isManagedMetadata)
	if apierrors.IsForbidden(err) {
		return true, nil // no finalizer stands for a copy, and the syncer may not look for one
	}
	if err != nil {
		return false, fmt.Errorf("listing %s in Namespace %q of the physical cluster: %w", gr, p.downstreamNamespace, err)
	}
	return found == listEmpty, nil
}
