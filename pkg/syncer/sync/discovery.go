package sync

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
)

// discoveryInterval is the time between two looks at what both sides serve, for which there is no watch. After a start
// and a change of the spec the looks begin at discoveryBase and double from there.
const (
	discoveryBase     = time.Second
	discoveryInterval = time.Minute
)

// runDiscovery asks both sides what they serve, again and again.
func (e *Controller) runDiscovery(ctx context.Context) {
	delay := discoveryBase
	for {
		timer := e.clock.NewTimer(wait.Jitter(delay, 0.2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-e.rediscover:
			timer.Stop()
			delay = discoveryBase
		case <-timer.C():
			delay = min(2*delay, discoveryInterval)
		}
		target := e.cachedTarget()
		if target == nil {
			continue // its event comes first
		}
		e.expireListErrors()
		if err := e.refreshDiscovery(ctx, target); err != nil {
			log.FromContext(ctx).V(1).Info("discovery failed; what was known stands", "cause", err.Error())
		}
	}
}

// refreshDiscovery asks both sides what they serve, once.
func (e *Controller) refreshDiscovery(ctx context.Context, target *workloadv1alpha1.SyncTarget) error {
	wanted := target.Spec.Synced()
	leaving, err := e.removingResources(ctx, target)
	if err != nil {
		return err
	}
	var sides [2]discovery.Served
	silent := map[string]error{}
	for i, client := range e.discoveryClients {
		if sides[i], err = discovery.Discover(client, silent); err != nil {
			return err
		}
	}
	var before []discovery.Resource
	if known := e.catalog.Load(); known != nil {
		before = *known
	}
	catalog := discovery.NegotiateAll(wanted, sides[0], sides[1])
	e.schemas.CheckCompatibility(ctx, catalog)
	// What was being left and is named again does not go on being left because a side is silent.
	discovery.KeepLastKnown(catalog, slices.DeleteFunc(slices.Clone(before), func(r discovery.Resource) bool { return r.Removing }), silent)
	left := discovery.NegotiateAll(leaving, sides[0], sides[1])
	discovery.KeepLastKnown(left, before, silent)
	discovery.MarkRemoving(left)
	catalog = append(catalog, left...)
	if before == nil || !reflect.DeepEqual(before, catalog) {
		e.catalog.Store(&catalog)
		e.queue.Add(queueKey{})
		signal(e.statusUrgent)
	}
	return nil
}

// namesResources tells whether the catalog is about these resources, beside those that are being left.
func namesResources(catalog []discovery.Resource, wanted []workloadv1alpha1.GroupResource) bool {
	named := slices.DeleteFunc(slices.Clone(catalog), func(r discovery.Resource) bool { return r.Removing })
	return slices.EqualFunc(named, wanted, func(r discovery.Resource, gr workloadv1alpha1.GroupResource) bool { return r.GroupResource == gr })
}

// removingResources returns what the spec, read live, no longer names, and of what a copy may be left.
func (e *Controller) removingResources(ctx context.Context, target *workloadv1alpha1.SyncTarget) ([]workloadv1alpha1.GroupResource, error) {
	if len(target.Leaving()) == 0 {
		return nil, nil
	}
	live, err := e.target.Get(ctx)
	if err != nil || string(live.UID) != e.owner.UID {
		return nil, err
	}
	return slices.DeleteFunc(live.Leaving(), func(gr workloadv1alpha1.GroupResource) bool {
		left, err := e.isRemoved(ctx, live, gr)
		if err != nil {
			log.FromContext(ctx).V(1).Info("cannot tell yet whether a resource is left", "resource", gr.String(), "cause", err.Error())
		}
		return left
	}), nil
}

// isRemoved asks both servers, for every opened Namespace, whether anything of ours is left of a resource.
func (e *Controller) isRemoved(ctx context.Context, target *workloadv1alpha1.SyncTarget, gr workloadv1alpha1.GroupResource) (bool, error) {
	for _, n := range target.Status.Namespaces {
		if n.State != workloadv1alpha1.NamespaceOpen && n.State != workloadv1alpha1.NamespaceClosing {
			continue
		}
		e.mu.Lock()
		p := e.namespaces[n.Name]
		e.mu.Unlock()
		if p == nil {
			return false, nil
		}
		l := p.resource(gr)
		if l == nil {
			if gone, err := e.isUnwatchedAndGone(ctx, p, gr); !gone || err != nil {
				return false, err
			}
			continue
		}
		if !l.api.Removing || !l.listAnswered() {
			return false, nil
		}
		p.passes.await()
		if left, err := e.anyLeft(ctx, p, l); left || err != nil {
			return false, err
		}
	}
	return true, nil
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
	copies, err := e.down.Resource(there).Namespace(p.downstreamNamespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return true, nil // nothing is held for a copy that there may be, and it is not ours to see
	}
	if err != nil {
		return false, fmt.Errorf("listing %s in Namespace %q of the physical cluster: %w", gr, p.downstreamNamespace, err)
	}
	return !slices.ContainsFunc(copies.Items, func(o unstructured.Unstructured) bool { return e.isManaged(&o) }), nil
}
