package sync

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// namespaceSync is one Namespace of the source and its downstream Namespace.
type namespaceSync struct {
	upstream            source.Namespace
	downstreamNamespace string

	// passes are those over its objects, and objectStates what is remembered of each, by queueKey.
	passes       inFlightPasses
	objectStates sync.Map
	creations    creations
	// reports are what is known of the reports on the Namespace.
	reports reportState

	mu sync.Mutex
	// drain is how the Namespace is drained, by a live read of the source; nil while it is not drained.
	drain *drain
	// drainReported is set while the Namespace is reported as drained: nothing is started in it any more.
	drainReported bool
	// role is what this cluster does for the Namespace.
	role role
	// stopped is set when the sync of the Namespace has ended for good.
	stopped   bool
	resources map[workloadv1alpha1.GroupResource]*resourceSync

	// unsynced are the objects that existed when their resource was first listed, or the Namespace was opened again, until a pass has
	// dealt with each. initiallySynced is set once there were none, or the Namespace was opened again: from then on unsynced objects
	// are new, and not only new to this process.
	unsynced        map[queueKey]bool
	initiallySynced bool

	// events are the Warning Events in the downstream Namespace, and writtenEvents what was written of them, by name.
	events        *cache.ResourceCache
	writtenEvents sync.Map
	stopEvents    context.CancelFunc
	// recentEvents are the Events that were last written for an object and a reason: where hundreds of Pods of a Deployment fail alike,
	// the Events of a few are enough.
	recentEvents map[eventKey][]eventRecord
	// recentLookups are the Events whose owners have been looked up in the last eventPace, by what they say, and when
	// that was.
	recentLookups map[lookupGroup]map[string]time.Time
}

// role is what one of the clusters that a Namespace runs on does for it.
type role struct {
	// record and epoch are those of the Assignment.
	record source.Record
	epoch  int64
	// first tells that it is the first of them, and writesStatus that the status of the copies becomes that of the objects.
	first, writesStatus bool
}

// roleOf is what an Assignment says of it.
func roleOf(a *source.Assignment) role {
	return role{record: a.Record, epoch: a.Epoch, first: a.First, writesStatus: a.WritesStatus}
}

// resourceSync is one resource in one Namespace.
type resourceSync struct {
	api discovery.Resource
	// source reads and writes the objects, and up is its cache.
	source source.Objects
	up     *cache.ResourceCache
	// down is nil for a resource that the physical cluster does not serve.
	down *cache.ResourceCache
	stop context.CancelFunc
	// listed is set when the objects of the first list have been marked as unsynced, and listedAt is when that was.
	listed   atomic.Bool
	listedAt time.Time
	// counts are its objects that have, or are to have, a copy.
	counts objectCounts
}

func newNamespaceSync(key string, namespace source.Namespace) *namespaceSync {
	return &namespaceSync{
		upstream: namespace, downstreamNamespace: naming.Namespace(key, namespace.Name),
		resources: map[workloadv1alpha1.GroupResource]*resourceSync{}, unsynced: map[queueKey]bool{}, recentEvents: map[eventKey][]eventRecord{},
		recentLookups: map[lookupGroup]map[string]time.Time{},
	}
}

// currentRole is what this cluster does for the Namespace.
func (p *namespaceSync) currentRole() role {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.role
}

// setRole changes what this cluster does for the Namespace, and returns what it did before.
func (p *namespaceSync) setRole(now role) (before role) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, p.role = p.role, now
	return before
}

// draining returns how the Namespace is drained, nil while it is not.
func (p *namespaceSync) draining() *drain {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drain
}

// setDrain begins, changes or, with nil, cancels the drain of the Namespace, unless it is being reported as drained.
func (p *namespaceSync) setDrain(c *drain) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drainReported {
		return false
	}
	if c == nil && p.drain == nil || c != nil && c.isLike(p.drain) {
		return false
	}
	if p.drain = c; c != nil {
		c.progress = newDrainProgress()
	}
	return true
}

