package resource

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

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

// side is one resource in one Namespace of one server.
type side struct {
	client   dynamic.ResourceInterface
	informer cache.SharedIndexInformer
	// listed tells whether the informer has listed everything, and barred, until then, how the server keeps it from that; nil
	// where it does not, or does not answer.
	listed func() bool
	barred atomic.Pointer[string]
	// failures are how often in refusalLife of one another it has not listed, and failed is when it last did not; the
	// informer's alone.
	failures int
	failed   time.Time
	objects  *overlay
	// seen is when a change was first seen that no pass has dealt with, by name, and taken when one that is being dealt with was.
	seen, taken sync.Map
}

// takeSeen returns since when a change waits, zero for none; the next one begins anew. dealtWith follows.
func (s *side) takeSeen(name string) time.Time {
	since, _ := s.seen.LoadAndDelete(name)
	at, _ := since.(time.Time)
	if !at.IsZero() {
		s.taken.Store(name, at)
	}
	return at
}

// dealtWith ends what takeSeen has begun.
func (s *side) dealtWith(name string) { s.taken.Delete(name) }

// waiting tells, until it returns false, of the changes that no pass has dealt with yet.
func (s *side) waiting(tell func(name string, since time.Time) bool) {
	for _, changes := range []*sync.Map{&s.seen, &s.taken} {
		changes.Range(func(name, since any) bool { return tell(name.(string), since.(time.Time)) })
	}
}

// stillSeen puts back what a pass took and could not deal with.
func (s *side) stillSeen(name string, since time.Time) {
	if !since.IsZero() {
		s.seen.Store(name, since)
	}
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

// passes are under way, in groups by when they began: those that began before a moment can be waited for, and hold nobody up.
type passes struct {
	mu     sync.Mutex
	groups []*sync.WaitGroup // what begins joins the last one
}

// begin notes that a pass begins; end that it has ended.
func (p *passes) begin() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) == 0 {
		p.groups = []*sync.WaitGroup{{}}
	}
	group := p.groups[len(p.groups)-1]
	group.Add(1)
	return group.Done
}

// await returns when no pass is under way that began before: from then on everybody knows what was set before.
func (p *passes) await() {
	p.mu.Lock()
	before := slices.Clone(p.groups)
	p.groups = append(p.groups, &sync.WaitGroup{})
	p.mu.Unlock()
	for _, group := range before {
		group.Wait()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.groups = slices.DeleteFunc(p.groups, func(group *sync.WaitGroup) bool { return slices.Contains(before, group) })
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

// miss notes what is to be brought to the physical cluster before the place is synced.
func (p *place) miss(l *lane, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lanes[l.resource.GroupResource] != l {
		return // it is followed no more, or anew
	}
	for _, name := range l.up.names() {
		p.missing[item{namespace: p.namespace, resource: l.resource.GroupResource, name: name}] = true
	}
	if !l.begun.Load() {
		l.began = now
		l.begun.Store(true)
	}
}

// met notes that a pass has dealt with an object, and tells whether it was the last one that was missing.
func (p *place) met(i item) (last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.missing[i] {
		return false
	}
	if delete(p.missing, i); len(p.missing) > 0 {
		return false
	}
	p.missing = map[item]bool{} // a map does not shrink
	return true
}

// missesNothing tells whether all is there that was to be brought, and before, whether that was so before.
func (p *place) missesNothing() (now, before bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.missing) == 0, p.complete
}

// setComplete notes that nothing was missing, or that what is from now on is new.
func (p *place) setComplete() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complete = true
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

// listAttempts is how often it fails before it is told, within half a minute or so.
const listAttempts = 6

// bar notes how a list or a watch has failed, and returns what is to be told of that, at once where it is forbidden, and of
// another answer about this resource once it has come again and again; empty for nothing. What may be an outage of the server
// is none.
func (s *side) bar(err error, where string, now time.Time) (why string) {
	if now.Sub(s.failed) > refusalLife {
		s.failures = 0
	}
	s.failed = now
	verb := "refuses"
	if _, kind := refusal(err); kind == passing || apierrors.IsNotFound(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		s.failures = 0
		s.barred.Store(nil)
		return ""
	} else if !apierrors.IsForbidden(err) {
		verb = "fails"
		if s.failures++; s.failures < listAttempts {
			return ""
		}
	}
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return "" // nobody has said so
	}
	why = fmt.Sprintf("the %s %s to list it in an opened Namespace: %s", where, verb, clip(answer.Status().Message))
	s.barred.Store(&why)
	return why
}

// newSide prepares the informer of a resource in a Namespace, of all objects if fieldSelector is empty.
func newSide(client dynamic.Interface, gvr schema.GroupVersionResource, namespace string, clock clock.PassiveClock, fieldSelector string) *side {
	c := client.Resource(gvr).Namespace(namespace)
	informer := cache.NewSharedIndexInformerWithOptions(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = fieldSelector
			return c.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = fieldSelector
			return c.Watch(ctx, options)
		},
	}, client), &unstructured.Unstructured{}, cache.SharedIndexInformerOptions{ObjectDescription: gvr.String()})
	_ = informer.SetTransform(pack)
	return &side{client: c, informer: informer, listed: informer.HasSynced, objects: newOverlay(informer.GetStore(), clock)}
}

// follow calls notify with the name of every object that changes otherwise than by what we wrote ourselves.
// atStart tells of one that is in the first list.
func (s *side) follow(notify func(name string, atStart bool)) error {
	changed := func(object any, atStart bool) {
		if o, ok := object.(*packed); ok && s.objects.delivered(o.namespace+"/"+o.name, o.version) {
			notify(o.name, atStart)
		}
	}
	_, err := s.informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, object any) { changed(object, false) },
		DeleteFunc: func(object any) {
			if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
				s.objects.drop(key)
				_, name, _ := cache.SplitMetaNamespaceKey(key)
				notify(name, false)
			}
		},
	})
	return err
}

// names of everything that the informer knows.
func (s *side) names() []string {
	var names []string
	for _, key := range s.objects.keys() {
		_, name, _ := cache.SplitMetaNamespaceKey(key)
		names = append(names, name)
	}
	return names
}
