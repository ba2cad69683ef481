package agent

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// The syncer watches its own installation, by name and metadata alone, and reports changes: see options.Installation.

// observationRules let the syncer watch these objects, one rule for each resource.
func (c *Config) observationRules(objects ...options.InstalledObject) []rbacv1.PolicyRule {
	if c.Unobserved {
		return nil
	}
	var rules []rbacv1.PolicyRule
	for _, o := range objects {
		if last := len(rules) - 1; last >= 0 && rules[last].APIGroups[0] == o.Group && rules[last].Resources[0] == o.Resource {
			rules[last].ResourceNames = append(rules[last].ResourceNames, o.Name)
			continue
		}
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{o.Group}, Resources: []string{o.Resource}, ResourceNames: []string{o.Name}, Verbs: []string{"list", "watch"}})
	}
	return rules
}

// installedIn returns what is installed in a Namespace, or, if that is empty, in the whole cluster.
func (c *Config) installedIn(namespace string) []options.InstalledObject {
	var objects []options.InstalledObject
	for _, o := range options.Installation(c.namespace()) {
		if o.Namespace == namespace {
			objects = append(objects, o)
		}
	}
	return objects
}

// MayObserve tells whether the client may give the syncer the rights to watch its own installation, which it may not if it
// does not hold them itself. It tries that, without writing anything.
func MayObserve(ctx context.Context, c client.Client, cfg Config, owner string) (bool, error) {
	cfg.Withheld = cfg.granted()
	for _, role := range []client.Object{cfg.clusterRole(), cfg.downstreamRole(), cfg.role()} {
		manifest, err := manifestOf(role)
		if err != nil {
			return false, err
		}
		err = c.Apply(ctx, client.ApplyConfigurationFromUnstructured(manifest), client.ForceOwnership, client.FieldOwner(owner), client.DryRunAll)
		switch {
		case apierrors.IsForbidden(err):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("trying to grant the syncer to watch its own installation: %w", err)
		}
	}
	return true, nil
}
