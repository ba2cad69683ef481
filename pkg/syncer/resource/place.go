package resource

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/mapping"
)

// place is one Namespace of the workspace and its counterpart in the physical cluster.
type place struct {
	namespace, counterpart string

	// passes are those over its objects, and memories what is remembered of each, by item.
	passes   passes
	memories sync.Map

	mu sync.Mutex
	// closing is set when a live read has shown that everything of ours is to go. Set by the engine.
	closing *closing
	// left is set while it is reported that nothing of ours is left: nothing is begun any more. Set by the engine.
	left bool
	// stopped is set when nothing is followed any more, for good. Set by stop.
	stopped bool
	lanes   map[workloadv1alpha1.GroupResource]*lane

	// missing are the objects that were there when their resource was first listed, or the place was opened again, until a pass
	// has dealt with each. complete is set once nothing was missing, or the place was opened again: then what is missing is
	// new, and not only to this process.
	missing  map[item]bool
	complete bool

	// warnings are the Warning Events in the counterpart, and told what was written of them, by name. Set by listen.
	warnings *side
	told     sync.Map
	deafen   context.CancelFunc
	// spoken are the Events that were last told of an object for a reason: where hundreds of Pods of a Deployment fail alike,
	// one of them speaks for all.
	spoken map[reason][]speaker
}

// closing says how a place ends.
type closing struct {
	// orphan leaves the copies where they are, without our marks.
	orphan bool
}

// lane is one resource in one place.
type lane struct {
	resource Resource
	up       *side
	// down is nil for a resource that the physical cluster does not serve.
	down *side
	stop context.CancelFunc
	// begun is set when all that was there at first is known to be missing, and began is when that was.
	begun atomic.Bool
	began time.Time
}

func newPlace(key, namespace string) *place {
	return &place{
		namespace: namespace, counterpart: mapping.Namespace(key, namespace),
		lanes: map[workloadv1alpha1.GroupResource]*lane{}, missing: map[item]bool{}, spoken: map[reason][]speaker{},
	}
}

// ending returns how the place is to end, nil while it is open.
func (p *place) ending() *closing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

// setEnding begins, changes or, with nil, takes back the end of the place, unless it is just being left.
func (p *place) setEnding(c *closing) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left {
		return false
	}
	if c == nil && p.closing == nil || c != nil && p.closing != nil && *c == *p.closing {
		return false
	}
	p.closing = c
	return true
}

// leave tells whether the place has been ending in this way all the while, and keeps it so.
func (p *place) leave(ending *closing) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = p.closing == ending
	return p.left
}

// stay takes leave back.
func (p *place) stay() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = false
}

// stop ends everything that follows the place.
func (p *place) stop() {
	p.deafen()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for _, l := range p.lanes {
		l.stop()
	}
}

func (p *place) lane(resource workloadv1alpha1.GroupResource) *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lanes[resource]
}

func (p *place) all() []*lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*lane, 0, len(p.lanes))
	for _, l := range p.lanes {
		out = append(out, l)
	}
	return out
}

// reason is why there are Events about an object of the workspace.
type reason struct {
	object types.UID
	reason string
}

// speaker is an Event that was told for a reason.
type speaker struct {
	event, words string
	at           time.Time
}

// maxSpeakers is how many Events of one reason are told of an object in eventPace: two containers may fail in two ways, but
// a thousand Pods fail in one.
const maxSpeakers = 3

// mayTell tells whether an Event may be told of an object, and notes that it is: one of each kind of words, and not too many.
func (p *place) mayTell(object types.UID, why, event, words string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, speakers := range p.spoken {
		if p.spoken[id] = slices.DeleteFunc(speakers, func(s speaker) bool { return now.Sub(s.at) >= eventPace }); len(p.spoken[id]) == 0 {
			delete(p.spoken, id)
		}
	}
	id := reason{object, why}
	speakers := p.spoken[id]
	if i := slices.IndexFunc(speakers, func(s speaker) bool { return s.event == event }); i >= 0 {
		speakers[i].words, speakers[i].at = words, now
		return true
	}
	if len(speakers) >= maxSpeakers || slices.ContainsFunc(speakers, func(s speaker) bool { return s.words == words }) {
		return false
	}
	p.spoken[id] = append(speakers, speaker{event, words, now})
	return true
}

// end stops following a resource. The caller holds mu.
func (p *place) end(l *lane) {
	l.stop()
	delete(p.lanes, l.resource.GroupResource)
	maps.DeleteFunc(p.missing, func(i item, _ bool) bool { return i.resource == l.resource.GroupResource })
}

// answered tells whether everything in the place has been listed, as far as can be.
func (p *place) answered() bool {
	return !slices.ContainsFunc(p.all(), func(l *lane) bool { return !l.answered() && l.up.barred.Load() == nil })
}

// synced tells whether both sides have been listed.
func (l *lane) synced() bool {
	return l.up.listed() && (l.down == nil || l.down.listed())
}

// isBarred tells whether the workspace has been listed, and the physical cluster refuses to.
func (l *lane) isBarred() bool {
	return l.up.listed() && l.down != nil && !l.down.listed() && l.down.barred.Load() != nil
}

// answered tells whether the workspace has been listed, and the physical cluster too or refuses to: then there are copies
// only where an object is held.
func (l *lane) answered() bool {
	return l.up.listed() && (l.down == nil || l.down.listed() || l.down.barred.Load() != nil)
}
