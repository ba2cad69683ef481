package installation

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// watchTimeout is how long a watch is asked to last, up to twice that. An informer would begin it anew every 5 to 10 minutes, and
// there is one in each downstream Namespace, in which hardly ever anything changes.
const watchTimeout = 30 * time.Minute

// objectWatch watches one object by name.
type objectWatch struct {
	object   options.InstalledObject
	store    toolscache.Store
	informer toolscache.Controller
	stop     context.CancelFunc
	// refusal is the HTTP status code by which the cluster refused the last list or watch; 0 if it did not.
	refusal atomic.Int64
	// changed is called after each change of what state returns.
	changed func()
}

// startWatch watches an object until ctx ends, or stop is called.
func startWatch(ctx context.Context, client metadata.Interface, object options.InstalledObject, changed func()) *objectWatch {
	w := &objectWatch{object: object, changed: changed}
	resource := client.Resource(schema.GroupVersionResource{Group: object.Group, Version: "v1", Resource: object.Resource}).Namespace(object.Namespace)
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, object.Name).String()
	listWatch := &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			list, err := resource.List(ctx, options)
			w.note(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			options.TimeoutSeconds = ptr.To(int64((watchTimeout + rand.N(watchTimeout)).Seconds()))
			events, err := resource.Watch(ctx, options)
			w.note(ctx, err)
			return events, err
		},
	}
	w.store, w.informer = toolscache.NewInformerWithOptions(toolscache.InformerOptions{
		ListerWatcher: toolscache.ToListWatcherWithWatchListSemantics(listWatch, client),
		ObjectType:    &metav1.PartialObjectMetadata{},
		Transform:     strip,
		Handler: toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() }, DeleteFunc: func(any) { changed() },
		},
	})
	ctx, w.stop = context.WithCancel(ctx)
	// What is refused is reported; the informer would also write it into the log.
	go w.informer.RunWithContext(klog.NewContext(ctx, logr.Discard()))
	go func() {
		if toolscache.WaitFor(ctx, "", w.informer.HasSyncedChecker()) {
			changed() // there may be no such object, and no event
		}
	}()
	return w
}

// note takes in how a list or a watch has ended. That there was no answer, or a failure, says nothing of the object.
func (w *objectWatch) note(ctx context.Context, err error) {
	var refusal int64
	switch {
	case ctx.Err() != nil:
		return
	case apierrors.IsUnauthorized(err):
		refusal = http.StatusUnauthorized
	case apierrors.IsForbidden(err):
		refusal = http.StatusForbidden
	case err != nil:
		return
	}
	if w.refusal.Swap(refusal) != refusal {
		w.changed()
	}
}

// state returns what is seen of the object; known is false before the cluster has answered.
func (w *objectWatch) state() (s state, known bool) {
	s.object, s.refusal = w.object, int(w.refusal.Load())
	if s.refusal != 0 {
		return s, true
	}
	if !w.informer.HasSynced() {
		return s, false
	}
	key := toolscache.NewObjectName(w.object.Namespace, w.object.Name).String()
	if found, exists, err := w.store.GetByKey(key); err == nil && exists {
		object := found.(*metav1.PartialObjectMetadata)
		s.uid, s.version = object.UID, object.ResourceVersion
	}
	return s, true
}

// strip keeps of an object what is compared.
func strip(object any) (any, error) {
	full, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	return &metav1.PartialObjectMetadata{TypeMeta: full.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Namespace: full.Namespace, Name: full.Name, UID: full.UID, ResourceVersion: full.ResourceVersion,
	}}, nil
}
