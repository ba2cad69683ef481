package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

// DownstreamNamespaces are the Namespaces in the physical cluster that stand for opened ones. They are removed here alone, and only
// when they are seen to hold nothing of others.
type DownstreamNamespaces struct {
	Client client.Client
	// Key of the SyncTarget.
	Key string
	// Resources are all that may be in a Namespace, and Unknown why these may not be all; nil if they are.
	Resources []metav1.APIResource
	Unknown   error
	// Clean makes words fit to be told that repeat what the cluster calls things.
	Clean func(words string) string
	// Left is told, in a sentence, of each Namespace that is left standing for what is or may be in it of others.
	Left func(sentence string)
}

// Remove takes these downstream Namespaces away, or, where they hold something of others, the copies in them. With orphan the copies
// stay too, without our marks. Where a Namespace stays, our rights in it go. One that fails keeps no other from its end. It
// may be called again after any failure; waiting and done are those of the function Remove. ended is how many were dealt with
// that were not being deleted before.
func (p DownstreamNamespaces) Remove(ctx context.Context, namespaces []metav1.PartialObjectMetadata, orphan bool) (waiting string, ended int, done bool, err error) {
	s := &search{resources: p.Resources, unknown: p.Unknown}
	outcomes := make([]outcome, len(namespaces))
	var group errgroup.Group
	group.SetLimit(removers)
	for i := range namespaces {
		group.Go(func() error {
			outcomes[i] = p.remove(ctx, s, &namespaces[i], orphan)
			return nil
		})
	}
	_ = group.Wait()
	var failures []error
	for i, o := range outcomes {
		failures = append(failures, o.err)
		if o.waiting != "" {
			waiting = p.Clean(o.waiting)
		}
		if o.left != "" {
			p.Left(o.left)
		}
		if o.err == nil && namespaces[i].DeletionTimestamp == nil {
			ended++
		}
	}
	err = errors.Join(failures...)
	return waiting, ended, waiting == "" && err == nil, err
}

// removers is how many downstream Namespaces are removed at the same time: each needs a list of every resource.
const removers = 8

// outcome is what came of removing one downstream Namespace.
type outcome struct {
	// waiting says what is waited for, empty for nothing.
	waiting string
	// left says why the Namespace is left standing, empty if it is not.
	left string
	err  error
}

// search is what the removals of several downstream Namespaces share. A resource that was not listed in time is not asked for
// again.
type search struct {
	mu        sync.Mutex
	resources []metav1.APIResource
	unknown   error
}

// in lists everything in a downstream Namespace.
func (s *search) in(ctx context.Context, p DownstreamNamespaces, namespace string) contents {
	s.mu.Lock()
	p.Resources, p.Unknown = s.resources, s.unknown
	s.mu.Unlock()
	found := p.look(ctx, namespace)
	if found.late != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.resources = slices.DeleteFunc(slices.Clone(s.resources), func(r metav1.APIResource) bool { return !isListed(found.listed, r) })
		s.unknown = errors.Join(s.unknown, found.late)
	}
	return found
}

func isListed(listed []metav1.APIResource, resource metav1.APIResource) bool {
	return slices.ContainsFunc(listed, func(r metav1.APIResource) bool { return r.Group == resource.Group && r.Name == resource.Name })
}

