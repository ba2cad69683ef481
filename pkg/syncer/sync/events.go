package sync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// Warning Events of the copies, and of the Pods, ReplicaSets and Jobs that they own, appear on the user's objects. The
// physical cluster has counted repetitions into one Event already; that one is written upstream under a name that
// follows from it, so that neither a repetition nor a restart makes a second one.

const (
	// eventPace is the least time between two writes of one Event.
	eventPace = time.Minute
	// eventWait is when an Event is looked at again that came before the objects were listed.
	eventWait = 5 * time.Second
	// eventAge is how old an Event may be that is there at a start: what is older was told, or is of no use any more.
	eventAge = 10 * time.Minute
)

var (
	events   = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	warnings = fields.OneTermEqualSelector("type", corev1.EventTypeWarning).String()
)

// eventResource is an Event in the queue.
var eventResource = workloadv1alpha1.GroupResource{Resource: "events"}

// watchEvents starts to watch the Warning Events in a downstream Namespace.
func (e *Controller) watchEvents(ctx context.Context, p *namespaceSync) {
	s := cache.New(e.down, events, p.downstreamNamespace, e.clock, warnings)
	p.events = s
	s.OnChange(func(name string, atStart bool) { e.enqueueEvent(p, name, atStart) })
	var once sync.Once
	s.OnError(func(err error) {
		if apierrors.IsForbidden(err) {
			once.Do(func() {
				log.FromContext(ctx).Info("The Warnings of copies are not told, for they may not be listed: apply the manifests of this version", "namespace", p.downstreamNamespace, "cause", err.Error())
			})
		}
	})
	go s.Run(ctx)
}

// enqueueEvent queues an Event, unless it is past.
func (e *Controller) enqueueEvent(p *namespaceSync, name string, atStart bool) {
	if object, _ := p.events.Objects.Get(p.downstreamNamespace + "/" + name); atStart && e.isPast(object) {
		p.writtenEvents.Store(name, writtenEvent{version: object.GetResourceVersion()})
		return
	}
	e.queue.Add(queueKey{namespace: p.upstream, resource: eventResource, name: name})
}

// isPast tells whether an Event is too old to be told. Only of what was there at a start: by a clock that is wrong, what
// comes later would be too.
func (e *Controller) isPast(object *unstructured.Unstructured) bool {
	var event corev1.Event
	if object == nil || runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &event) != nil {
		return false
	}
	_, last, _ := occurrences(&event)
	return e.clock.Since(last) > eventAge
}

// syncEvent writes one Warning upstream, and returns when to try again without a change; 0 is never.
func (e *Controller) syncEvent(ctx context.Context, p *namespaceSync, name string) (time.Duration, error) {
	object, _ := p.events.Objects.Get(p.downstreamNamespace + "/" + name)
	if object == nil {
		p.writtenEvents.Delete(name)
		return 0, nil
	}
	if p.draining() != nil {
		return 0, nil
	}
	var event corev1.Event
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &event); err != nil {
		return 0, nil
	}
	if wait, due := e.isEventDue(p, &event); !due {
		return wait, nil
	}
	if !p.allListed() {
		return eventWait, nil
	}
	source, err := e.sourceOf(ctx, p, &event)
	switch {
	case errors.Is(err, errUnlisted):
		return eventPace, nil // the resource that may have a copy has yet to be listed
	case errors.Is(err, errLookupLimit):
		return wait.Jitter(lookupWait, 1), nil
	case err != nil:
		return 0, err
	case source != nil && p.shouldWriteEvent(source.GetUID(), event.Reason, name, textOf(&event), e.clock.Now()):
		if err := e.writeWarningOf(ctx, p, source, &event); err != nil {
			return 0, err
		}
	}
	p.writtenEvents.Store(name, writtenEvent{version: event.ResourceVersion, at: e.clock.Now()})
	return 0, nil
}

