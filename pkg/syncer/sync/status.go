package sync

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// statusInterval is the least time between two reports on the resources.
const statusInterval = 30 * time.Second

// reportRetry is when a report that failed is tried again.
const reportRetry = time.Second

// runStatus tells how the resources fare: at once what was learned of one, which assigned Namespaces wait for; the rest at most
// once in statusInterval.
func (e *Controller) runStatus(ctx context.Context) {
	var rested, retry <-chan time.Time
	watches := e.clock.NewTicker(watchCheckInterval)
	defer watches.Stop()
	for {
		changed := e.statusDirty
		if rested != nil {
			changed = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-rested:
			rested = nil
			continue
		case <-watches.C():
			e.checkWatches(ctx)
			continue
		case <-e.statusUrgent:
		case <-retry:
		case <-changed:
		}
		retry = nil
		rested = e.clock.After(statusInterval)
		if err := e.writeStatus(ctx); err != nil {
			log.FromContext(ctx).V(1).Info("the report failed; it is tried again", "cause", err.Error())
			retry = e.clock.After(reportRetry)
		}
	}
}

func (e *Controller) writeStatus(ctx context.Context) error {
	plan, catalog := e.source.Plan(), e.catalog.Load()
	if plan == nil || catalog == nil {
		return nil
	}
	resources := e.resourceStatuses(*catalog, plan)
	if slices.EqualFunc(resources, plan.Reported, sameStatus) {
		return nil
	}
	return e.source.WriteStatus(ctx, resources)
}

// resourceStatuses is what is to be told of the resources. Of what is not all counted yet, as after a start, no less is told than
// before.
func (e *Controller) resourceStatuses(catalog []discovery.Resource, plan *source.Plan) []workloadv1alpha1.SyncedResourceStatus {
	e.mu.Lock()
	namespaces, refused, watches := maps.Clone(e.namespaces), maps.Clone(e.listErrors), e.watchFailures
	e.mu.Unlock()
	out := make([]workloadv1alpha1.SyncedResourceStatus, 0, len(catalog))
	for _, r := range catalog {
		status := workloadv1alpha1.SyncedResourceStatus{
			Group: r.Group, Resource: r.Resource, Versions: r.Versions, State: r.State, Message: r.Message,
			UnwatchedSince: unwatchedSince(r.GroupResource, watches),
		}
		refusal := cmp.Or(refused[resourceOnSide{r.GroupResource, workspaceSide}].message, refused[resourceOnSide{r.GroupResource, clusterSide}].message)
		switch {
		case r.State != workloadv1alpha1.ResourceAccepted:
		case refusal != "":
			status.State, status.Message = workloadv1alpha1.ResourceForbidden, refusal
		default:
			status.Message = withWatchFailures(r.GroupResource, r.Message, watches)
		}
		status.Message = rejection.Clip(status.Message) // the API limits it, and a longer one would cost the whole status
		last := lastStatus(plan.Reported, r.GroupResource)
		if !isListed(namespaces, r, plan.Assignments) {
			status = keepWatchFailure(status, last)
		}
		status.Objects, status.Failing = countObjects(namespaces, r.GroupResource)
		status.Requested = sumPodRequests(namespaces, r.GroupResource)
		if !isCounted(namespaces, r, plan.Assignments) {
			status.Objects, status.Failing = max(status.Objects, last.Objects), max(status.Failing, last.Failing)
			status.Requested = atLeastRequested(status.Requested, last.Requested)
		}
		out = append(out, status)
	}
	e.metrics.setObjects(out)
	return out
}

// isListed tells whether a resource has been listed in every Namespace that is open or closing.
func isListed(namespaces map[source.Namespace]*namespaceSync, resource discovery.Resource, assignments []source.Assignment) bool {
	return inEachNamespace(namespaces, resource, assignments, (*resourceSync).hasSynced)
}

// isCounted tells whether a pass has been over each object of its first list, in every Namespace that is open or closing.
func isCounted(namespaces map[source.Namespace]*namespaceSync, resource discovery.Resource, assignments []source.Assignment) bool {
	return inEachNamespace(namespaces, resource, assignments, func(l *resourceSync) bool { return l.counts.isComplete() })
}

// inEachNamespace tells whether this is true of a resource in every Namespace that is open or closing, or the resource is not
// watched at all.
func inEachNamespace(
	namespaces map[source.Namespace]*namespaceSync, resource discovery.Resource, assignments []source.Assignment, isTrue func(*resourceSync) bool,
) bool {
	return !resource.IsWatchable() || !slices.ContainsFunc(assignments, func(a source.Assignment) bool {
		if a.Intent == source.Prepare {
			return false
		}
		p := namespaces[a.Namespace]
		if p == nil {
			return a.Intent == source.Run // a closing one may have been left already
		}
		l := p.resource(resource.GroupResource)
		return l == nil || !isTrue(l)
	})
}

// lastStatus returns what was last reported of a resource, empty if nothing was.
func lastStatus(reported []workloadv1alpha1.SyncedResourceStatus, resource workloadv1alpha1.GroupResource) workloadv1alpha1.SyncedResourceStatus {
	for _, s := range reported {
		if s.Group == resource.Group && s.Resource == resource.Resource {
			return s
		}
	}
	return workloadv1alpha1.SyncedResourceStatus{}
}

// keepWatchFailure keeps what was last reported of a watch that failed, until it is known whether it still does.
func keepWatchFailure(status, last workloadv1alpha1.SyncedResourceStatus) workloadv1alpha1.SyncedResourceStatus {
	if status.State == workloadv1alpha1.ResourceAccepted && last.State == status.State && status.UnwatchedSince == nil && last.UnwatchedSince != nil {
		status.UnwatchedSince, status.Message = last.UnwatchedSince, last.Message
	}
	return status
}

func sameStatus(a, b workloadv1alpha1.SyncedResourceStatus) bool {
	return a.Group == b.Group && a.Resource == b.Resource && a.State == b.State && a.Message == b.Message && a.UnwatchedSince.Equal(b.UnwatchedSince) &&
		a.Objects == b.Objects && a.Failing == b.Failing && slices.Equal(a.Versions, b.Versions) &&
		equality.Semantic.DeepEqual(a.Requested, b.Requested)
}
