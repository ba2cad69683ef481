package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/mapping"
)

// What the syncer may do to the synced resources stands in one ClusterRole on each side, which no ClusterRoleBinding
// binds: a RoleBinding in each opened Namespace, and in its counterpart, is all that gives these rights.

// Grant returns what lets the syncer into a Namespace of the workspace. It is held until the syncer has left.
func Grant(c Config, namespace string) []client.Object {
	return []client.Object{&rbacv1.RoleBinding{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "RoleBinding"), ObjectMeta: c.heldMeta(namespace, c.namespace()),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: syncRole(c.namespace())},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: DeploymentName, Namespace: c.namespace()}},
	}}
}

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

// Revoke takes back what Grant gave, like RemoveIdentity.
func Revoke(ctx context.Context, c client.Client, name, key string, uid types.UID, namespace string) (waiting string, done bool, err error) {
	binding := reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), namespace, workloadv1alpha1.SyncerNamespace(name, key))
	live, err := get(ctx, c, binding)
	if err != nil || live == nil || live.GetLabels()[workloadv1alpha1.LabelKey] != key {
		return "", err == nil, err
	}
	left, err := discard(ctx, c, live, workloadv1alpha1.Hold(key))
	if err != nil || left == nil {
		return "", err == nil, err
	}
	return describe(binding) + " is still being deleted" + because(left), false, nil
}

// Granted tells whether what Grant gives is there.
func Granted(ctx context.Context, c client.Client, name, key, namespace string) (bool, error) {
	live, err := get(ctx, c, reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), namespace, workloadv1alpha1.SyncerNamespace(name, key)))
	return live != nil, err
}

// Retain returns those of the resources that the syncer's role in the workspace allows it now. The syncer itself says what
// it has yet to leave, and must not get a right by that.
func Retain(ctx context.Context, c client.Client, name, key string, leaving []workloadv1alpha1.GroupResource) ([]workloadv1alpha1.GroupResource, error) {
	if len(leaving) == 0 {
		return nil, nil
	}
	var role rbacv1.ClusterRole
	err := c.Get(ctx, client.ObjectKey{Name: syncRole(workloadv1alpha1.SyncerNamespace(name, key))}, &role)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading what the syncer may do: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(leaving), func(r workloadv1alpha1.GroupResource) bool {
		return !slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
			return slices.Contains(rule.APIGroups, r.Group) && slices.Contains(rule.Resources, r.Resource)
		})
	}), nil
}

func syncRole(name string) string { return name + ":sync" }

// upstreamRole is what the syncer may do in an opened Namespace: read what it syncs, hold it by a finalizer, and
// report.
func (c *Config) upstreamRole() *rbacv1.ClusterRole {
	rules := c.rules([]string{"get", "list", "watch", "patch"}, "")
	rules = append(rules, c.rules([]string{"patch"}, "/status")...)
	return &rbacv1.ClusterRole{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRole"), ObjectMeta: c.heldMeta("", syncRole(c.namespace())),
		Rules: append(rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}}),
	}
}

// downstreamRole is what the syncer may do in the counterpart of an opened Namespace.
func (c *Config) downstreamRole() *rbacv1.ClusterRole {
	rules := c.rules([]string{"get", "list", "watch", "create", "patch", "delete"}, "")
	return &rbacv1.ClusterRole{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRole"), ObjectMeta: c.meta("", syncRole(c.namespace())),
		Rules: append(rules,
			// Warnings about the copies and what they own are told upstream.
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"list", "watch"}},
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}},
			rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"replicasets"}, Verbs: []string{"get"}},
			rbacv1.PolicyRule{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"get"}},
			// The syncer removes the Namespace that it has emptied. Bound in a Namespace, the rule speaks of that one alone.
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "patch", "delete"}},
			// And hands its rights back where it leaves one standing.
			rbacv1.PolicyRule{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, ResourceNames: []string{DeploymentName}, Verbs: []string{"get", "delete"}}),
	}
}