// isEventDue tells whether an Event has changed since it was last written and eventPace is over, and otherwise when
// that may be so; 0 is never.
func (e *Controller) isEventDue(p *namespaceSync, event *corev1.Event) (wait time.Duration, due bool) {
	found, ok := p.writtenEvents.Load(event.Name)
	if !ok {
		return 0, true
	}
	written := found.(writtenEvent)
	if written.version == event.ResourceVersion {
		return 0, false
	}
	wait = eventPace - e.clock.Since(written.at)
	return max(wait, 0), wait <= 0
}

// writeWarningOf writes an Event of the physical cluster on an object of the workspace. A refusal is the end of it: the
// same Event would be refused again, and there may be thousands.
func (e *Controller) writeWarningOf(ctx context.Context, p *namespaceSync, source *unstructured.Unstructured, event *corev1.Event) error {
	message := event.Message
	if event.InvolvedObject.Name != source.GetName() || event.InvolvedObject.Kind != source.GetKind() {
		message = fmt.Sprintf("%s %q: %s", event.InvolvedObject.Kind, event.InvolvedObject.Name, message)
	}
	first, last, count := occurrences(event)
	up := e.eventOn(source, string(event.UID))
	up.Type, up.Reason, up.Message, up.Count = event.Type, event.Reason, rejection.Clip(message), count
	up.FirstTimestamp, up.LastTimestamp = metav1.NewTime(first), metav1.NewTime(last)
	err := e.source.WriteEvent(ctx, p.upstream, up)
	if err == nil {
		return nil
	}
	object := fmt.Sprintf("%s %q", source.GetKind(), source.GetNamespace()+"/"+source.GetName())
	if _, class := rejection.Classify(err); class == rejection.Transient {
		return fmt.Errorf("writing a Warning Event on %s: %w", object, err)
	}
	log.FromContext(ctx).V(1).Info("The workspace refuses a Warning Event", "object", object, "event", up.Name, "cause", err.Error())
	return nil
}

// eventOn is an Event about an object of the workspace, one for each id.
func (e *Controller) eventOn(source *unstructured.Unstructured, id string) *corev1.Event {
	return &corev1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta: metav1.ObjectMeta{Namespace: source.GetNamespace(), Name: fmt.Sprintf("%s.%s", clipName(source.GetName()), id)},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: source.GetAPIVersion(), Kind: source.GetKind(), Namespace: source.GetNamespace(), Name: source.GetName(), UID: source.GetUID(),
		},
		Source: corev1.EventSource{Component: "syncer", Host: e.owner.Name}, ReportingController: "workload.kcp.io/syncer",
	}
}

// textOf is what an Event says without the names of what it is about, in which Pods that fail alike differ.
func textOf(event *corev1.Event) string {
	words := event.Message
	for _, name := range []string{event.InvolvedObject.Name, string(event.InvolvedObject.UID)} {
		if name != "" {
			words = strings.ReplaceAll(words, name, "")
		}
	}
	return words
}

// writtenEvent is what was last written of an Event.
type writtenEvent struct {
	version string
	at      time.Time
}

// occurrences are when an Event was first and last seen and how often, in either of the two forms that there are.
func occurrences(event *corev1.Event) (first, last time.Time, count int32) {
	first, last, count = event.FirstTimestamp.Time, event.LastTimestamp.Time, max(event.Count, 1)
	if first.IsZero() {
		first = event.EventTime.Time
	}
	if last.IsZero() {
		last = first
	}
	if event.Series != nil {
		last, count = event.Series.LastObservedTime.Time, event.Series.Count
	}
	return first, last, count
}

// clipName returns a name, or as much of it as leaves room for a UID, as the beginning of a DNS subdomain: names of
// some kinds, such as Roles, contain characters that the name of an Event may not.
func clipName(name string) string {
	const room = 253 - 1 - 36
	var labels []string
	for _, label := range strings.Split(strings.Map(subdomainRune, name[:min(len(name), room)]), ".") {
		if label = strings.Trim(label, "-"); label != "" {
			labels = append(labels, label)
		}
	}
	if len(labels) == 0 {
		return "object"
	}
	return strings.Join(labels, ".")
}

// subdomainRune returns a character as a DNS subdomain may contain it.
func subdomainRune(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-':
		return r
	case r >= 'A' && r <= 'Z':
		return r - 'A' + 'a'
	}
	return '-'
}
