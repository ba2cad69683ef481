package agent

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// ForeignError: an object of the name that we need belongs to somebody else. It is never taken over.
type ForeignError struct{ Object string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s already exists and does not belong to this SyncTarget; it is left as it is: delete it, or give the SyncTarget another name", e.Object)
}

// ResidueError: an object of ours is left from an earlier SyncTarget of the same name. RemoveResidue clears it.
type ResidueError struct{ Object string }

func (e *ResidueError) Error() string {
	return fmt.Sprintf("%s is left from an earlier SyncTarget of the same name", e.Object)
}

// TerminatingError: an object is still being deleted and cannot be applied before it is gone.
type TerminatingError struct{ Object string }

func (e *TerminatingError) Error() string {
	return fmt.Sprintf("%s is still being deleted; waiting for it to be gone", e.Object)
}

// Apply brings the objects to what they should be, by server-side apply, and returns how many it had to write: none
// when all is right. The client must read live. What others set beside our fields stays; what we no longer set goes.
//
// Errors: *ForeignError, *ResidueError, *TerminatingError, or what the API server answered.
func Apply(ctx context.Context, c client.Client, objects []client.Object, owner string) (changed int, err error) {
	newNamespace := false
	for _, object := range objects {
		desired, err := manifestOf(object)
		if err != nil {
			return changed, err
		}
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(desired.GroupVersionKind())
		found := false
		// In a Namespace that did not exist a moment ago nothing can stand in the way.
		if !newNamespace || desired.GetNamespace() == "" {
			if found, err = get(ctx, c, object, live); err != nil {
				return changed, err
			}
		}
		if found {
			if err := mayApply(object, live, desired); err != nil {
				return changed, err
			}
			if upToDate(live, desired) {
				continue
			}
		}
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(desired), client.ForceOwnership, client.FieldOwner(owner)); err != nil {
			return changed, fmt.Errorf("applying %s: %w", describe(object), err)
		}
		changed++
		if _, ok := object.(*corev1.Namespace); ok && !found {
			newNamespace = true
		}
	}
	return changed, nil
}

func get(ctx context.Context, c client.Client, object client.Object, into client.Object) (bool, error) {
	err := c.Get(ctx, client.ObjectKeyFromObject(object), into)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", describe(object), err)
	}
	return true, nil
}

// mayApply refuses what is not this SyncTarget's.
func mayApply(object client.Object, live, desired *unstructured.Unstructured) error {
	have, want := live.GetLabels(), desired.GetLabels()
	switch {
	case have[workloadv1alpha1.LabelKey] != want[workloadv1alpha1.LabelKey] || have[workloadv1alpha1.LabelUID] == "":
		return &ForeignError{describe(object)}
	case have[workloadv1alpha1.LabelUID] != want[workloadv1alpha1.LabelUID]:
		return &ResidueError{describe(object)}
	case live.GetDeletionTimestamp() != nil:
		return &TerminatingError{describe(object)}
	}
	return nil
}

// manifestOf is the object as it is applied, with the hash of itself as an annotation.
func manifestOf(object client.Object) (*unstructured.Unstructured, error) {
	manifest, err := toMap(object)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", describe(object), err)
	}
	sum := sha256.Sum256(data)
	desired := &unstructured.Unstructured{Object: manifest}
	annotations := desired.GetAnnotations()
	annotations[workloadv1alpha1.AnnotationAppliedHash] = fmt.Sprintf("%x", sum[:16])
	desired.SetAnnotations(annotations)
	return desired, nil
}

// toMap drops what typed structs print although nobody set it.
func toMap(object client.Object) (map[string]any, error) {
	manifest, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", describe(object), err)
	}
	delete(manifest, "status")
	unstructured.RemoveNestedField(manifest, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(manifest, "spec", "template", "metadata", "creationTimestamp")
	if object.GetObjectKind().GroupVersionKind().Kind == "Namespace" {
		delete(manifest, "spec")
	}
	return manifest, nil
}

// upToDate tells whether the last applied manifest was this one and nobody has changed what it says since.
func upToDate(live, desired *unstructured.Unstructured) bool {
	return live.GetAnnotations()[workloadv1alpha1.AnnotationAppliedHash] == desired.GetAnnotations()[workloadv1alpha1.AnnotationAppliedHash] &&
		contains(live.Object, desired.Object)
}

// contains tells whether everything in want stands in have too. Maps may hold more; lists may not, but their elements
// may, for servers fill in defaults there. Both sides come from JSON or from typed structs in canonical form.
func contains(have, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		if !ok {
			return len(want) == 0
		}
		for key, value := range want {
			if !contains(have[key], value) {
				return false
			}
		}
		return true
	case []any:
		have, ok := have.([]any)
		if !ok || len(have) != len(want) {
			return len(want) == 0 && !ok
		}
		for i := range want {
			if !contains(have[i], want[i]) {
				return false
			}
		}
		return true
	case nil:
		return have == nil
	default:
		return fmt.Sprint(have) == fmt.Sprint(want)
	}
}