// rules give the verbs on a subresource of everything that is synced, one rule for each group.
func (c *Config) rules(verbs []string, subresource string) []rbacv1.PolicyRule {
	byGroup := map[string][]string{}
	for _, resource := range slices.Concat(c.Target.Spec.Synced(), c.Retained) {
		if resource.Syncable() == nil {
			byGroup[resource.Group] = append(byGroup[resource.Group], resource.Resource+subresource)
		}
	}
	var rules []rbacv1.PolicyRule
	for group, resources := range byGroup {
		slices.Sort(resources)
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: slices.Compact(resources), Verbs: verbs})
	}
	slices.SortFunc(rules, func(a, b rbacv1.PolicyRule) int { return strings.Compare(a.APIGroups[0], b.APIGroups[0]) })
	return rules
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

// RemoveCounterparts takes what the syncer has not removed itself: the copies, and the Namespaces that hold nothing
// else. With orphan they stay, without our rights in them. It may be called again after any failure; waiting and done
// are Remove's.
//
// Of what is not ours it looks for the resources that are synced by default. A Namespace that holds any is left standing.
func RemoveCounterparts(ctx context.Context, c client.Client, key string, orphan bool) (waiting string, done bool, err error) {
	var namespaces metav1.PartialObjectMetadataList
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := c.List(ctx, &namespaces, client.MatchingLabels{workloadv1alpha1.LabelKey: key}); err != nil {
		return "", false, fmt.Errorf("listing what the syncer has made: %w", err)
	}
	for i := range namespaces.Items {
		counterpart := &namespaces.Items[i]
		counterpart.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		if !isCounterpart(counterpart) {
			continue
		}
		left, err := removeCounterpart(ctx, c, counterpart, orphan)
		if err != nil {
			return "", false, err
		}
		if left != nil {
			waiting = describe(left) + " is still being deleted" + because(left)
		}
	}
	return waiting, waiting == "", nil
}

func removeCounterpart(ctx context.Context, c client.Client, counterpart *metav1.PartialObjectMetadata, orphan bool) (*unstructured.Unstructured, error) {
	live, err := get(ctx, c, counterpart)
	if err != nil || live == nil || live.GetUID() != counterpart.UID {
		return nil, err
	}
	if !orphan && live.GetDeletionTimestamp() == nil {
		foreign, err := removeCopies(ctx, c, counterpart)
		if err != nil {
			return nil, err
		}
		orphan = foreign
	}
	if !orphan {
		return discard(ctx, c, live, "")
	}
	binding, err := get(ctx, c, reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), counterpart.Name, DeploymentName))
	if err != nil {
		return nil, err
	}
	if binding != nil && isCounterpart(binding) {
		if _, err := discard(ctx, c, binding, ""); err != nil {
			return nil, err
		}
	}
	unmarked := live.DeepCopy()
	unmarked.SetLabels(without(live.GetLabels(), workloadv1alpha1.LabelKey, workloadv1alpha1.LabelUID, "app.kubernetes.io/managed-by"))
	if err := c.Patch(ctx, unmarked, client.MergeFromWithOptions(live, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("taking our marks off %s: %w", describe(live), err)
	}
	return nil, nil
}

// removeCopies deletes the copies in a counterpart, one by one where something of others is there too.
func removeCopies(ctx context.Context, c client.Client, counterpart *metav1.PartialObjectMetadata) (foreign bool, err error) {
	var copies []*metav1.PartialObjectMetadata
	for _, gvk := range mapping.DefaultKinds() {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err := c.List(ctx, list, client.InNamespace(counterpart.Name)); err != nil {
			return false, fmt.Errorf("listing %s in Namespace %q: %w", gvk.Kind, counterpart.Name, err)
		}
		for i := range list.Items {
			object := &list.Items[i]
			object.SetGroupVersionKind(gvk)
			switch {
			case object.Labels[workloadv1alpha1.LabelKey] == counterpart.Labels[workloadv1alpha1.LabelKey]:
				copies = append(copies, object)
			case len(object.OwnerReferences) == 0 && !mapping.IsFixture(gvk.Kind, object.Name):
				foreign = true
			}
		}
	}
	if !foreign {
		return false, nil // they go with their Namespace
	}
	for _, object := range copies {
		err := c.Delete(ctx, object, client.Preconditions{UID: &object.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			return true, fmt.Errorf("deleting %s: %w", describe(object), err)
		}
	}
	return true, nil
}

func without(in map[string]string, names ...string) map[string]string {
	out := maps.Clone(in)
	for _, name := range names {
		delete(out, name)
	}
	return out
}
