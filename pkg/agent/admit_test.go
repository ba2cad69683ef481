package agent

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const otherUser = "system:kcp:serviceaccount:1ywgnorw78sko0v1:synctarget-system:synctarget-controller"

// TestAdmit: another user gets what the syncer has in the Namespace, though that is being deleted, and goes without a trace.
func TestAdmit(t *testing.T) {
	c := testConfig()
	grant := Grant(c, "shop")
	s := newServer(t)
	mustApply(t, s, append(Identity(c), grant...))
	before := s.names(t)
	if err := s.raw.Delete(t.Context(), grant[0]); err != nil { // which it survives, being held
		t.Fatal(err)
	}
	if since, err := Admitted(t.Context(), s, c.Target.Name, c.key()); !since.IsZero() || err != nil {
		t.Errorf("Admitted() = %s, %v before", since, err)
	}
	s.forget()
	for range 2 {
		if err := Admit(t.Context(), s, c, otherUser, "shop"); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.writes) != 2 {
		t.Errorf("wrote %q, want each binding once", s.writes)
	}
	subject := rbacv1.Subject{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: otherUser}
	var binding rbacv1.RoleBinding
	if err := s.raw.Get(t.Context(), client.ObjectKeyFromObject(grant[0]), &binding); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(grant[0].(*rbacv1.RoleBinding).Subjects, subject), binding.Subjects); diff != "" {
		t.Errorf("subjects: -want +got\n%s", diff)
	}
	access := c.access(subject)
	s.edit(t, access, func(live *unstructured.Unstructured) { _ = unstructured.SetNestedSlice(live.Object, nil, "subjects") })
	s.forget()
	if err := Admit(t.Context(), s, c, otherUser, "shop"); err != nil || len(s.writes) != 1 {
		t.Errorf("Admit() = %v, wrote %q after somebody has undone it", err, s.writes)
	}
	s.edit(t, access, func(live *unstructured.Unstructured) { live.SetCreationTimestamp(metav1.Unix(1, 0)) })
	if since, err := Admitted(t.Context(), s, c.Target.Name, c.key()); since.Unix() != 1 || err != nil {
		t.Errorf("Admitted() = %s, %v", since, err)
	}

	if _, done, err := Revoke(t.Context(), s, c.Target.Name, c.key(), "shop"); !done || err != nil {
		t.Errorf("Revoke() = %t, %v", done, err)
	}
	for range 2 {
		if err := Dismiss(t.Context(), s, c.Target.Name, c.key()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(slices.DeleteFunc(before, func(name string) bool { return name == describe(grant[0]) }), s.names(t)); diff != "" {
		t.Errorf("left: -want +got\n%s", diff)
	}
}

// TestAdmitGoesWithTheIdentity: whatever has kept it from going before.
func TestAdmitGoesWithTheIdentity(t *testing.T) {
	c := testConfig()
	s := newServer(t)
	mustApply(t, s, append(Identity(c), c.access(rbacv1.Subject{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: otherUser})))
	mustRemove(t, RemoveIdentity, s)
	s.finishNamespaces(t)
	if _, done := mustRemove(t, RemoveIdentity, s); !done || len(s.names(t)) != 0 {
		t.Errorf("left: %q", s.names(t))
	}
}

// TestAdmitNowhereElse: where the syncer has no rights, nobody gets any.
func TestAdmitNowhereElse(t *testing.T) {
	c := testConfig()
	foreign := Grant(c, "shop")[0]
	foreign.SetLabels(map[string]string{workloadv1alpha1.LabelVisible: "true"})
	tests := map[string]struct {
		reason string
		s      *server
		is     func(error) bool
	}{
		"never opened": {"", newServer(t), apierrors.IsNotFound},
		"not ours":     {"Somebody's own RoleBinding of that name.", newServer(t, foreign), func(err error) bool { return errors.As(err, new(*ForeignError)) }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if err := Admit(t.Context(), tc.s, c, otherUser, "shop"); !tc.is(err) || len(tc.s.writes) != 0 {
				t.Errorf("%s\nAdmit() = %v, wrote %q", tc.reason, err, tc.s.writes)
			}
		})
	}
}
