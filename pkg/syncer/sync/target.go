package sync

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Upstream is the SyncTarget in kcp; its errors wrap the API server's.
type Upstream interface {
	Get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error)
	PatchStatus(ctx context.Context, patch []byte) error
}

// newTargetInformer watches the SyncTarget that this syncer acts for.
func (e *Controller) newTargetInformer() toolscache.SharedIndexInformer {
	client := e.up.Resource(workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets"))
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, e.owner.Name).String()
	return toolscache.NewSharedIndexInformerWithOptions(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			return client.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return client.Watch(ctx, options)
		},
	}, &unstructured.Unstructured{}, toolscache.SharedIndexInformerOptions{ObjectDescription: "SyncTarget"})
}

// cachedTarget is the SyncTarget as the cache shows it. It is nil if the cache shows none, or another one of the same name: then
// nothing is started and nothing is ended.
func (e *Controller) cachedTarget() *workloadv1alpha1.SyncTarget {
	for _, object := range e.targets.GetStore().List() {
		var target workloadv1alpha1.SyncTarget
		o, ok := object.(*unstructured.Unstructured)
		if !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &target) != nil {
			continue
		}
		if string(target.UID) == e.owner.UID {
			return &target
		}
	}
	return nil
}

// targetReadLifetime is how long a live read of the SyncTarget is used: many objects that are removed at once share a read.
const targetReadLifetime = 2 * time.Second

// targetRead is a live read of the SyncTarget, which is not changed.
type targetRead struct {
	target *workloadv1alpha1.SyncTarget
	at     time.Time
}

// readTarget reads the SyncTarget live.
func (e *Controller) readTarget(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	at := e.clock.Now()
	live, err := e.target.Get(ctx)
	if err == nil {
		e.lastRead.Store(&targetRead{live, at})
	}
	return live, err
}

// recentTarget returns a live read that is not older than targetReadLifetime. Passes that need one at the same time share it.
func (e *Controller) recentTarget(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	if f := e.lastRead.Load(); f != nil && e.clock.Since(f.at) < targetReadLifetime {
		return f.target, nil
	}
	live, err, _ := e.readGroup.Do("", func() (any, error) { return e.readTarget(ctx) })
	if err != nil {
		return nil, err
	}
	return live.(*workloadv1alpha1.SyncTarget), nil
}

// drainOf returns how a Namespace is to be drained by a live read of the SyncTarget; nil if it is not to be drained.
func (e *Controller) drainOf(live *workloadv1alpha1.SyncTarget, namespace string) *drain {
	if string(live.UID) != e.owner.UID || slices.Contains(live.Status.DrainedNamespaces, namespace) {
		return nil // another SyncTarget says nothing about ours, and a drained Namespace has nothing left to remove
	}
	for _, n := range live.Status.Namespaces {
		if n.Name == namespace && n.State == workloadv1alpha1.NamespaceClosing {
			return &drain{orphan: live.DeletionTimestamp != nil && live.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan}
		}
	}
	return nil
}

// writeDrained writes changes of status.drainedNamespaces in one patch: true adds a Namespace, and false removes it. It
// returns the Namespaces that were not added, since kcp shows that they are not closing.
func (e *Controller) writeDrained(ctx context.Context, changes map[string]bool) (notClosing []string, err error) {
	live, err := e.target.Get(ctx)
	if err != nil {
		return nil, err
	}
	if string(live.UID) != e.owner.UID {
		return slices.Collect(maps.Keys(changes)), nil
	}
	drained, notClosing := applyDrained(live.Status, changes)
	if slices.Equal(drained, live.Status.DrainedNamespaces) {
		return notClosing, nil
	}
	return notClosing, e.patchTargetStatus(ctx, live, map[string]any{"drainedNamespaces": drained})
}

// applyDrained returns status.drainedNamespaces with these changes, and the Namespaces that were not added since they
// are not closing.
func applyDrained(status workloadv1alpha1.SyncTargetStatus, changes map[string]bool) (drained, notClosing []string) {
	closing := map[string]bool{}
	for _, n := range status.Namespaces {
		closing[n.Name] = n.State == workloadv1alpha1.NamespaceClosing
	}
	names := sets.New(status.DrainedNamespaces...)
	for name, isDrained := range changes {
		switch {
		case !isDrained:
			names.Delete(name)
		case closing[name]:
			names.Insert(name)
		default:
			notClosing = append(notClosing, name)
		}
	}
	return sets.List(names), notClosing
}

// patchTargetStatus sets fields of the SyncTarget's status that are ours, unless it changed since it was read.
func (e *Controller) patchTargetStatus(ctx context.Context, read *workloadv1alpha1.SyncTarget, fields map[string]any) error {
	patch := []map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": types.UID(e.owner.UID)},
		{"op": "test", "path": "/metadata/resourceVersion", "value": read.ResourceVersion},
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		patch = append(patch, map[string]any{"op": "add", "path": "/status/" + name, "value": fields[name]})
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return e.target.PatchStatus(ctx, body)
}
