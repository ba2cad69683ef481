package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// What the syncer may do to the synced resources stands in one ClusterRole on each side, which no ClusterRoleBinding
// binds: a RoleBinding in each assigned Namespace, and in its downstream Namespace, is all that gives these rights.

// Grant returns what lets the syncer into a Namespace of the workspace. It is held until the syncer has left.
func Grant(c Config, namespace string) []client.Object {
	return []client.Object{&rbacv1.RoleBinding{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "RoleBinding"), ObjectMeta: c.heldMeta(namespace, c.namespace()),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: options.SyncRole(c.namespace())},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: DeploymentName, Namespace: c.namespace()}},
	}}
}

// Admission applies Grant. Where the Namespace is being deleted, a binding that goes with it is left as it is: held, and good
// for the syncer, which has yet to let go of the objects there. Its errors are Apply's.
func Admission(ctx context.Context, c client.Client, cfg Config, namespace string) error {
	a := applier{client: c, owner: workloadv1alpha1.FieldOwnerController, withNamespace: true}
	for _, object := range Grant(cfg, namespace) {
		if _, err := a.apply(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// Revoke takes back what Grant gave, to this SyncTarget or to an earlier one of its name. waiting and done are Remove's.
func Revoke(ctx context.Context, c client.Client, name, key, namespace string) (waiting string, done bool, err error) {
	binding := reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), namespace, workloadv1alpha1.SyncerNamespace(name, key))
	live, err := get(ctx, c, binding)
	if err != nil || live == nil || live.GetLabels()[workloadv1alpha1.LabelKey] != key {
		return "", err == nil, err
	}
	left, err := discard(ctx, c, live, workloadv1alpha1.SyncTargetFinalizer(key))
	if err != nil || left == nil {
		return "", err == nil, err
	}
	return terminating(left), false, nil
}

// Granted tells whether what Grant gives is there.
func Granted(ctx context.Context, c client.Client, name, key, namespace string) (bool, error) {
	live, err := get(ctx, c, reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), namespace, workloadv1alpha1.SyncerNamespace(name, key)))
	return live != nil, err
}

// GrantedTo tells whether what Grant gives is there, given to this SyncTarget and not to an earlier one of its name. A binding without
// our labels is not ours, as for Revoke.
func GrantedTo(ctx context.Context, c client.Client, target *workloadv1alpha1.SyncTarget, key, namespace string) (bool, error) {
	live, err := get(ctx, c, reference(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), namespace, workloadv1alpha1.SyncerNamespace(target.Name, key)))
	if live == nil {
		return false, err
	}
	labels := live.GetLabels()
	return labels[workloadv1alpha1.LabelKey] == key && labels[workloadv1alpha1.LabelUID] == string(target.UID), err
}

// Retain returns those of the resources that the syncer's role in the workspace allows it now. The syncer itself says what
// it has yet to leave, and must not get a right by that.
func Retain(ctx context.Context, c client.Client, name, key string, leaving []workloadv1alpha1.GroupResource) ([]workloadv1alpha1.GroupResource, error) {
	if len(leaving) == 0 {
		return nil, nil
	}
	var role rbacv1.ClusterRole
	err := c.Get(ctx, client.ObjectKey{Name: options.SyncRole(workloadv1alpha1.SyncerNamespace(name, key))}, &role)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading what the syncer may do: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(leaving), func(r workloadv1alpha1.GroupResource) bool {
		return !slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
			return slices.Contains(rule.APIGroups, r.Group) && slices.Contains(rule.Resources, r.Resource)
		})
	}), nil
}

// upstreamRole is what the syncer may do in an assigned Namespace: read what it syncs, hold it by a finalizer, and
// report.
func (c *Config) upstreamRole() *rbacv1.ClusterRole {
	rules := c.rules([]string{"get", "list", "watch", "patch"}, "")
	rules = append(rules, c.rules([]string{"patch"}, "/status")...)
	return &rbacv1.ClusterRole{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRole"), ObjectMeta: c.heldMeta("", options.SyncRole(c.namespace())),
		Rules: append(rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"get", "create", "patch"}}),
	}
}

// downstreamRole is what the syncer may do in the downstream Namespace of an assigned Namespace.
func (c *Config) downstreamRole() *rbacv1.ClusterRole {
	rules := c.rules([]string{"get", "list", "watch", "create", "patch", "delete"}, "", c.Withheld...)
	rules = append(rules, c.observationRules(options.InstalledIn(""))...)
	return &rbacv1.ClusterRole{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRole"), ObjectMeta: c.meta("", options.SyncRole(c.namespace())),
		Rules: append(rules,
			// Warnings about the copies and what they own are told upstream.
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"list", "watch"}},
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}},
			rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"replicasets"}, Verbs: []string{"get"}},
			rbacv1.PolicyRule{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"get"}}),
	}
}

// Ungrantable returns those of the synced resources to which the client may give nobody a right in the physical cluster,
// because it has none itself. It tries each, without writing anything.
func Ungrantable(ctx context.Context, c client.Client, cfg Config, owner string) ([]workloadv1alpha1.GroupResource, error) {
	var ungrantable []workloadv1alpha1.GroupResource
	for _, resource := range cfg.granted() {
		one := cfg
		one.Unobserved = true
		one.Withheld = slices.DeleteFunc(cfg.granted(), func(r workloadv1alpha1.GroupResource) bool { return r == resource })
		role, err := manifestOf(one.downstreamRole())
		if err != nil {
			return nil, err
		}
		err = c.Apply(ctx, client.ApplyConfigurationFromUnstructured(role), client.ForceOwnership, client.FieldOwner(owner), client.DryRunAll)
		switch {
		case apierrors.IsForbidden(err):
			ungrantable = append(ungrantable, resource)
		case err != nil:
			return nil, fmt.Errorf("trying to grant %s: %w", resource, err)
		}
	}
	return ungrantable, nil
}

// granted are the resources on which the syncer gets rights.
func (c *Config) granted() []workloadv1alpha1.GroupResource {
	return slices.DeleteFunc(slices.Concat(c.Target.Spec.Synced(), c.Retained), func(r workloadv1alpha1.GroupResource) bool {
		return r.Syncable() != nil
	})
}

// rules give the verbs on a subresource of everything that is synced but what is withheld, one rule for each group.
func (c *Config) rules(verbs []string, subresource string, withheld ...workloadv1alpha1.GroupResource) []rbacv1.PolicyRule {
	byGroup := map[string][]string{}
	for _, resource := range c.granted() {
		if !slices.Contains(withheld, resource) {
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
