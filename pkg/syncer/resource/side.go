package resource

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// side is one resource in one Namespace of one server.
type side struct {
	client   dynamic.ResourceInterface
	informer cache.SharedIndexInformer
	// listed tells whether the informer has ever listed everything, and barred how the server has last kept it from that, before
	// or since; nil where it has not, or did not answer.
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
