package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

// right is one row of a table: what a credential may do to resources, and where.
type right struct {
	// Resources are names with their group, as deployments.apps, or URLs.
	Resources []string
	// Names are those of the objects; empty for all.
	Names []string
	Verbs []string
	// Where is in words.
	Where string
}

// credential is a section of the page.
type credential struct {
	Title, About string
	Rights       []right
}

// The names that stand for any other in the page.
const (
	anyWorkspace = "workspace"
	anyTarget    = "name"
	anyNamespace = "namespace"
)

// readRights makes the page of the rights from the manifests of config and from those that the controller applies.
func readRights() (string, error) {
	inKcp, err := readManifests("config/rbac/controller.yaml")
	if err != nil {
		return "", err
	}
	claims, err := readClaims("config/kcp/claims.yaml")
	if err != nil {
		return "", err
	}
	inHosting, err := readManifests("config/manager/rbac.yaml")
	if err != nil {
		return "", err
	}
	installer, err := readManifests("config/samples/installer/clusterrole.yaml")
	if err != nil {
		return "", err
	}
	upstream, downstream := syncerObjects()
	return rightsPage([]credential{
		{"The controller, in the provider workspace", "From `config/rbac/controller.yaml`.", rightsOf(inKcp)},
		{"The service, in a workspace that accepts all permission claims", "From `config/kcp/claims.yaml`. kcp gives these rights " +
			"through the virtual workspace of the APIExport, beside those on SyncTargets, Placements and Assignments. A workspace can " +
			"limit each to objects with a label.", claims},
		{"The controller, in the hosting cluster", "From `config/manager/rbac.yaml`.", rightsOf(inHosting)},
		{"The kubeconfig of a tenant, in the physical cluster", "From `config/samples/installer`. Push mode only.", rightsOf(installer)},
		{"The syncer, in the workspace", "What the controller creates for each SyncTarget, here with the default list of synced resources.", rightsOf(upstream)},
		{"The syncer, in the physical cluster", "What the controller, or in pull mode the tenant, applies for each SyncTarget, here with the " +
			"default list of synced resources.", rightsOf(downstream)},
	}), nil
}

// syncerObjects returns what gives the syncer its rights in the workspace and in the physical cluster. The names in it stand for
// any other.
func syncerObjects() (upstream, downstream []client.Object) {
	target := &workloadv1alpha1.SyncTarget{}
	target.Name = anyTarget
	c := agent.Config{Target: target, ClusterName: anyWorkspace}
	return slices.Concat(agent.Identity(c), agent.HeartbeatLease(c), agent.Grant(c, anyNamespace)),
		append(agent.Downstream(c), agent.DownstreamNamespace(c, anyNamespace)...)
}

