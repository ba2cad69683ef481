package sync

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// watchCheckInterval is how often it is checked whether watches fail. Nothing else happens while they do.
const watchCheckInterval = 10 * time.Second

// watchFailure is since when the watch of a resource fails on one side, and how. A zero since means that it does not.
type watchFailure struct {
	since     time.Time
	namespace source.Namespace
	last      string
}

func (f watchFailure) isHealthy() bool { return f.since.IsZero() }

// hasUnhealthyWatch tells whether the syncer does not see the changes on one of the two sides.
func (l *resourceSync) hasUnhealthyWatch(now time.Time) bool {
	for _, s := range []*cache.ResourceCache{l.up, l.down} {
		if s == nil {
			continue
		}
		if since, _ := s.Health(now); !since.IsZero() {
			return true
		}
	}
	return false
}

// checkWatches finds out which watches fail, and reports those that did not at the last check, or do not any more.
func (e *Controller) checkWatches(ctx context.Context) {
	e.mu.Lock()
	namespaces, before := maps.Clone(e.namespaces), e.watchFailures
	e.mu.Unlock()
	after, changed := withFirstFailures(before, watchFailures(namespaces, e.clock.Now()))
	e.mu.Lock()
	e.watchFailures = after
	e.mu.Unlock()

	e.metrics.setWatches(after)
	for _, on := range changed {
		l := log.FromContext(ctx).WithValues("resource", on.resource.String(), "side", on.side)
		if f := after[on]; f.isHealthy() {
			l.Info("The watch of a resource works again", "since", before[on].since)
		} else {
			l.Info("The watch of a resource fails, and its changes are not seen", "namespace", f.namespace.Name, "since", f.since, "cause", f.last)
		}
	}
	if len(changed) > 0 {
		signal(e.statusDirty)
		e.requestReports()
	}
}

// watchFailures returns the state of the watches of all resources on both sides. Of several Namespaces whose watches
// fail, it returns the failure that began first.
func watchFailures(namespaces map[source.Namespace]*namespaceSync, now time.Time) map[resourceOnSide]watchFailure {
	out := map[resourceOnSide]watchFailure{}
	for name, p := range namespaces {
		for _, l := range p.allResources() {
			for on, f := range l.watchFailures(name, now) {
				if known, ok := out[on]; !ok || !f.isHealthy() && (known.isHealthy() || f.since.Before(known.since)) {
					out[on] = f
				}
			}
		}
	}
	return out
}

// watchFailures returns the state of the watches of one resource in one Namespace.
func (l *resourceSync) watchFailures(namespace source.Namespace, now time.Time) map[resourceOnSide]watchFailure {
	out := map[resourceOnSide]watchFailure{}
	for side, s := range map[string]*cache.ResourceCache{workspaceSide: l.up, clusterSide: l.down} {
		if s != nil {
			since, last := s.Health(now)
			out[resourceOnSide{l.api.GroupResource, side}] = watchFailure{since: since, namespace: namespace, last: last}
		}
	}
	return out
}

// withFirstFailures keeps for each watch that goes on failing what was first reported about it, so that the status does
// not change with each attempt. It also returns the watches that have begun to fail, or to work again.
func withFirstFailures(before, now map[resourceOnSide]watchFailure) (after map[resourceOnSide]watchFailure, changed []resourceOnSide) {
	after = map[resourceOnSide]watchFailure{}
	for on, f := range now {
		known := before[on]
		if !known.isHealthy() && !f.isHealthy() {
			f = known
		}
		if known.isHealthy() != f.isHealthy() {
			changed = append(changed, on)
		}
		after[on] = f
	}
	return after, changed
}

// unwatchedSince is since when the watch of a resource has been failing on a side, as the API server keeps it: in whole
// seconds. It is nil while no watch of it fails.
func unwatchedSince(resource workloadv1alpha1.GroupResource, failures map[resourceOnSide]watchFailure) *metav1.Time {
	var first *metav1.Time
	for _, side := range []string{workspaceSide, clusterSide} {
		f := failures[resourceOnSide{resource, side}]
		if f.isHealthy() {
			continue
		}
		if since := metav1.NewTime(f.since).Rfc3339Copy(); first == nil || since.Before(first) {
			first = &since
		}
	}
	return first
}

// withWatchFailures adds to the message of an accepted resource that its watches fail. It stays accepted: its objects
// can be synced, and what is known of them is still true.
func withWatchFailures(resource workloadv1alpha1.GroupResource, message string, failures map[resourceOnSide]watchFailure) string {
	var messages []string
	for _, side := range []string{workspaceSide, clusterSide} {
		if f := failures[resourceOnSide{resource, side}]; !f.isHealthy() {
			messages = append(messages, fmt.Sprintf("the watch of the %s fails, and changes there are not seen: %s", side, f.last))
		}
	}
	if message != "" {
		messages = append(messages, message)
	}
	return strings.Join(messages, "; ")
}
