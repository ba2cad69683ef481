package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestRightsOf: a right counts where a binding gives it, and nowhere else.
func TestRightsOf(t *testing.T) {
	rules := []rbacv1.PolicyRule{{APIGroups: []string{"", "apps"}, Resources: []string{"things"}, ResourceNames: []string{"one"}, Verbs: []string{"get"}}}
	urls := []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}
	named := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	objects := []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: named("", "a"), Rules: rules},
		&rbacv1.ClusterRole{ObjectMeta: named("", "unbound"), Rules: urls},
		&rbacv1.Role{ObjectMeta: named("shop", "a"), Rules: urls},
		&rbacv1.RoleBinding{ObjectMeta: named("shop", "x"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "a"}},
		&rbacv1.RoleBinding{ObjectMeta: named("shop", "y"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "a"}},
		&rbacv1.RoleBinding{ObjectMeta: named("other", "z"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "a"}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: named("", "w"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "a"}},
	}
	things := []string{"things", "things.apps"}
	want := []right{
		{Resources: things, Names: []string{"one"}, Verbs: []string{"get"}, Where: "Namespace `shop`"},
		{Resources: []string{"/metrics"}, Verbs: []string{"get"}, Where: "Namespace `shop`"},
		{Resources: things, Names: []string{"one"}, Verbs: []string{"get"}, Where: "everywhere"},
	}
	if diff := cmp.Diff(want, rightsOf(objects)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestRightsOfTheSyncer: what docs/security.md promises of the syncer.
func TestRightsOfTheSyncer(t *testing.T) {
	upstream, downstream := syncerObjects()
	for _, r := range rightsOf(upstream) {
		if slices.Contains(r.Verbs, "delete") || slices.Contains(r.Verbs, "create") && !slices.Equal(r.Resources, []string{"events"}) {
			t.Errorf("in the workspace the syncer may %v %v", r.Verbs, r.Resources)
		}
		if r.Where == "everywhere" && len(r.Names) == 0 {
			t.Errorf("in the workspace the syncer may %v %v everywhere", r.Verbs, r.Resources)
		}
	}
	for _, r := range rightsOf(downstream) {
		if r.Where == "everywhere" && len(r.Names) == 0 && !slices.Equal(r.Resources, []string{"nodes"}) {
			t.Errorf("in the physical cluster the syncer may %v %v everywhere", r.Verbs, r.Resources)
		}
	}
}

// TestRightsPage: names of any SyncTarget are placeholders.
func TestRightsPage(t *testing.T) {
	upstream, downstream := syncerObjects()
	page := rightsPage([]credential{{"Up", "", rightsOf(upstream)}, {"Down", "About.", rightsOf(downstream)}, {"None", "", nil}})
	for _, want := range []string{
		"| `synctargets.workload.kcp.io/status` | `<name>` | patch | everywhere |\n",
		"| `leases.coordination.k8s.io` | `syncer` | get, patch | its own Namespace |\n",
		"| `synctargets.workload.kcp.io` | `<name>` | get, list, watch | everywhere |\n",
		"| `secrets` | `kcp` | list, watch | its own Namespace |\n",
		"| `namespaces` | `kcp-syncer-<name>-<key>` | list, watch | everywhere |\n",
		"| each downstream Namespace |\n", "| each assigned Namespace |\n", "## Down\n\nAbout.\n\n|",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page:\n%s", want, page)
		}
	}
}
