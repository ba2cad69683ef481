package sync

import (
	"context"
	"encoding/json"
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
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
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
	// maxOwners is how far an Event's object may be from its copy: Pod, Job, CronJob.
	maxOwners = 3
)

var (
	events   = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	warnings = fields.OneTermEqualSelector("type", corev1.EventTypeWarning).String()
	// owned are the kinds between a copy and its Pods.
	owned = map[schema.GroupKind]schema.GroupVersionResource{
		{Kind: "Pod"}:                       {Version: "v1", Resource: "pods"},
		{Group: "apps", Kind: "ReplicaSet"}: {Group: "apps", Version: "v1", Resource: "replicasets"},
		{Group: "batch", Kind: "Job"}:       {Group: "batch", Version: "v1", Resource: "jobs"},
	}
)

// eventResource is an Event in the queue.
var eventResource = workloadv1alpha1.GroupResource{Resource: "events"}

// watchEvents starts to follow the Warnings of a place.
func (e *Controller) watchEvents(ctx context.Context, p *namespaceSync) {
	s := cache.New(e.down, events, p.downstreamNamespace, e.clock, warnings)
	p.events = s
	_ = s.AddEventHandler(func(name string, atStart bool) { e.enqueueEvent(p, name, atStart) })
	var once sync.Once
	_ = s.Informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *toolscache.Reflector, err error) {
		if apierrors.IsForbidden(err) {
			once.Do(func() {
				log.FromContext(ctx).Info("The Warnings of copies are not told, for they may not be listed: apply the manifests of this version", "namespace", p.downstreamNamespace, "cause", err.Error())
			})
		}
	})
	go s.Informer.RunWithContext(ctx)
}

// enqueueEvent queues an Event, unless it is past.
func (e *Controller) enqueueEvent(p *namespaceSync, name string, atStart bool) {
	if object, _ := p.events.Objects.Get(p.downstreamNamespace + "/" + name); atStart && e.isPast(object) {
		p.writtenEvents.Store(name, writtenEvent{version: object.GetResourceVersion()})
		return
	}
	e.queue.Add(queueKey{namespace: p.upstreamNamespace, resource: eventResource, name: name})
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

// syncEvent writes one Warning upstream, and returns when to look at it again.
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
	first, last, count := occurrences(&event)
	if sent, ok := p.writtenEvents.Load(name); ok {
		sent := sent.(writtenEvent)
		if sent.version == event.ResourceVersion {
			return 0, nil
		}
		if wait := eventPace - e.clock.Since(sent.at); wait > 0 {
			return wait, nil
		}
	}
	if !p.allListed() {
		return eventWait, nil
	}
	source, err := e.sourceOf(ctx, p, &event)
	if errors.Is(err, errUnlisted) {
		return eventPace, nil // its resource is kept from us
	}
	if err != nil {
		return 0, err
	}
	if source == nil || !p.shouldWriteEvent(source.GetUID(), event.Reason, name, textOf(&event), e.clock.Now()) {
		p.writtenEvents.Store(name, writtenEvent{version: event.ResourceVersion, at: e.clock.Now()})
		return 0, nil
	}
	message := event.Message
	if event.InvolvedObject.Name != source.GetName() || event.InvolvedObject.Kind != source.GetKind() {
		message = fmt.Sprintf("%s %q: %s", event.InvolvedObject.Kind, event.InvolvedObject.Name, message)
	}
	up := e.eventOn(source, string(event.UID))
	up.Type, up.Reason, up.Message, up.Count = event.Type, event.Reason, rejection.Clip(message), count
	up.FirstTimestamp, up.LastTimestamp = metav1.NewTime(first), metav1.NewTime(last)
	if err := e.writeEvent(ctx, up); err != nil {
		return 0, fmt.Errorf("telling of a Warning about %s %q: %w", source.GetKind(), p.upstreamNamespace+"/"+source.GetName(), err)
	}
	p.writtenEvents.Store(name, writtenEvent{version: event.ResourceVersion, at: e.clock.Now()})
	return 0, nil
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

// writeEvent makes an Event, or brings the one that is there up to date; after a restart it may be.
func (e *Controller) writeEvent(ctx context.Context, event *corev1.Event) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(event)
	if err != nil {
		return err
	}
	client := e.up.Resource(events).Namespace(event.Namespace)
	live, err := client.Get(ctx, event.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
		return err
	}
	if err != nil {
		return err
	}
	var before corev1.Event
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, &before); err != nil {
		return err
	}
	if before.Count == event.Count && before.LastTimestamp.Unix() == event.LastTimestamp.Unix() && before.Message == event.Message {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"count": event.Count, "lastTimestamp": event.LastTimestamp, "message": event.Message})
	if err != nil {
		return err
	}
	_, err = client.Patch(ctx, event.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
	return err
}

// sourceOf finds the user's object that an Event is about in the end, nil for none.
func (e *Controller) sourceOf(ctx context.Context, p *namespaceSync, event *corev1.Event) (*unstructured.Unstructured, error) {
	gk := schema.FromAPIVersionAndKind(event.InvolvedObject.APIVersion, event.InvolvedObject.Kind).GroupKind()
	name := event.InvolvedObject.Name
	for range maxOwners {
		if source, err := e.sourceOfCopy(p, gk, name); source != nil || err != nil {
			return source, err
		}
		gvr, ok := owned[gk]
		if !ok {
			return nil, nil
		}
		object, err := e.down.Resource(gvr).Namespace(p.downstreamNamespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s %q in the physical cluster: %w", gk.Kind, p.downstreamNamespace+"/"+name, err)
		}
		owner := metav1.GetControllerOf(object)
		if owner == nil {
			return nil, nil
		}
		gk, name = schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind(), owner.Name
	}
	return e.sourceOfCopy(p, gk, name)
}

// errUnlisted tells that it is not known yet what has copies.
var errUnlisted = errors.New("not everything has been listed")

// sourceOfCopy returns the object that one in the counterpart is a copy of, nil if it is none.
func (e *Controller) sourceOfCopy(p *namespaceSync, gk schema.GroupKind, name string) (*unstructured.Unstructured, error) {
	for _, l := range p.allResources() {
		if l.api.Kind != gk.Kind || l.api.Group != gk.Group || l.down == nil {
			continue
		}
		if !l.hasSynced() {
			return nil, errUnlisted
		}
		dst, _ := l.down.Objects.Get(p.downstreamNamespace + "/" + name)
		if !e.isManaged(dst) {
			return nil, nil
		}
		src, _ := l.up.Objects.Get(p.upstreamNamespace + "/" + name)
		return src, nil
	}
	return nil, nil
}

// clipName leaves room for a UID in the name of an Event.
func clipName(name string) string {
	const room = 253 - 1 - 36
	return name[:min(len(name), room)]
}