// Orphans returns the downstream Namespaces whose Namespace of the workspace is not known, those that are being deleted among them.
func (p DownstreamNamespaces) Orphans(ctx context.Context, known func(namespace string) bool) ([]metav1.PartialObjectMetadata, error) {
	namespaces, err := p.List(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(namespaces, func(c metav1.PartialObjectMetadata) bool {
		return known(c.Annotations[workloadv1alpha1.AnnotationNamespace])
	}), nil
}

// RemoveOrphan takes a downstream Namespace away that stands for nothing any more. What is in it stays: copies of ours, which holds tells of,
// for whoever knows whether they are wanted, and what is of others keeps the Namespace, without our marks.
func (p DownstreamNamespaces) RemoveOrphan(ctx context.Context, namespace *metav1.PartialObjectMetadata) (holds bool, err error) {
	if p.Unknown != nil {
		return false, p.Unknown // nothing could be concluded
	}
	found := p.look(ctx, namespace.Name)
	if found.unknown != nil || len(found.copies) > 0 {
		return len(found.copies) > 0, found.unknown
	}
	live, err := get(ctx, p.Client, namespace)
	if err != nil || live == nil || live.GetUID() != namespace.UID {
		return false, err
	}
	if why := found.stays(); why != "" {
		left, err := p.leave(ctx, live, why)
		if left != "" {
			p.Left(left)
		}
		return false, err
	}
	_, err = discard(ctx, p.Client, live, "")
	return false, err
}

// List returns all downstream Namespaces. Only the Client and the Key are needed.
func (p DownstreamNamespaces) List(ctx context.Context) ([]metav1.PartialObjectMetadata, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := p.Client.List(ctx, &list, client.MatchingLabels{workloadv1alpha1.LabelKey: p.Key}); err != nil {
		return nil, fmt.Errorf("listing what the syncer has made: %w", err)
	}
	namespaces := slices.DeleteFunc(list.Items, func(n metav1.PartialObjectMetadata) bool { return !isOfDownstreamNamespace(&n) })
	for i := range namespaces {
		namespaces[i].SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	}
	return namespaces, nil
}

// remove removes one downstream Namespace.
func (p DownstreamNamespaces) remove(ctx context.Context, s *search, namespace *metav1.PartialObjectMetadata, orphan bool) (o outcome) {
	live, err := get(ctx, p.Client, namespace)
	if err != nil || live == nil || live.GetUID() != namespace.UID {
		return outcome{err: err}
	}
	if live.GetDeletionTimestamp() != nil {
		o.waiting, o.err = p.discard(ctx, live)
		return o
	}
	found := s.in(ctx, p, namespace.Name)
	why := found.stays()
	if !orphan && why == "" && found.unknown == nil {
		o.waiting, o.err = p.discard(ctx, live) // the copies go with their Namespace
		return o
	}
	for _, object := range found.copies {
		if orphan {
			err = p.orphan(ctx, object)
		} else {
			err = p.delete(ctx, object)
		}
		if err != nil {
			return outcome{err: err}
		}
	}
	switch {
	case found.unknown != nil:
		o.err = found.unknown
	case found.more:
		o.waiting = describe(live) + " holds more copies than are removed at once"
	case orphan:
		o.err = p.release(ctx, live)
	default:
		o.left, o.err = p.leave(ctx, live, why)
	}
	return o
}

func (p DownstreamNamespaces) discard(ctx context.Context, live *unstructured.Unstructured) (waiting string, err error) {
	left, err := discard(ctx, p.Client, live, "")
	if err != nil || left == nil {
		return "", err
	}
	return terminating(left), nil
}

func (p DownstreamNamespaces) delete(ctx context.Context, object *metav1.PartialObjectMetadata) error {
	if object.GroupVersionKind().Group == "" && naming.IsClusterDefault(object.Kind, object.Name) {
		return p.orphan(ctx, object) // what the cluster itself has made may be in use by what stays
	}
	err := p.Client.Delete(ctx, object, client.Preconditions{UID: &object.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %s: %w", describe(object), err)
	}
	return nil
}

// orphan leaves a copy to whoever runs the physical cluster. A later SyncTarget of this name must not take it for its own,
// nor its new owner meet a conflict with a syncer that is gone.
func (p DownstreamNamespaces) orphan(ctx context.Context, object *metav1.PartialObjectMetadata) error {
	live := &metav1.PartialObjectMetadata{TypeMeta: object.TypeMeta}
	err := p.Client.Get(ctx, client.ObjectKeyFromObject(object), live)
	if err != nil || live.UID != object.UID {
		return client.IgnoreNotFound(err)
	}
	return p.unmark(ctx, live, isMark, isMark)
}

func isMark(name string) bool { return strings.HasPrefix(name, workloadv1alpha1.GroupName+"/") }

// marksOf are those of ours, without what they say.
func marksOf(in map[string]string) map[string]string {
	out := map[string]string{}
	for name := range in {
		if isMark(name) {
			out[name] = ""
		}
	}
	return out
}

// leave lets a downstream Namespace go and says why.
func (p DownstreamNamespaces) leave(ctx context.Context, live *unstructured.Unstructured, why string) (left string, err error) {
	if err := p.release(ctx, live); err != nil {
		return "", err
	}
	return p.Clean(fmt.Sprintf("Namespace %q in the physical cluster, which stood for Namespace %q, is left standing: %s",
		live.GetName(), live.GetAnnotations()[workloadv1alpha1.AnnotationNamespace], why)), nil
}

// release leaves a downstream Namespace standing, without our rights in it. Its annotations stay: by them it is found again when the
// Namespace is opened anew.
func (p DownstreamNamespaces) release(ctx context.Context, live *unstructured.Unstructured) error {
	binding, err := get(ctx, p.Client, reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), live.GetName(), DeploymentName))
	if err != nil {
		return err
	}
	if binding != nil && isOfDownstreamNamespace(binding) {
		if _, err := discard(ctx, p.Client, binding, ""); err != nil {
			return err
		}
	}
	return p.unmark(ctx, live, isNamespaceMark, func(string) bool { return false })
}

// isNamespaceMark tells the labels of a downstream Namespace that it loses when it stays without us. Carried labels are
// among them, because nobody updates them any more.
func isNamespaceMark(label string) bool {
	switch label {
	case workloadv1alpha1.LabelKey, workloadv1alpha1.LabelUID, workloadv1alpha1.LabelDownstreamNamespace, "app.kubernetes.io/managed-by":
		return true
	}
	return naming.IsNamespaceLabel(label)
}

// unmark takes labels and annotations off an object, unless it was replaced meanwhile.
func (p DownstreamNamespaces) unmark(ctx context.Context, object client.Object, label, annotation func(string) bool) error {
	metadata := map[string]any{
		"uid": object.GetUID(), "labels": nulls(object.GetLabels(), label), "annotations": nulls(object.GetAnnotations(), annotation),
	}
	if entries, found := naming.WithoutSyncer(object.GetManagedFields()); found {
		metadata["managedFields"], metadata["resourceVersion"] = entries, object.GetResourceVersion()
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
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
