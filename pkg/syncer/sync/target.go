package sync

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Upstream is the SyncTarget in kcp; its errors wrap the API server's.
type Upstream interface {
	Get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error)
	PatchStatus(ctx context.Context, patch []byte) error
}

// newTargetInformer watches the one SyncTarget that we act for.
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

// cachedTarget is the SyncTarget as the cache shows it; nil if it does not, or shows another of the same name: then nothing
// is begun and nothing is ended.
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

// targetReadLifetime is how long it is acted upon what kcp has said of the SyncTarget: of many objects that go at once, few ask.
const targetReadLifetime = 2 * time.Second

// targetRead is the SyncTarget as kcp itself has shown it, not to be changed.
type targetRead struct {
	target *workloadv1alpha1.SyncTarget
	at     time.Time
}

// readTarget reads the SyncTarget from kcp itself.
func (e *Controller) readTarget(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	at := e.clock.Now()
	live, err := e.target.Get(ctx)
	if err == nil {
		e.lastRead.Store(&targetRead{live, at})
	}
	return live, err
}

// recentTarget returns what kcp has said no longer than factLife ago, and otherwise asks, for all who want to know it now.
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

// drainOf tells how a Namespace is to end, by what kcp itself has said; nil if it is not.
func (e *Controller) drainOf(live *workloadv1alpha1.SyncTarget, namespace string) *drain {
	if string(live.UID) != e.owner.UID || slices.Contains(live.Status.DrainedNamespaces, namespace) {
		return nil // of another it is no word about ours, and what has been left has nothing to end
	}
	for _, n := range live.Status.Namespaces {
		if n.Name == namespace && n.State == workloadv1alpha1.NamespaceClosing {
			return &drain{orphan: live.DeletionTimestamp != nil && live.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan}
		}
	}
	return nil
}

// writeDrained says, or takes back, that nothing of ours is left in a Namespace. It is said only of one that is closing.
func (e *Controller) writeDrained(ctx context.Context, namespace string, drained bool) error {
	live, err := e.target.Get(ctx)
	if err != nil {
		return err
	}
	if drained && !slices.ContainsFunc(live.Status.Namespaces, func(n workloadv1alpha1.NamespaceStatus) bool {
		return n.Name == namespace && n.State == workloadv1alpha1.NamespaceClosing
	}) {
		return fmt.Errorf("reporting what is left in Namespace %q: it is closing no more", namespace)
	}
	names := slices.DeleteFunc(slices.Clone(live.Status.DrainedNamespaces), func(n string) bool { return n == namespace })
	if drained {
		names = append(names, namespace)
	}
	slices.Sort(names)
	if string(live.UID) != e.owner.UID || slices.Equal(names, live.Status.DrainedNamespaces) {
		return nil
	}
	return e.patchTargetStatus(ctx, live, map[string]any{"drainedNamespaces": names})
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
