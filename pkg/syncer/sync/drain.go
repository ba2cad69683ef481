package sync

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

const (
	// drainedRetry is when the servers are listed again after they have shown an object that the caches do not show.
	drainedRetry = 2 * time.Second
	// listPageSize is how many objects a page of a list contains.
	listPageSize = 500
	// listPageTime is how much of its pass a request for a page must have left when it is sent.
	listPageTime = passTimeout / 3
)

// drainOf returns how a Namespace is to be drained by a Plan; nil if it is not to be drained, or was reported as drained.
func drainOf(live *source.Plan, namespace source.Namespace) *drain {
	a := live.Assignment(namespace)
	if a == nil || !a.Intent.IsWithdrawal() || a.IsWithdrawn() {
		return nil
	}
	return &drain{orphan: a.Intent == source.Orphan, epoch: a.Epoch}
}

// drain says how a Namespace is drained.
type drain struct {
	// orphan leaves the copies where they are, without our metadata.
	orphan bool
	// epoch is that of the Assignment.
	epoch int64
	// progress belongs to this drain, so that taking the drain back ends it. Set by setDrain, and used by finishDrain
	// alone.
	progress *drainProgress
}

// isLike tells whether two drains are the same; nil is none.
func (d *drain) isLike(other *drain) bool {
	return other != nil && d.orphan == other.orphan && d.epoch == other.epoch
}

// drainProgress is what live lists have shown since the drain began, by resource. A resource that was stopped and
// started again is verified again.
type drainProgress struct {
	resources map[*resourceSync]*verification
}

// verification is how far both servers have been searched for objects of ours of one resource.
type verification struct {
	upstream, downstream listProgress
	// verifiedAt is when both servers had shown that nothing of ours is left; zero until then.
	verifiedAt time.Time
}

func newDrainProgress() *drainProgress {
	return &drainProgress{resources: map[*resourceSync]*verification{}}
}

// of returns the verification of a resource, and begins it if there is none.
func (d *drainProgress) of(l *resourceSync) *verification {
	if d.resources[l] == nil {
		d.resources[l] = &verification{}
	}
	return d.resources[l]
}

// next returns the first resource that is not verified, nil for none.
func (d *drainProgress) next(resources []*resourceSync) *resourceSync {
	slices.SortFunc(resources, func(a, b *resourceSync) int {
		return cmp.Or(cmp.Compare(a.api.Group, b.api.Group), cmp.Compare(a.api.Resource, b.api.Resource))
	})
	for _, l := range resources {
		if d.of(l).verifiedAt.IsZero() {
			return l
		}
	}
	return nil
}

// finishDrain takes the drain of a Namespace one step further once the caches show nothing of ours in it: each step
// verifies one resource by live lists, and the last one has the Namespace reported as drained. On that report the
// controller revokes our rights in the Namespace and deletes its downstream Namespace. The objects themselves are
// released by passes of their own.
func (e *Controller) finishDrain(ctx context.Context, p *namespaceSync) (again time.Duration, err error) {
	ending := p.draining()
	if ending == nil || !e.cachesShowDrained(p, ending.progress) {
		return 0, nil // the pass that releases the last object queues the Namespace
	}
	if e.hasUnknownResources() {
		return drainedRetry, nil
	}
	p.passes.await() // what began before the drain may still create something
	if l := ending.progress.next(p.allResources()); l != nil {
		return e.verifyResource(ctx, p, l, ending.progress.of(l))
	}
	return 0, e.reportDrained(ctx, p, ending)
}

// cachesShowDrained tells whether every resource has been listed and the caches show nothing of ours. A resource of
// which they show something must be verified again.
func (e *Controller) cachesShowDrained(p *namespaceSync, progress *drainProgress) bool {
	drained := true
	for _, l := range p.allResources() {
		_, begun := progress.resources[l]
		if (drained || begun) && !e.cacheShowsDrained(l) {
			delete(progress.resources, l)
			drained = false
		}
	}
	return drained
}

// cacheShowsDrained tells whether a resource has been listed and the caches show nothing of ours of it.
func (e *Controller) cacheShowsDrained(l *resourceSync) bool {
	return l.listAnswered() && !l.up.Objects.Any(e.hasOurMetadata) && (l.down == nil || !l.down.Objects.Any(e.isManaged))
}

// hasUnknownResources tells whether there are resources of which a side does not say now whether it serves them.
func (e *Controller) hasUnknownResources() bool {
	catalog := e.catalog.Load()
	return catalog != nil && slices.ContainsFunc(*catalog, func(r discovery.Resource) bool { return r.Unknown })
}

