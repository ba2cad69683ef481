package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// get reads what object names; nil means that there is none.
func get(ctx context.Context, c client.Client, object client.Object) (*unstructured.Unstructured, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(object.GetObjectKind().GroupVersionKind())
	err := c.Get(ctx, client.ObjectKeyFromObject(object), live)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", describe(object), err)
	}
	return live, nil
}

// discard deletes an object of ours, if nobody has, and then takes our finalizer off it. A crash in between leaves an
// object that is being deleted and still held: the next pass finds it and lets go. It returns what is left, nil for
// nothing.
func discard(ctx context.Context, c client.Client, live *unstructured.Unstructured, hold string) (*unstructured.Unstructured, error) {
	if live.GetDeletionTimestamp() == nil {
		log.FromContext(ctx).Info("Deleting", "object", describe(live))
		err := c.Delete(ctx, live, client.Preconditions{UID: ptr.To(live.GetUID())}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("deleting %s: %w", describe(live), err)
		}
	}
	if err := removeFinalizer(ctx, c, live, hold); err != nil {
		return nil, fmt.Errorf("taking finalizer %q off %s: %w", hold, describe(live), err)
	}
	// Most are gone at once; a Namespace takes its time, and somebody else's finalizer may hold any of them.
	left, err := get(ctx, c, live)
	if err != nil || left == nil || left.GetUID() != live.GetUID() {
		return nil, err
	}
	return left, nil
}

// removeFinalizer takes one finalizer off an object. The patch tests that it is the object that was read, and that the
// finalizer stands where it stood: those of others are never touched.
func removeFinalizer(ctx context.Context, c client.Client, live *unstructured.Unstructured, finalizer string) error {
	at := slices.Index(live.GetFinalizers(), finalizer)
	if at < 0 {
		return nil
	}
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	path := fmt.Sprintf("/metadata/finalizers/%d", at)
	patch, err := json.Marshal([]operation{
		{Op: "test", Path: "/metadata/uid", Value: live.GetUID()},
		{Op: "test", Path: path, Value: finalizer},
		{Op: "remove", Path: path},
	})
	if err != nil {
		return err
	}
	return client.IgnoreNotFound(c.Patch(ctx, live.DeepCopy(), client.RawPatch(types.JSONPatchType, patch)))
}
