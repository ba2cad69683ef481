package placement

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

const fieldOwner = client.FieldOwner(workloadv1alpha1.FieldOwnerScheduler)

func keyOf(assignment *workloadv1alpha1.Assignment) types.NamespacedName {
	return types.NamespacedName{Namespace: assignment.Namespace, Name: assignment.Name}
}

// patchFinalizers changes the finalizers of a Placement that is as it was read, and returns it as it is then.
func patchFinalizers(ctx context.Context, upstream client.Client, before *workloadv1alpha1.Placement, finalizers []string) (*workloadv1alpha1.Placement, error) {
	after := before.DeepCopy()
	after.Finalizers = finalizers
	err := upstream.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), fieldOwner)
	if err != nil {
		return nil, fmt.Errorf("writing the finalizers of Placement %q: %w", before.Name, err)
	}
	return after, nil
}

func createAssignment(ctx context.Context, upstream client.Client, assignment *workloadv1alpha1.Assignment) error {
	if err := upstream.Create(ctx, assignment.DeepCopy(), fieldOwner); err != nil {
		return fmt.Errorf("creating the Assignment of Namespace %q to SyncTarget %q: %w",
			assignment.Spec.Namespace.Name, assignment.Annotations[workloadv1alpha1.AnnotationSyncTarget], err)
	}
	return nil
}

// patchAssignment changes the spec of an Assignment that is as it was read.
func patchAssignment(ctx context.Context, upstream client.Client, before, update *workloadv1alpha1.Assignment) error {
	after := before.DeepCopy()
	after.Spec = update.Spec
	if err := upstream.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), fieldOwner); err != nil {
		return fmt.Errorf("updating Assignment %q of Namespace %q: %w", keyOf(before), before.Spec.Namespace.Name, err)
	}
	return nil
}

// deleteAssignment takes our finalizer off an Assignment that is as it was read, and deletes it.
func deleteAssignment(ctx context.Context, upstream client.Client, before *workloadv1alpha1.Assignment) error {
	assignment := before.DeepCopy()
	if controllerutil.RemoveFinalizer(assignment, workloadv1alpha1.AssignmentFinalizer) {
		err := upstream.Patch(ctx, assignment, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), fieldOwner)
		if err != nil {
			return client.IgnoreNotFound(fmt.Errorf("releasing Assignment %q of Namespace %q: %w", keyOf(before), before.Spec.Namespace.Name, err))
		}
	}
	if before.DeletionTimestamp != nil {
		return nil
	}
	asRead := client.Preconditions{UID: ptr.To(assignment.UID), ResourceVersion: ptr.To(assignment.ResourceVersion)}
	if err := client.IgnoreNotFound(upstream.Delete(ctx, assignment, asRead)); err != nil {
		return fmt.Errorf("deleting Assignment %q of Namespace %q: %w", keyOf(assignment), assignment.Spec.Namespace.Name, err)
	}
	return nil
}

// patchPlacementStatus changes the status of a Placement that is as it was read. One that is gone needs none.
func patchPlacementStatus(ctx context.Context, upstream client.Client, before *workloadv1alpha1.Placement, status *workloadv1alpha1.PlacementStatus) error {
	after := before.DeepCopy()
	after.Status = *status
	changed, err := isChange(client.MergeFrom(before), after)
	if err != nil || !changed {
		return err
	}
	err = upstream.Status().Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), fieldOwner)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the status of Placement %q: %w", before.Name, err)
	}
	return nil
}

// isChange tells whether a patch changes anything.
func isChange(patch client.Patch, object client.Object) (bool, error) {
	data, err := patch.Data(object)
	if err != nil {
		return false, fmt.Errorf("comparing %T %q: %w", object, object.GetName(), err)
	}
	return string(data) != "{}", nil
}

// patchTargetStatus changes the fields of the status of a SyncTarget that are the scheduler's. It tests the UID alone: the syncer and
// the controller write the other fields all the time.
func patchTargetStatus(ctx context.Context, upstream client.Client, before *workloadv1alpha1.SyncTarget, status *workloadv1alpha1.SyncTargetStatus) error {
	after := before.DeepCopy()
	after.Status.Taints, after.Status.Assignments, after.Status.Drain = status.Taints, status.Assignments, status.Drain
	data, err := client.MergeFrom(before).Data(after)
	if err != nil {
		return fmt.Errorf("comparing the status of SyncTarget %q: %w", before.Name, err)
	}
	patch := map[string]any{}
	if err := json.Unmarshal(data, &patch); err != nil {
		return fmt.Errorf("comparing the status of SyncTarget %q: %w", before.Name, err)
	}
	if len(patch) == 0 {
		return nil
	}
	patch["metadata"] = map[string]any{"uid": before.UID}
	if data, err = json.Marshal(patch); err != nil {
		return fmt.Errorf("encoding the status of SyncTarget %q: %w", before.Name, err)
	}
	err = upstream.Status().Patch(ctx, after, client.RawPatch(types.MergePatchType, data), fieldOwner)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the taints and the counts of SyncTarget %q: %w", before.Name, err)
	}
	return nil
}

// patchAnnotation changes our annotation of a Namespace, by its UID. One that is gone needs none.
func patchAnnotation(ctx context.Context, upstream client.Client, annotation *scheduler.NamespaceAnnotation) error {
	var value any // null takes the annotation off
	if annotation.Value != "" {
		value = annotation.Value
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": annotation.UID, "annotations": map[string]any{workloadv1alpha1.AnnotationPlacement: value},
	}})
	if err != nil {
		return fmt.Errorf("encoding the annotation of Namespace %q: %w", annotation.Name, err)
	}
	namespace := namespaceMeta()
	namespace.Name = annotation.Name
	if err := client.IgnoreNotFound(upstream.Patch(ctx, namespace, client.RawPatch(types.MergePatchType, data), fieldOwner)); err != nil {
		return fmt.Errorf("annotating Namespace %q: %w", annotation.Name, err)
	}
	return nil
}
