package agent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestRetain: the syncer keeps a right that it has, and gets none by saying that it needs one.
func TestRetain(t *testing.T) {
	s := newServer(t)
	c := testConfig()
	c.Target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}, {Group: "example.com", Resource: "widgets"}}
	mustApply(t, s, Identity(c))
	said := []workloadv1alpha1.GroupResource{
		{Group: "example.com", Resource: "widgets"}, {Group: "example.com", Resource: "others"}, {Resource: "widgets"}, {Resource: "secrets"},
	}
	got, err := Retain(t.Context(), s, c.Target.Name, c.key(), said)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(said[:1], got); diff != "" {
		t.Errorf("Retain(): -want +got\n%s", diff)
	}
	c.Target.Spec.SyncedResources, c.Retained = c.Target.Spec.SyncedResources[:1], got
	if !allows(c.upstreamRole(), "widgets") || !allows(c.downstreamRole(), "widgets") {
		t.Error("what is retained is not allowed")
	}
}

func allows(role *rbacv1.ClusterRole, resource string) bool {
	return slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return slices.Contains(rule.Resources, resource) })
}

// TestRulesNameResources: what a tenant writes into the spec becomes no wildcard, no subresource and no right to rights.
func TestRulesNameResources(t *testing.T) {
	c := testConfig()
	c.Target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{
		{Resource: "*"}, {Group: "*", Resource: "widgets"}, {Resource: "serviceaccounts/token"}, {Resource: "pods/exec"},
		{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"}, {Group: "apis.kcp.io", Resource: "apibindings"}, {Resource: "namespaces"},
		{Group: "example.com", Resource: "widgets"},
	}
	want := []rbacv1.PolicyRule{{APIGroups: []string{"example.com"}, Resources: []string{"widgets"}, Verbs: []string{"get"}}}
	if diff := cmp.Diff(want, c.rules([]string{"get"}, "")); diff != "" {
		t.Errorf("rules: -want +got\n%s", diff)
	}
}

// cautious refuses to give a right on widgets, as an API server does that is asked by somebody who has none.
type cautious struct{ client.Client }

func (c cautious) Apply(_ context.Context, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	if options := (&client.ApplyOptions{}).ApplyOptions(opts); len(options.DryRun) == 0 {
		return errors.New("not a dry run")
	}
	if text, err := json.Marshal(object); err != nil || strings.Contains(string(text), "widgets") {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "clusterroles"}, "sync", nil)
	}
	return nil
}

// TestUngrantable: a resource that cannot be granted is found without writing, and the others are granted without it.
func TestUngrantable(t *testing.T) {
	c := testConfig()
	c.Target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}, {Group: "example.com", Resource: "widgets"}, {Resource: "*"}}
	got, err := Ungrantable(t.Context(), cautious{newServer(t)}, c, "owner")
	if diff := cmp.Diff(c.Target.Spec.SyncedResources[1:2], got); diff != "" || err != nil {
		t.Errorf("Ungrantable(): %v, -want +got\n%s", err, diff)
	}
	c.Withheld = got
	if allows(c.downstreamRole(), "widgets") || !allows(c.downstreamRole(), "configmaps") {
		t.Errorf("the rights in the physical cluster: %v", c.downstreamRole().Rules)
	}
	if !allows(c.upstreamRole(), "widgets") {
		t.Error("the syncer cannot say of it in the workspace")
	}
}
