package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/mapping"
)

// Counterpart returns what a Namespace of the workspace becomes in the physical cluster, in the order to apply it.
func Counterpart(c Config, namespace string) []client.Object {
	name := mapping.Namespace(c.key(), namespace)
	place := &corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: c.meta("", name)}
	binding := &rbacv1.RoleBinding{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "RoleBinding"), ObjectMeta: c.meta(name, DeploymentName),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: syncRole(c.namespace())},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: DeploymentName, Namespace: c.namespace()}},
	}
	for _, object := range []client.Object{place, binding} {
		object.GetAnnotations()[workloadv1alpha1.AnnotationNamespace] = namespace
	}
	return []client.Object{place, binding}
}

// isCounterpart tells what Counterpart builds from the rest of what is installed.
func isCounterpart(object metav1.Object) bool {
	return object.GetAnnotations()[workloadv1alpha1.AnnotationNamespace] != ""
}

// sameSource tells whether two counterparts stand for the same Namespace of the same workspace and SyncTarget.
func sameSource(live, desired metav1.Object) bool {
	for _, name := range []string{workloadv1alpha1.AnnotationNamespace, workloadv1alpha1.AnnotationWorkspace, workloadv1alpha1.AnnotationSyncTarget} {
		if live.GetAnnotations()[name] != desired.GetAnnotations()[name] {
			return false
		}
	}
	return true
}

// Counterparts are the Namespaces in the physical cluster that stand for opened ones.
type Counterparts struct {
	Client client.Client
	// Key of the SyncTarget.
	Key string
	// Kinds are synced beside those that are by default, as the physical cluster serves them.
	Kinds []schema.GroupVersionKind
}

// Remove takes what the syncer has not removed itself: the copies, and the Namespaces that hold nothing else. With orphan
// they stay, without our marks and without our rights in them. It may be called again after any failure; waiting and done
// are those of the function Remove.
//
// Of what is not ours it looks for the resources that are synced, and for Pods. A Namespace that holds any is left standing.
func (p Counterparts) Remove(ctx context.Context, orphan bool) (waiting string, done bool, err error) {
	counterparts, err := p.list(ctx)
	if err != nil {
		return "", false, err
	}
	for i := range counterparts {
		left, err := p.remove(ctx, &counterparts[i], orphan)
		if err != nil {
			return "", false, err
		}
		if left != nil {
			waiting = describe(left) + " is still being deleted" + because(left)
		}
	}
	return waiting, waiting == "", nil
}

// Strays returns the counterparts of Namespaces that are not known.
func (p Counterparts) Strays(ctx context.Context, known func(namespace string) bool) ([]metav1.PartialObjectMetadata, error) {
	counterparts, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(counterparts, func(c metav1.PartialObjectMetadata) bool {
		return c.DeletionTimestamp != nil || known(c.Annotations[workloadv1alpha1.AnnotationNamespace])
	}), nil
}

// Clear takes a counterpart away that stands for nothing any more. What is in it stays: copies of ours stay ours, for a
// syncer that comes back to them, and what is of others keeps the Namespace, without our marks.
func (p Counterparts) Clear(ctx context.Context, counterpart *metav1.PartialObjectMetadata) error {
	copies, foreign, err := p.contents(ctx, counterpart)
	if err != nil || len(copies) > 0 {
		return err
	}
	live, err := get(ctx, p.Client, counterpart)
	if err != nil || live == nil || live.GetUID() != counterpart.UID {
		return err
	}
	if foreign {
		return p.letGo(ctx, live)
	}
	_, err = discard(ctx, p.Client, live, "")
	return err
}

func (p Counterparts) list(ctx context.Context) ([]metav1.PartialObjectMetadata, error) {
	var namespaces metav1.PartialObjectMetadataList
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := p.Client.List(ctx, &namespaces, client.MatchingLabels{workloadv1alpha1.LabelKey: p.Key}); err != nil {
		return nil, fmt.Errorf("listing what the syncer has made: %w", err)
	}
	counterparts := slices.DeleteFunc(namespaces.Items, func(n metav1.PartialObjectMetadata) bool { return !isCounterpart(&n) })
	for i := range counterparts {
		counterparts[i].SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	}
	return counterparts, nil
}

