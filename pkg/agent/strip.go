package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

// AsSyncer is a config of the workspace with a token of the syncer.
func (c *Config) AsSyncer(token []byte) *rest.Config {
	return &rest.Config{Host: c.KcpURL, BearerToken: string(token), TLSClientConfig: rest.TLSClientConfig{CAData: c.KcpCA}, QPS: -1}
}

// ErrUnfinished tells that there was more to strip than time for it, and that there is less now.
var ErrUnfinished = errors.New("there is more to do than time for it")

// Strip takes the syncer's finalizer and report off everything in a Namespace of the workspace, in the place of a syncer
// that is gone. The config of the workspace is AsSyncer, or that of a user whom Admit has let in. What fails keeps nothing
// else from being stripped, but for a config that is no longer good. The error is ErrUnfinished where the time of ctx has ended
// and something was stripped.
func Strip(ctx context.Context, c Config, as *rest.Config, namespace string) error {
	workspace, err := client.New(as, client.Options{})
	if err != nil {
		return fmt.Errorf("making a client of the workspace: %w", err)
	}
	var failures []error
	stripped := 0
	for _, resource := range slices.Concat(c.Target.Spec.Synced(), c.Target.Leaving()) {
		if resource.Syncable() != nil {
			continue
		}
		done, err := stripResource(ctx, workspace, c.key(), schema.GroupResource(resource), namespace)
		stripped += done
		if failures = append(failures, err); apierrors.IsUnauthorized(err) || ctx.Err() != nil {
			break
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && stripped > 0 {
		return ErrUnfinished
	}
	return errors.Join(failures...)
}

// stripResource returns how many objects it has stripped.
func stripResource(ctx context.Context, workspace client.Client, key string, resource schema.GroupResource, namespace string) (stripped int, err error) {
	gvk, err := workspace.RESTMapper().KindFor(resource.WithVersion(""))
	if meta.IsNoMatchError(err) {
		return 0, nil // not served: there is nothing to hold
	}
	if err != nil {
		return 0, fmt.Errorf("finding out about %s: %w", resource, err)
	}
	var failures []error
	for next, more := "", true; more; more = next != "" {
		// Page by page: how much a tenant keeps in annotations must not be the controller's memory.
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err := workspace.List(ctx, list, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(next)); err != nil {
			return stripped, errors.Join(append(failures, fmt.Errorf("listing %s: %w", resource, err))...)
		}
		done, stop, err := stripPage(ctx, workspace, key, gvk, list.Items)
		stripped += done
		if failures = append(failures, err); stop {
			break
		}
		next = list.Continue
	}
	return stripped, errors.Join(failures...)
}

// stripPage strips the objects of one page and returns how many it has stripped. stop means that no other object of this
// resource can be stripped either.
func stripPage(ctx context.Context, workspace client.Client, key string, gvk schema.GroupVersionKind, page []metav1.PartialObjectMetadata) (stripped int, stop bool, err error) {
	var failures []error
	for i := range page {
		object := &page[i]
		object.SetGroupVersionKind(gvk)
		if !leaves(key, object) {
			continue
		}
		err := stripLatest(ctx, workspace, key, object)
		if err == nil || apierrors.IsNotFound(err) {
			stripped++
			continue
		}
		failures = append(failures, fmt.Errorf("taking the syncer's finalizer and report off %s: %w", describe(object), err))
		if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) || ctx.Err() != nil {
			return stripped, true, errors.Join(failures...)
		}
	}
	return stripped, false, errors.Join(failures...)
}

// leaves tells whether a syncer has left anything on an object: of what is refused it reports, and does not hold it.
func leaves(key string, object *metav1.PartialObjectMetadata) bool {
	_, told := object.Annotations[workloadv1alpha1.SyncAnnotation(key)]
	return told || slices.Contains(object.Finalizers, workloadv1alpha1.SyncerFinalizer(key))
}

// stripLatest strips an object, read again where it has changed: a syncer that lives may still be at it.
func stripLatest(ctx context.Context, workspace client.Client, key string, object *metav1.PartialObjectMetadata) error {
	err := stripObject(ctx, workspace, key, object)
	if !apierrors.IsConflict(err) {
		return err
	}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := workspace.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		return stripObject(ctx, workspace, key, object)
	})
}

// clearStatus takes off the status that the syncer has written: what it tells of is followed no more. That a Job has run stays
// so. A status that the workspace does not let go keeps nothing else from being stripped.
func clearStatus(ctx context.Context, workspace client.Client, key string, object *metav1.PartialObjectMetadata) error {
	ours := slices.Contains(object.Finalizers, workloadv1alpha1.SyncerFinalizer(key)) && naming.HasStatusFromSyncer(object)
	if !ours || object.DeletionTimestamp != nil || naming.HasFinalizerOfOthers(object, key) {
		return nil
	}
	if naming.IsJob(object.GroupVersionKind().GroupKind()) {
		job, err := get(ctx, workspace, object)
		if err != nil || job == nil || naming.HasFinished(job) {
			return err
		}
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": object.UID},
		{"op": "remove", "path": "/status"},
	})
	if err != nil {
		return err
	}
	err = workspace.Status().Patch(ctx, object, client.RawPatch(types.JSONPatchType, patch))
	var answer apierrors.APIStatus
	switch {
	case err == nil, !errors.As(err, &answer):
		return err
	case apierrors.IsUnauthorized(err), apierrors.IsConflict(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return err // another attempt may have another answer
	}
	return nil
}

// stripObject takes what a syncer has left off an object, unless it has changed since it was read.
func stripObject(ctx context.Context, workspace client.Client, key string, object *metav1.PartialObjectMetadata) error {
	if !leaves(key, object) {
		return nil
	}
	log.FromContext(ctx).Info("Taking the syncer's finalizer and report off", "object", describe(object))
	if err := clearStatus(ctx, workspace, key, object); err != nil {
		return fmt.Errorf("clearing its status: %w", err)
	}
	changed := object.DeepCopy()
	changed.Finalizers = slices.DeleteFunc(changed.Finalizers, func(f string) bool { return f == workloadv1alpha1.SyncerFinalizer(key) })
	delete(changed.Annotations, workloadv1alpha1.SyncAnnotation(key))
	return workspace.Patch(ctx, changed, client.MergeFromWithOptions(object, client.MergeFromWithOptimisticLock{}))
}
