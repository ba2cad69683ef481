package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// ResourceCache is one resource in one Namespace of one server.
type ResourceCache struct {
	Client dynamic.ResourceInterface
	// informer fills Objects and calls notify and reportError.
	informer    toolscache.Controller
	notify      func(name string, atStart bool)
	reportError func(error)
	// HasSynced tells whether the informer has ever listed everything. ListError is how the server last refused or failed to list the
	// resource, before or after that; nil if it has not, or did not answer.
	HasSynced func() bool
	ListError atomic.Pointer[string]
	// failures is how many lists or watches have failed, each within ListErrorLifetime of the one before, and failedAt is when the last
	// one did. Only the informer uses them.
	failures int
	failedAt time.Time
	health   watchHealth
	Objects  *Assumed
	// pendingSince is when the first change was seen that waits for a pass, by name; inFlight is the same of a change that a pass is
	// working on.
	pendingSince, inFlight sync.Map
	// deletedWith is how objects were deleted, by name: the finalizers that say so may go before a pass observes them.
	deletedWith sync.Map
}

// deletion is how an object was deleted.
type deletion struct {
	uid    types.UID
	policy metav1.DeletionPropagation
}

// DeletedWith is how the object of that name and UID was deleted, as far as its finalizers have said so; empty otherwise.
func (s *ResourceCache) DeletedWith(name string, uid types.UID) metav1.DeletionPropagation {
	if found, ok := s.deletedWith.Load(name); ok && found.(deletion).uid == uid {
		return found.(deletion).policy
	}
	return ""
}

// NotePending notes that a change waits for a pass, since now if none waits already.
func (s *ResourceCache) NotePending(name string) {
	s.pendingSince.LoadOrStore(name, s.Objects.clock.Now())
}

// TakePending returns since when a change waits, zero for none, at the begin of the pass that works on it. Done follows.
func (s *ResourceCache) TakePending(name string) time.Time {
	since, _ := s.pendingSince.LoadAndDelete(name)
	at, _ := since.(time.Time)
	if !at.IsZero() {
		s.inFlight.Store(name, at)
	}
	return at
}

// Done ends the pass that TakePending has begun.
func (s *ResourceCache) Done(name string) { s.inFlight.Delete(name) }

// RangePending calls visit for each change that no pass has completed, until it returns false.
func (s *ResourceCache) RangePending(visit func(name string, since time.Time) bool) {
	for _, changes := range []*sync.Map{&s.pendingSince, &s.inFlight} {
		changes.Range(func(name, since any) bool { return visit(name.(string), since.(time.Time)) })
	}
}

// RequeuePending puts back a change that a pass took and could not complete.
func (s *ResourceCache) RequeuePending(name string, since time.Time) {
	if !since.IsZero() {
		s.pendingSince.Store(name, since)
	}
}

// ListErrorLifetime is how long it is told that a side refuses to list a resource: the informer asks again twice a minute at least.
const ListErrorLifetime = 2 * time.Minute

// MaxListFailures is how often a list fails before that is reported, within about half a minute.
const MaxListFailures = 6

// RecordListError notes how a list or a watch has failed, and returns what is to be reported of that; empty for nothing. That the
// resource is forbidden is reported at once, any other answer about it after MaxListFailures. What may be an outage of the whole
// server is not reported of a resource.
func (s *ResourceCache) RecordListError(err error, where string, now time.Time) (why string) {
	if now.Sub(s.failedAt) > ListErrorLifetime {
		s.failures = 0
	}
	s.failedAt = now
	verb := "refuses"
	if _, kind := rejection.Classify(err); kind == rejection.Transient || apierrors.IsNotFound(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		s.failures = 0
		s.ListError.Store(nil)
		return ""
	} else if !apierrors.IsForbidden(err) {
		verb = "fails"
		if s.failures++; s.failures < MaxListFailures {
			return ""
		}
	}
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return "" // it is not an answer of an API server
	}
	why = fmt.Sprintf("the %s %s to list it in an assigned Namespace: %s", where, verb, rejection.Clip(answer.Status().Message))
	s.ListError.Store(&why)
	return why
}

