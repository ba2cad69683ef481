package resource

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
	"k8s.io/client-go/tools/cache"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Upstream is the SyncTarget in kcp; its errors wrap the API server's.
type Upstream interface {
	Get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error)
	PatchStatus(ctx context.Context, patch []byte) error
}

// newTargetInformer watches the one SyncTarget that we act for.
func (e *Engine) newTargetInformer() cache.SharedIndexInformer {
	client := e.up.Resource(workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets"))
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, e.owner.Name).String()
	return cache.NewSharedIndexInformerWithOptions(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			return client.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return client.Watch(ctx, options)
		},
	}, &unstructured.Unstructured{}, cache.SharedIndexInformerOptions{ObjectDescription: "SyncTarget"})
}

// current is the SyncTarget as the cache shows it; nil if it does not, or shows another of the same name: then nothing
// is begun and nothing is ended.
func (e *Engine) current() *workloadv1alpha1.SyncTarget {
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

// factLife is how long it is acted upon what kcp has said of the SyncTarget: of many objects that go at once, few ask.
const factLife = 2 * time.Second

// fact is the SyncTarget as kcp itself has shown it, not to be changed.
type fact struct {
	target *workloadv1alpha1.SyncTarget
	at     time.Time
}

// ask reads the SyncTarget from kcp itself.
func (e *Engine) ask(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	at := e.clock.Now()
	live, err := e.target.Get(ctx)
	if err == nil {
		e.fact.Store(&fact{live, at})
	}
	return live, err
}

// lately returns what kcp has said no longer than factLife ago, and otherwise asks, for all who want to know it now.
func (e *Engine) lately(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	if f := e.fact.Load(); f != nil && e.clock.Since(f.at) < factLife {
		return f.target, nil
	}
	live, err, _ := e.asking.Do("", func() (any, error) { return e.ask(ctx) })
	if err != nil {
		return nil, err
	}
	return live.(*workloadv1alpha1.SyncTarget), nil
}

// endOf tells how a Namespace is to end, by what kcp itself has said; nil if it is not.
func (e *Engine) endOf(live *workloadv1alpha1.SyncTarget, namespace string) *closing {
	if string(live.UID) != e.owner.UID || slices.Contains(live.Status.DrainedNamespaces, namespace) {
		return nil // of another it is no word about ours, and what has been left has nothing to end
	}
	for _, n := range live.Status.Namespaces {
		if n.Name == namespace && n.State == workloadv1alpha1.NamespaceClosing {
			return &closing{orphan: live.DeletionTimestamp != nil && live.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan}
		}
	}
	return nil
}

// reportDrained says, or takes back, that nothing of ours is left in a Namespace. It is said only of one that is closing.
func (e *Engine) reportDrained(ctx context.Context, namespace string, drained bool) error {
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
	return e.patchTarget(ctx, live, map[string]any{"drainedNamespaces": names})
}

// patchTarget sets fields of the SyncTarget's status that are ours, unless it changed since it was read.
func (e *Engine) patchTarget(ctx context.Context, read *workloadv1alpha1.SyncTarget, fields map[string]any) error {
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
