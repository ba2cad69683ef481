package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// parallelReviews is how many rights are asked for at once.
const parallelReviews = 8

// userRights are what a user needs in the workspace to join, look and leave.
func userRights() []authorizationv1.ResourceAttributes {
	return rightsOf([]rbacv1.PolicyRule{
		{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets"}, Verbs: []string{"get", "list", "create", "patch", "delete"}},
		{APIGroups: []string{"apis.kcp.io"}, Resources: []string{"apibindings"}, Verbs: []string{"get", "list", "create", "patch"}},
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "create"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "create", "patch", "delete"}},
	})
}

// neededRights are what whoever installs the syncer needs in the physical cluster: the rights of the installer, or in pull mode
// those that the manifests grant. Nobody can grant what they do not hold.
func neededRights(target *workloadv1alpha1.SyncTarget) ([]authorizationv1.ResourceAttributes, error) {
	if target == nil || target.Spec.KubeconfigSecretRef != nil {
		installer, err := newInstaller()
		if err != nil {
			return nil, err
		}
		return rightsOf(installer.role.Rules), nil
	}
	var rules []rbacv1.PolicyRule
	for _, object := range agent.Downstream(agent.Config{Target: target}) {
		switch object := object.(type) {
		case *rbacv1.ClusterRole:
			rules = append(rules, object.Rules...)
		case *rbacv1.Role:
			rules = append(rules, object.Rules...)
		}
	}
	return rightsOf(rules), nil
}

// rightsOf lists each right of the rules by itself.
func rightsOf(rules []rbacv1.PolicyRule) (out []authorizationv1.ResourceAttributes) {
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				out = append(out, rightsOn(group, resource, rule)...)
			}
		}
	}
	return out
}

// rightsOn lists the rights of a rule on one resource.
func rightsOn(group, resource string, rule rbacv1.PolicyRule) (out []authorizationv1.ResourceAttributes) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, verb := range rule.Verbs {
		for _, name := range names {
			out = append(out, authorizationv1.ResourceAttributes{Group: group, Resource: resource, Verb: verb, Name: name})
		}
	}
	return out
}

// missingRights asks the server for each right, and returns those that the user of the connection does not have, in words.
func missingRights(ctx context.Context, c *connection, rights []authorizationv1.ResourceAttributes) ([]string, error) {
	allowed := make([]bool, len(rights))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReviews)
	for i := range rights {
		group.Go(func() error {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &rights[i]}}
			if err := c.Create(ctx, review); err != nil {
				return fmt.Errorf("asking %s for your rights: %w", c.name, err)
			}
			allowed[i] = review.Status.Allowed
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	verbs := map[string][]string{}
	var order []string
	for i, right := range rights {
		if allowed[i] {
			continue
		}
		on := workloadv1alpha1.GroupResource{Group: right.Group, Resource: right.Resource}.String()
		if right.Name != "" {
			on += fmt.Sprintf(" %q", right.Name)
		}
		if len(verbs[on]) == 0 {
			order = append(order, on)
		}
		if !slices.Contains(verbs[on], right.Verb) {
			verbs[on] = append(verbs[on], right.Verb)
		}
	}
	var missing []string
	for _, on := range order {
		missing = append(missing, strings.Join(verbs[on], ",")+" "+on)
	}
	return missing, nil
}

// rightsFinding judges rights: all are there, or some are missing.
func rightsFinding(all, some string, missing []string, cure string) finding {
	if len(missing) == 0 {
		return finding{passed, all, ""}
	}
	return finding{wrong, some + ": " + strings.Join(missing, "; "), cure}
}