// readManifests reads the roles and bindings of a file.
func readManifests(path string) ([]client.Object, error) {
	documents, err := readDocuments(path)
	if err != nil {
		return nil, err
	}
	var objects []client.Object
	for _, document := range documents {
		object, err := typedRBAC(document)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if object != nil {
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// typedRBAC converts a role or a binding; nil for anything else.
func typedRBAC(document *unstructured.Unstructured) (client.Object, error) {
	var object client.Object
	switch document.GetKind() {
	case "ClusterRole":
		object = &rbacv1.ClusterRole{}
	case "Role":
		object = &rbacv1.Role{}
	case "ClusterRoleBinding":
		object = &rbacv1.ClusterRoleBinding{}
	case "RoleBinding":
		object = &rbacv1.RoleBinding{}
	default:
		return nil, nil
	}
	return object, runtime.DefaultUnstructuredConverter.FromUnstructured(document.Object, object)
}

func readDocuments(path string) ([]*unstructured.Unstructured, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var documents []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		document := &unstructured.Unstructured{}
		if err := decoder.Decode(&document.Object); errors.Is(err, io.EOF) {
			return documents, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		documents = append(documents, document)
	}
}

// readClaims reads the permission claims of an APIExport.
func readClaims(path string) ([]right, error) {
	documents, err := readDocuments(path)
	if err != nil {
		return nil, err
	}
	var export apisv1alpha2.APIExport
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(documents[0].Object, &export); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var rights []right
	for _, claim := range export.Spec.PermissionClaims {
		rights = append(rights, right{Resources: []string{qualified(claim.Resource, claim.Group)}, Verbs: claim.Verbs, Where: "the workspace"})
	}
	return rights, nil
}

// rightsOf returns what the roles among the objects give by the bindings among them. A role that nothing binds gives nothing.
func rightsOf(objects []client.Object) []right {
	type roleName struct{ kind, namespace, name string }
	rules := map[roleName][]rbacv1.PolicyRule{}
	for _, object := range objects {
		switch role := object.(type) {
		case *rbacv1.ClusterRole:
			rules[roleName{"ClusterRole", "", role.Name}] = role.Rules
		case *rbacv1.Role:
			rules[roleName{"Role", role.Namespace, role.Name}] = role.Rules
		}
	}
	var rights []right
	for _, object := range objects {
		switch binding := object.(type) {
		case *rbacv1.ClusterRoleBinding:
			rights = appendRules(rights, rules[roleName{"ClusterRole", "", binding.RoleRef.Name}], "everywhere")
		case *rbacv1.RoleBinding:
			name := roleName{binding.RoleRef.Kind, binding.Namespace, binding.RoleRef.Name}
			if name.kind == "ClusterRole" {
				name.namespace = ""
			}
			rights = appendRules(rights, rules[name], namespaceInWords(binding.Namespace))
		}
	}
	return rights
}

func appendRules(rights []right, rules []rbacv1.PolicyRule, where string) []right {
	for _, rule := range rules {
		r := right{Resources: rule.NonResourceURLs, Names: rule.ResourceNames, Verbs: rule.Verbs, Where: where}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				r.Resources = append(r.Resources, qualified(resource, group))
			}
		}
		rights = append(rights, r)
	}
	return rights
}

// qualified is a resource with its group, as kubectl prints it.
func qualified(resource, group string) string {
	if group == "" {
		return resource
	}
	resource, subresource, has := strings.Cut(resource, "/")
	if has {
		return resource + "." + group + "/" + subresource
	}
	return resource + "." + group
}

// namespaceInWords says which Namespace of any SyncTarget this one stands for.
func namespaceInWords(namespace string) string {
	key := workloadv1alpha1.Key(anyWorkspace, anyTarget)
	switch namespace {
	case "":
		return "its own Namespace"
	case workloadv1alpha1.SyncerNamespace(anyTarget, key):
		return "its own Namespace"
	case anyNamespace:
		return "each assigned Namespace"
	case naming.Namespace(key, anyNamespace):
		return "each downstream Namespace"
	}
	return "Namespace " + code(namespace)
}

// rightsPage makes the page.
func rightsPage(credentials []credential) string {
	parts := []string{
		"# Rights",
		"What each credential of the service may do, from the manifests that give these rights. [Security](../security.md) says why, and " +
			"who trusts whom. `<name>` is the name of a SyncTarget, `<key>` its key.",
	}
	for _, c := range credentials {
		var rows [][]string
		for _, r := range c.Rights {
			rows = append(rows, []string{codes(r.Resources), codes(anonymous(r.Names)), strings.Join(r.Verbs, ", "), r.Where})
		}
		parts = append(parts, "## "+c.Title, c.About, table([]string{"resources", "names", "verbs", "where"}, rows))
	}
	return newPage(parts...)
}

// anonymous replaces the names that stand for any other by placeholders.
func anonymous(names []string) []string {
	key := workloadv1alpha1.Key(anyWorkspace, anyTarget)
	names = slices.Clone(names)
	for i, name := range names {
		if name == anyTarget {
			names[i] = "<name>"
			continue
		}
		names[i] = strings.ReplaceAll(name, workloadv1alpha1.SyncerNamespace(anyTarget, key), "kcp-syncer-<name>-<key>")
	}
	return names
}