// New prepares the informer of a resource in a Namespace, of all objects if fieldSelector is empty.
func New(client dynamic.Interface, gvr schema.GroupVersionResource, namespace string, clock clock.PassiveClock, fieldSelector string) *ResourceCache {
	c := client.Resource(gvr).Namespace(namespace)
	s := &ResourceCache{Client: c}
	listWatch := &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = fieldSelector
			list, err := c.List(ctx, options)
			s.health.recordList(ctx, err, clock.Now())
			if err != nil {
				s.failed(ctx, err)
				return nil, err
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = fieldSelector
			events, err := c.Watch(ctx, options)
			s.health.recordWatch(ctx, err, clock.Now())
			if err != nil {
				s.failed(ctx, err)
			}
			return events, err
		},
	}
	// A shared informer would buffer 1,024 events for each handler, which takes 16 KiB, and there are two informers for each
	// resource in each assigned Namespace.
	store, informer := toolscache.NewInformerWithOptions(toolscache.InformerOptions{
		ListerWatcher: toolscache.ToListWatcherWithWatchListSemantics(listWatch, client),
		ObjectType:    &unstructured.Unstructured{},
		Handler:       s.EventHandler(),
		Transform:     Pack,
	})
	s.informer, s.HasSynced, s.Objects = informer, informer.HasSynced, NewAssumed(store, clock)
	return s
}

// OnChange calls notify with the name of every object that changes otherwise than by what we wrote ourselves. atStart tells of
// one that is in the first list. It is called before Run, and notify must not block.
func (s *ResourceCache) OnChange(notify func(name string, atStart bool)) { s.notify = notify }

// OnError calls report with the error of every list that fails, and of every watch that cannot be started. It is called before
// Run.
func (s *ResourceCache) OnError(report func(error)) { s.reportError = report }

// Run lists and watches until ctx ends.
func (s *ResourceCache) Run(ctx context.Context) {
	// Errors are reported by OnError; the informer would also write each into the log.
	s.informer.RunWithContext(klog.NewContext(ctx, logr.Discard()))
}

// WaitForSync waits until everything has been listed, and returns false if ctx ends before that.
func (s *ResourceCache) WaitForSync(ctx context.Context) bool {
	return toolscache.WaitFor(ctx, "", s.informer.HasSyncedChecker())
}

// failed reports that a request of the informer has failed, unless it was cancelled together with the informer.
func (s *ResourceCache) failed(ctx context.Context, err error) {
	if s.reportError != nil && ctx.Err() == nil {
		s.reportError(err)
	}
}

// EventHandler is what the informer calls after each change of its store.
func (s *ResourceCache) EventHandler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    s.changed,
		UpdateFunc: func(_, object any) { s.changed(object, false) },
		DeleteFunc: func(object any) {
			if key, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
				s.Objects.Forget(key)
				_, name, _ := toolscache.SplitMetaNamespaceKey(key)
				s.deletedWith.Delete(name)
				s.notifyOf(name, false)
			}
		},
	}
}

func (s *ResourceCache) changed(object any, atStart bool) {
	o, ok := object.(*packed)
	if !ok {
		return
	}
	if o.deletedWith != "" {
		s.deletedWith.Store(o.name, deletion{o.uid, o.deletedWith})
	}
	if s.Objects.delivered(o.namespace.Value()+"/"+o.name, o.version) {
		s.notifyOf(o.name, atStart)
	}
}

func (s *ResourceCache) notifyOf(name string, atStart bool) {
	if s.notify != nil {
		s.notify(name, atStart)
	}
}

// Names of everything that the informer knows.
func (s *ResourceCache) Names() []string {
	var names []string
	for _, key := range s.Objects.Keys() {
		_, name, _ := toolscache.SplitMetaNamespaceKey(key)
		names = append(names, name)
	}
	return names
}
