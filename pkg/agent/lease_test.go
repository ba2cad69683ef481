package agent

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// wholeIdentity is the identity of a syncer that has a Lease.
func wholeIdentity(c Config) []client.Object { return append(Identity(c), HeartbeatLease(c)...) }

// TestRightsInOwnNamespaceAreNarrow: a syncer may renew its own Lease, and read its own Assignments and write their status. It may
// not do so with those of other syncers, which are in other Namespaces of the workspace.
func TestRightsInOwnNamespaceAreNarrow(t *testing.T) {
	rules, bound := map[string][]rbacv1.PolicyRule{}, []string{}
	clusterWide := map[string]bool{}
	c := testConfig()
	for _, object := range wholeIdentity(testConfig()) {
		switch object := object.(type) {
		case *rbacv1.ClusterRole:
			if _, name, found := strings.Cut(object.Name, ":"); found && name != "sync" {
				rules[name] = object.Rules
			}
		case *rbacv1.ClusterRoleBinding:
			clusterWide[object.RoleRef.Name] = true
		case *rbacv1.RoleBinding:
			if object.Namespace != c.namespace() {
				t.Errorf("RoleBinding %q in Namespace %q gives %q", object.Name, object.Namespace, object.RoleRef.Name)
			}
			bound = append(bound, object.RoleRef.Name)
		}
	}
	if diff := cmp.Diff([]string{assignmentRole(c.namespace()), leaseRole(c.namespace())}, bound); diff != "" {
		t.Errorf("bound in the Namespace of the identity: -want +got\n%s", diff)
	}
	want := map[string][]rbacv1.PolicyRule{
		"heartbeat": {{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"syncer"}, Verbs: []string{"get", "patch"}}},
		"assignments": {
			{APIGroups: []string{"workload.kcp.io"}, Resources: []string{"assignments"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{"workload.kcp.io"}, Resources: []string{"assignments/status"}, Verbs: []string{"get", "patch"}},
		},
	}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Errorf("rules: -want +got\n%s", diff)
	}
	if clusterWide[leaseRole(c.namespace())] || clusterWide[assignmentRole(c.namespace())] {
		t.Error("the rights in the Namespace of the identity are given in all Namespaces")
	}
}

// TestApplyLeavesTheSpec: what the syncer writes is no difference, and stays.
func TestApplyLeavesTheSpec(t *testing.T) {
	s := newServer(t)
	mustApply(t, s, wholeIdentity(testConfig()))
	var lease coordinationv1.Lease
	c := testConfig()
	name := client.ObjectKey{Namespace: c.namespace(), Name: workloadv1alpha1.HeartbeatLeaseName}
	if err := s.raw.Get(t.Context(), name, &lease); err != nil {
		t.Fatal(err)
	}
	holder := "syncer-abc"
	lease.Spec.HolderIdentity, lease.Annotations[workloadv1alpha1.AnnotationClusterID] = &holder, "c-1"
	if err := s.raw.Update(t.Context(), &lease); err != nil {
		t.Fatal(err)
	}
	s.forget()
	mustApply(t, s, wholeIdentity(c))
	if len(s.writes) != 0 {
		t.Errorf("written: %q", s.writes)
	}
}

func TestWithdrawLease(t *testing.T) {
	c := testConfig()
	s := newServer(t)
	mustApply(t, s, wholeIdentity(c))
	withdraw := func(c Config) {
		t.Helper()
		s.forget()
		if err := WithdrawLease(t.Context(), s, c.Target.Name, c.key(), c.Target.UID); err != nil {
			t.Fatal(err)
		}
	}
	other := testConfig()
	other.Target = c.Target.DeepCopy()
	other.Target.UID = "another"
	withdraw(other)
	if len(s.writes) != 0 {
		t.Errorf("the rights of another SyncTarget were taken: %q", s.writes)
	}
	withdraw(c)
	want := []string{
		`delete RoleBinding "kcp-syncer-edge-1-djpdevi3jln6x2tg/syncer-heartbeat"`,
		`delete ClusterRole "kcp-syncer-edge-1-djpdevi3jln6x2tg:heartbeat"`,
	}
	if diff := cmp.Diff(want, s.writes); diff != "" {
		t.Errorf("writes: -want +got\n%s", diff)
	}
	withdraw(c)
	if len(s.writes) != 0 {
		t.Errorf("written again: %q", s.writes)
	}
}

// TestRemoveWithUnreadableLease: a Lease that the permission claims no longer show holds up nothing. It goes with its Namespace.
func TestRemoveWithUnreadableLease(t *testing.T) {
	forbidden := apierrors.NewForbidden(coordinationv1.Resource("leases"), "syncer", errInjected)
	for name, verbs := range map[string]struct{ get, delete bool }{"not readable": {get: true}, "not deletable": {delete: true}} {
		t.Run(name, func(t *testing.T) {
			c := testConfig()
			s := newServer(t)
			mustApply(t, s, wholeIdentity(c))
			limited := interceptor.NewClient(s.Client.(client.WithWatch), interceptor.Funcs{
				Get: func(ctx context.Context, next client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
					if verbs.get && kindOf(object) == "Lease" {
						return forbidden
					}
					return next.Get(ctx, key, object, opts...)
				},
				Delete: func(ctx context.Context, next client.WithWatch, object client.Object, opts ...client.DeleteOption) error {
					if verbs.delete && kindOf(object) == "Lease" {
						return forbidden
					}
					return next.Delete(ctx, object, opts...)
				},
			})
			if err := ReleaseIdentity(t.Context(), limited, c.Target.Name, c.key(), c.Target.UID); err != nil {
				t.Errorf("ReleaseIdentity() = %v", err)
			}
			if _, _, err := RemoveIdentity(t.Context(), limited, c.Target.Name, c.key(), c.Target.UID); err != nil {
				t.Errorf("RemoveIdentity() = %v", err)
			}
			if last := s.writes[len(s.writes)-1]; !strings.HasPrefix(last, "delete Namespace") {
				t.Errorf("the Namespace is not deleted: %q", s.writes)
			}
		})
	}
}
