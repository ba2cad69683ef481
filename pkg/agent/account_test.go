package agent

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAnotherServiceAccount: a Pod keeps the token of a ServiceAccount that was deleted, so it is replaced with its account.
func TestAnotherServiceAccount(t *testing.T) {
	s, c := newServer(t), testConfig()
	apply := func(want int) string {
		t.Helper()
		changed, err := ApplyDownstream(t.Context(), s, c, "owner")
		if err != nil || changed != want {
			t.Fatalf("ApplyDownstream() = %d, %v, want %d", changed, err, want)
		}
		var deployment appsv1.Deployment
		if err := s.Get(t.Context(), client.ObjectKey{Namespace: c.namespace(), Name: DeploymentName}, &deployment); err != nil {
			t.Fatal(err)
		}
		return deployment.Spec.Template.Annotations["workload.kcp.io/service-account-uid"]
	}
	name := client.ObjectKey{Namespace: c.namespace(), Name: DeploymentName}
	var account corev1.ServiceAccount
	first := apply(len(Downstream(c)))
	if err := s.Get(t.Context(), name, &account); err != nil || first != string(account.UID) {
		t.Fatalf("the Pods are made for ServiceAccount %q, want %q (%v)", first, account.UID, err)
	}
	apply(0)

	account.UID = "another"
	if err := s.Update(t.Context(), &account); err != nil {
		t.Fatal(err)
	}
	if got := apply(1); got != "another" {
		t.Errorf("the Pods are made for ServiceAccount %q", got)
	}
}