// verifyResource takes the verification of one resource as far as the pass has time, and returns when the next step is
// due. What has been read before an error is not read again.
func (e *Controller) verifyResource(ctx context.Context, p *namespaceSync, l *resourceSync, v *verification) (again time.Duration, err error) {
	found, err := e.searchResource(ctx, p, l, v)
	switch {
	case err != nil:
		return 0, err
	case found == listFound:
		return drainedRetry, nil
	case found == listEmpty:
		v.verifiedAt = e.clock.Now()
		log.FromContext(ctx).V(1).Info("Nothing of ours is left of a resource", "namespace", p.upstream.Name, "resource", l.api.String())
	}
	return immediately, nil
}

// anyLeft lists a resource on both servers, and tells whether anything of ours is left of it.
func (e *Controller) anyLeft(ctx context.Context, p *namespaceSync, l *resourceSync) (bool, error) {
	found, err := e.searchResource(ctx, p, l, &verification{})
	return found != listEmpty, err
}

// searchResource searches both servers for objects of ours of a resource. In the physical cluster, a resource that may
// not be listed counts as empty: then only the finalizers in the workspace tell of copies, and none has been found.
func (e *Controller) searchResource(ctx context.Context, p *namespaceSync, l *resourceSync, v *verification) (listState, error) {
	found, err := v.upstream.search(ctx, l.source.ListMetadata, "", e.hasOurMetadataIn)
	if err != nil {
		return found, fmt.Errorf("listing %s in Namespace %q of the workspace: %w", l.api.GroupResource, p.upstream.Name, err)
	}
	if found != listEmpty || l.down == nil {
		return found, nil
	}
	found, err = v.downstream.search(ctx, e.downMetadata.Resource(l.api.Downstream()).Namespace(p.downstreamNamespace).List, e.managedSelector(), e.isManagedMetadata)
	if err != nil && e.mayIgnoreListError(l, err) {
		return listEmpty, nil
	}
	if err != nil {
		return found, fmt.Errorf("listing %s in Namespace %q of the physical cluster: %w", l.api.GroupResource, p.downstreamNamespace, err)
	}
	return found, nil
}

// mayIgnoreListError tells whether the physical cluster refuses to list a resource, as it refuses it to the informer,
// and no copy of it is known.
func (e *Controller) mayIgnoreListError(l *resourceSync, err error) bool {
	_, class := rejection.Classify(err)
	return class != rejection.Transient && l.down.ListError.Load() != nil && !l.down.Objects.Any(e.isManaged)
}

// managedSelector selects what carries our label in the physical cluster, as every copy does.
func (e *Controller) managedSelector() string { return workloadv1alpha1.LabelKey + "=" + e.owner.Key }

// isManagedMetadata tells whether an object of the physical cluster is a copy of ours.
func (e *Controller) isManagedMetadata(dst metav1.Object) bool {
	return naming.IsManaged(dst, e.owner.Key)
}

// hasOurMetadataIn tells whether anything of ours is on an object of the workspace, as hasOurMetadata does.
func (e *Controller) hasOurMetadataIn(src metav1.Object) bool {
	return slices.Contains(src.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(e.owner.Key)) ||
		src.GetAnnotations()[workloadv1alpha1.SyncAnnotation(e.owner.Key)] != ""
}

// listState is what the pages of a list have shown so far.
type listState int

const (
	// listUnfinished: there are more pages, and the pass has no time to read them.
	listUnfinished listState = iota
	// listEmpty: no page contains an object of ours.
	listEmpty
	// listFound: an object of ours is there.
	listFound
)

// listProgress is how far a list has been read without an object of ours. All its pages show the state at the time of
// the first.
type listProgress struct {
	// next is the token of the next page, and complete is set when the last page has been read.
	next     string
	complete bool
}

// listMetadata lists objects without their content.
type listMetadata func(context.Context, metav1.ListOptions) (*metav1.PartialObjectMetadataList, error)

// search reads the next pages of a list, which contain nothing but metadata, until an object is ours. A list that has
// found one, or whose token has expired, begins anew.
func (l *listProgress) search(ctx context.Context, list listMetadata, selector string, isOurs func(metav1.Object) bool) (listState, error) {
	for restarted := false; !l.complete; {
		if !hasTimeForPage(ctx) {
			return listUnfinished, nil
		}
		page, err := list(ctx, metav1.ListOptions{LabelSelector: selector, Limit: listPageSize, Continue: l.next})
		if l.next != "" && (apierrors.IsResourceExpired(err) || apierrors.IsGone(err)) {
			l.next = ""
			if !restarted {
				restarted = true
				continue
			}
		}
		if err != nil {
			return listUnfinished, err
		}
		if slices.ContainsFunc(page.Items, func(o metav1.PartialObjectMetadata) bool { return isOurs(&o) }) {
			*l = listProgress{}
			return listFound, nil
		}
		l.next, l.complete = page.Continue, page.Continue == ""
	}
	return listEmpty, nil
}

// hasTimeForPage tells whether a pass has time for one more page.
func hasTimeForPage(ctx context.Context) bool {
	deadline, isPass := ctx.Deadline()
	return !isPass || time.Until(deadline) >= listPageTime //nolint:forbidigo // the deadline is in real time
}
