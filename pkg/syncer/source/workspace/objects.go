package workspace

import (
	"context"
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// Objects are the objects of one resource in one Namespace of the workspace. They carry our finalizer and annotation
// themselves.
type Objects struct {
	*cache.ResourceCache
	// Metadata lists them without their content.
	Metadata metadata.ResourceInterface
	// Key is that of the SyncTarget.
	Key string
}

var _ source.Objects = &Objects{}

// Cache is what a watch has shown of the objects.
func (o *Objects) Cache() *cache.ResourceCache { return o.ResourceCache }

// Read reads an object live. It is Deleted only if the answer names it: a 404 may also mean that its API is not served.
func (o *Objects) Read(ctx context.Context, name string) (*unstructured.Unstructured, source.Existence, error) {
	live, err := o.Client.Get(ctx, name, metav1.GetOptions{})
	switch {
	case rejection.IsNotFound(err, name):
		return nil, source.Deleted, nil
	case err != nil:
		return nil, source.Unknown, err
	}
	return live, source.Exists, nil
}

// ListMetadata lists the objects without their content.
func (o *Objects) ListMetadata(ctx context.Context, options metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	return o.Metadata.List(ctx, options)
}

// AddFinalizer puts our finalizer on the object, also if it is there as far as is known: the server compares versions.
func (o *Objects) AddFinalizer(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	finalizer := workloadv1alpha1.SyncerFinalizer(o.Key)
	finalizers := slices.Clone(object.GetFinalizers())
	if !slices.Contains(finalizers, finalizer) {
		finalizers = append(finalizers, finalizer)
	}
	return o.patchMetadata(ctx, object, map[string]any{"finalizers": finalizers, "resourceVersion": object.GetResourceVersion()})
}

// Release takes our finalizer off the object, and replaces or removes the annotation.
func (o *Objects) Release(ctx context.Context, object *unstructured.Unstructured, report string) (*unstructured.Unstructured, error) {
	finalizer := workloadv1alpha1.SyncerFinalizer(o.Key)
	metadata := map[string]any{
		"finalizers":      slices.DeleteFunc(slices.Clone(object.GetFinalizers()), func(f string) bool { return f == finalizer }),
		"annotations":     o.annotations(report),
		"resourceVersion": object.GetResourceVersion(),
	}
	released, err := o.patchMetadata(ctx, object, metadata)
	if rejection.IsNotFound(err, object.GetName()) {
		return nil, nil
	}
	return released, err
}

// WriteReport replaces the annotation.
func (o *Objects) WriteReport(ctx context.Context, object *unstructured.Unstructured, report string) (*unstructured.Unstructured, error) {
	return o.patchMetadata(ctx, object, map[string]any{"annotations": o.annotations(report)})
}

// annotations are a report in the form of a merge patch.
func (o *Objects) annotations(report string) map[string]any {
	name := workloadv1alpha1.SyncAnnotation(o.Key)
	if report == "" {
		return map[string]any{name: nil}
	}
	return map[string]any{name: report}
}

// patchMetadata changes the metadata of the object of that UID.
func (o *Objects) patchMetadata(ctx context.Context, object *unstructured.Unstructured, metadata map[string]any) (*unstructured.Unstructured, error) {
	metadata["uid"] = string(object.GetUID())
	return o.patch(ctx, object, types.MergePatchType, map[string]any{"metadata": metadata})
}

// WriteStatus replaces the status.
func (o *Objects) WriteStatus(ctx context.Context, object *unstructured.Unstructured, status any) (*unstructured.Unstructured, error) {
	return o.patch(ctx, object, types.JSONPatchType, []map[string]any{testUID(object), {"op": "add", "path": "/status", "value": status}}, "status")
}

// RemoveStatus removes a status that a live read shows to be written by a syncer.
func (o *Objects) RemoveStatus(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	live, existence, err := o.Read(ctx, object.GetName())
	if err != nil || existence == source.Deleted || !naming.HasStatusFromSyncer(live) {
		return object, err
	}
	return o.patch(ctx, object, types.JSONPatchType, []map[string]any{testUID(object), {"op": "remove", "path": "/status"}}, "status")
}

func testUID(object *unstructured.Unstructured) map[string]any {
	return map[string]any{"op": "test", "path": "/metadata/uid", "value": string(object.GetUID())}
}

func (o *Objects) patch(ctx context.Context, object *unstructured.Unstructured, kind types.PatchType, patch any, subresource ...string) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	return o.Client.Patch(ctx, object.GetName(), kind, body, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer}, subresource...)
}