// beginDrainReport tells whether the Namespace is still drained in this way, and keeps the drain from being changed.
func (p *namespaceSync) beginDrainReport(ending *drain) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drainReported = p.drain == ending
	return p.drainReported
}

// cancelDrainReport lets the drain be changed again.
func (p *namespaceSync) cancelDrainReport() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drainReported = false
}

// stop ends all informers of the Namespace.
func (p *namespaceSync) stop() {
	p.stopEvents()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for _, l := range p.resources {
		l.stop()
	}
}

func (p *namespaceSync) resource(resource workloadv1alpha1.GroupResource) *resourceSync {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resources[resource]
}

func (p *namespaceSync) allResources() []*resourceSync {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*resourceSync, 0, len(p.resources))
	for _, l := range p.resources {
		out = append(out, l)
	}
	return out
}

// eventKey is why there are Events about an object of the workspace.
type eventKey struct {
	object types.UID
	reason string
}

// eventRecord is an Event that was told for a reason.
type eventRecord struct {
	event, text string
	at          time.Time
}

// maxEventsPerReason is how many Events of one reason are told of an object in eventPace: two containers may fail in two ways, but
// a thousand Pods fail in one.
const maxEventsPerReason = 3

// shouldWriteEvent tells whether an Event may be told of an object, and notes that it is: one of each kind of words, and not too many.
func (p *namespaceSync) shouldWriteEvent(object types.UID, why, event, words string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, speakers := range p.recentEvents {
		if p.recentEvents[id] = slices.DeleteFunc(speakers, func(s eventRecord) bool { return now.Sub(s.at) >= eventPace }); len(p.recentEvents[id]) == 0 {
			delete(p.recentEvents, id)
		}
	}
	id := eventKey{object, why}
	speakers := p.recentEvents[id]
	if i := slices.IndexFunc(speakers, func(s eventRecord) bool { return s.event == event }); i >= 0 {
		speakers[i].text, speakers[i].at = words, now
		return true
	}
	if len(speakers) >= maxEventsPerReason || slices.ContainsFunc(speakers, func(s eventRecord) bool { return s.text == words }) {
		return false
	}
	p.recentEvents[id] = append(speakers, eventRecord{event, words, now})
	return true
}

// stopResource ends the sync of a resource, and deletes what is remembered of its objects. The caller holds mu.
func (p *namespaceSync) stopResource(l *resourceSync) {
	l.stop()
	delete(p.resources, l.api.GroupResource)
	maps.DeleteFunc(p.unsynced, func(i queueKey, _ bool) bool { return i.resource == l.api.GroupResource })
	p.objectStates.Range(func(key, _ any) bool {
		if key.(queueKey).resource == l.api.GroupResource {
			p.objectStates.Delete(key)
		}
		return true
	})
}

// forgetStopped deletes what a pass has stored of an object whose resource was stopped during the pass.
func (p *namespaceSync) forgetStopped(l *resourceSync, key queueKey) {
	if p.resource(l.api.GroupResource) != l {
		p.objectStates.Delete(key)
	}
}

// allListed tells whether every resource of the Namespace has been listed, or cannot be.
func (p *namespaceSync) allListed() bool {
	return !slices.ContainsFunc(p.allResources(), func(l *resourceSync) bool { return !l.listAnswered() && l.up.ListError.Load() == nil })
}

// hasSynced tells whether both sides have been listed.
func (l *resourceSync) hasSynced() bool {
	return l.up.HasSynced() && (l.down == nil || l.down.HasSynced())
}

// isListDenied tells whether the workspace has been listed, and the physical cluster refuses to.
func (l *resourceSync) isListDenied() bool {
	return l.up.HasSynced() && l.down != nil && !l.down.HasSynced() && l.down.ListError.Load() != nil
}

// listAnswered tells whether the workspace has been listed, and the physical cluster too or refuses to: then there are copies
// only where an object is held.
func (l *resourceSync) listAnswered() bool {
	return l.up.HasSynced() && (l.down == nil || l.down.HasSynced() || l.down.ListError.Load() != nil)
}