func (p Counterparts) remove(ctx context.Context, counterpart *metav1.PartialObjectMetadata, orphan bool) (*unstructured.Unstructured, error) {
	live, err := get(ctx, p.Client, counterpart)
	if err != nil || live == nil || live.GetUID() != counterpart.UID {
		return nil, err
	}
	if live.GetDeletionTimestamp() != nil {
		return discard(ctx, p.Client, live, "")
	}
	copies, foreign, err := p.contents(ctx, counterpart)
	if err != nil {
		return nil, err
	}
	if !orphan && !foreign {
		return discard(ctx, p.Client, live, "") // the copies go with their Namespace
	}
	for _, object := range copies {
		if orphan {
			err = p.orphan(ctx, object)
		} else {
			err = p.delete(ctx, object)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, p.letGo(ctx, live)
}

// contents are the copies in a counterpart, and whether there is something of others too.
func (p Counterparts) contents(ctx context.Context, counterpart *metav1.PartialObjectMetadata) (copies []*metav1.PartialObjectMetadata, foreign bool, err error) {
	defaults := append(mapping.DefaultKinds(), mapping.BareKinds()...)
	for i, gvk := range slices.Concat(defaults, p.Kinds) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		err := p.Client.List(ctx, list, client.InNamespace(counterpart.Name))
		if i >= len(defaults) && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err)) {
			continue // of what we may not do ourselves, we gave the syncer no right: there are no copies
		}
		if err != nil {
			return nil, false, fmt.Errorf("listing %s in Namespace %q: %w", gvk.Kind, counterpart.Name, err)
		}
		for i := range list.Items {
			object := &list.Items[i]
			object.SetGroupVersionKind(gvk)
			switch {
			case mapping.IsCopy(object, p.Key):
				copies = append(copies, object)
			case len(object.OwnerReferences) == 0 && !mapping.IsFixture(gvk.Kind, object.Name):
				foreign = true
			}
		}
	}
	return copies, foreign, nil
}

func (p Counterparts) delete(ctx context.Context, object *metav1.PartialObjectMetadata) error {
	err := p.Client.Delete(ctx, object, client.Preconditions{UID: &object.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %s: %w", describe(object), err)
	}
	return nil
}

// orphan leaves a copy to whoever runs the physical cluster. A later SyncTarget of this name must not take it for its own.
func (p Counterparts) orphan(ctx context.Context, object *metav1.PartialObjectMetadata) error {
	ours := func(name string) bool { return strings.HasPrefix(name, workloadv1alpha1.GroupName+"/") }
	return p.unmark(ctx, object, ours, ours)
}

// letGo leaves a counterpart standing, without our rights in it. Its annotations stay: by them it is found again when the
// Namespace is opened anew.
func (p Counterparts) letGo(ctx context.Context, live *unstructured.Unstructured) error {
	binding, err := get(ctx, p.Client, reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), live.GetName(), DeploymentName))
	if err != nil {
		return err
	}
	if binding != nil && isCounterpart(binding) {
		if _, err := discard(ctx, p.Client, binding, ""); err != nil {
			return err
		}
	}
	marks := []string{workloadv1alpha1.LabelKey, workloadv1alpha1.LabelUID, "app.kubernetes.io/managed-by"}
	return p.unmark(ctx, live, func(name string) bool { return slices.Contains(marks, name) }, func(string) bool { return false })
}

// unmark takes labels and annotations off an object, unless it was replaced meanwhile.
func (p Counterparts) unmark(ctx context.Context, object client.Object, label, annotation func(string) bool) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": object.GetUID(), "labels": nulls(object.GetLabels(), label), "annotations": nulls(object.GetAnnotations(), annotation),
	}})
	if err != nil {
		return err
	}
	err = p.Client.Patch(ctx, object.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, patch))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("taking our marks off %s: %w", describe(object), err)
	}
	return nil
}

// nulls is what a merge patch takes out.
func nulls(in map[string]string, chosen func(string) bool) map[string]any {
	out := map[string]any{}
	for name := range in {
		if chosen(name) {
			out[name] = nil
		}
	}
	return out
}
