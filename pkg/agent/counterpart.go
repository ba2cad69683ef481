package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// Counterpart returns what a Namespace of the workspace becomes in the physical cluster, in the order to apply it.
func Counterpart(c Config, namespace string) []client.Object {
	name := naming.Namespace(c.key(), namespace)
	place := &corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: c.meta("", name)}
	place.Labels[workloadv1alpha1.LabelDownstreamNamespace] = c.key()
	maps.Copy(place.Labels, CarriedLabels(c.NamespaceLabels[namespace]))
	binding := &rbacv1.RoleBinding{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "RoleBinding"), ObjectMeta: c.meta(name, DeploymentName),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: options.SyncRole(c.namespace())},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: DeploymentName, Namespace: c.namespace()}},
	}
	for _, object := range []client.Object{place, binding} {
		object.GetAnnotations()[workloadv1alpha1.AnnotationNamespace] = namespace
	}
	return []client.Object{place, binding}
}

// CarriedLabels returns the labels by which a downstream Namespace repeats these labels of its Namespace of the workspace.
func CarriedLabels(labels map[string]string) map[string]string { return naming.NamespaceLabels(labels) }

// KeepCarriedLabels adds to a Namespace that Counterpart has built the carried labels that it has in the physical cluster.
// An apply would otherwise remove them where nobody knows the labels in the workspace.
func KeepCarriedLabels(ctx context.Context, c client.Client, namespace client.Object) error {
	live, err := get(ctx, c, namespace)
	if err != nil || live == nil {
		return err
	}
	labels := namespace.GetLabels()
	for key, value := range live.GetLabels() {
		if naming.IsNamespaceLabel(key) {
			labels[key] = value
		}
	}
	namespace.SetLabels(labels)
	return nil
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

// Counterparts are the Namespaces in the physical cluster that stand for opened ones. They are removed here alone, and only
// when they are seen to hold nothing of others.
type Counterparts struct {
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

// Remove takes these counterparts away, or, where they hold something of others, the copies in them. With orphan the copies
// stay too, without our marks. Where a Namespace stays, our rights in it go. One that fails keeps no other from its end. It
// may be called again after any failure; waiting and done are those of the function Remove. ended is how many were dealt with
// that were not being deleted before.
func (p Counterparts) Remove(ctx context.Context, counterparts []metav1.PartialObjectMetadata, orphan bool) (waiting string, ended int, done bool, err error) {
	s := &search{resources: p.Resources, unknown: p.Unknown}
	outcomes := make([]outcome, len(counterparts))
	var group errgroup.Group
	group.SetLimit(removers)
	for i := range counterparts {
		group.Go(func() error {
			outcomes[i] = p.remove(ctx, s, &counterparts[i], orphan)
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
		if o.err == nil && counterparts[i].DeletionTimestamp == nil {
			ended++
		}
	}
	err = errors.Join(failures...)
	return waiting, ended, waiting == "" && err == nil, err
}

// removers is how many counterparts are removed at the same time: each needs a list of every resource.
const removers = 8

// outcome is what came of removing one counterpart.
type outcome struct {
	// waiting says what is waited for, empty for nothing.
	waiting string
	// left says why the Namespace is left standing, empty if it is not.
	left string
	err  error
}

// search is what the removals of several counterparts share: a resource that was not listed in time is not asked for again.
type search struct {
	mu        sync.Mutex
	resources []metav1.APIResource
	unknown   error
}

// in lists everything in a counterpart.
func (s *search) in(ctx context.Context, p Counterparts, namespace string) contents {
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

// Strays returns the counterparts of Namespaces that are not known.
func (p Counterparts) Strays(ctx context.Context, known func(namespace string) bool) ([]metav1.PartialObjectMetadata, error) {
	counterparts, err := p.List(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(counterparts, func(c metav1.PartialObjectMetadata) bool {
		return c.DeletionTimestamp != nil || known(c.Annotations[workloadv1alpha1.AnnotationNamespace])
	}), nil
}

// Clear takes a counterpart away that stands for nothing any more. What is in it stays: copies of ours, which holds tells of,
// for whoever knows whether they are wanted, and what is of others keeps the Namespace, without our marks.
func (p Counterparts) Clear(ctx context.Context, counterpart *metav1.PartialObjectMetadata) (holds bool, err error) {
	if p.Unknown != nil {
		return false, p.Unknown // nothing could be concluded
	}
	found := p.look(ctx, counterpart.Name)
	if found.unknown != nil || len(found.copies) > 0 {
		return len(found.copies) > 0, found.unknown
	}
	live, err := get(ctx, p.Client, counterpart)
	if err != nil || live == nil || live.GetUID() != counterpart.UID {
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

// List returns all counterparts. Only the Client and the Key are needed.
func (p Counterparts) List(ctx context.Context) ([]metav1.PartialObjectMetadata, error) {
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

// remove removes one counterpart.
func (p Counterparts) remove(ctx context.Context, s *search, counterpart *metav1.PartialObjectMetadata, orphan bool) (o outcome) {
	live, err := get(ctx, p.Client, counterpart)
	if err != nil || live == nil || live.GetUID() != counterpart.UID {
		return outcome{err: err}
	}
	if live.GetDeletionTimestamp() != nil {
		o.waiting, o.err = p.discard(ctx, live)
		return o
	}
	found := s.in(ctx, p, counterpart.Name)
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
		o.err = p.letGo(ctx, live)
	default:
		o.left, o.err = p.leave(ctx, live, why)
	}
	return o
}

func (p Counterparts) discard(ctx context.Context, live *unstructured.Unstructured) (waiting string, err error) {
	left, err := discard(ctx, p.Client, live, "")
	if err != nil || left == nil {
		return "", err
	}
	return terminating(left), nil
}

func (p Counterparts) delete(ctx context.Context, object *metav1.PartialObjectMetadata) error {
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
func (p Counterparts) orphan(ctx context.Context, object *metav1.PartialObjectMetadata) error {
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

// leave lets a counterpart go and says why.
func (p Counterparts) leave(ctx context.Context, live *unstructured.Unstructured, why string) (left string, err error) {
	if err := p.letGo(ctx, live); err != nil {
		return "", err
	}
	return p.Clean(fmt.Sprintf("Namespace %q in the physical cluster, which stood for Namespace %q, is left standing: %s",
		live.GetName(), live.GetAnnotations()[workloadv1alpha1.AnnotationNamespace], why)), nil
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
func (p Counterparts) unmark(ctx context.Context, object client.Object, label, annotation func(string) bool) error {
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
