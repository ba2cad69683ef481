package synctarget

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestSecretBeingDeleted: it waits for our finalizer, which says so, and another can be referred to.
func TestSecretBeingDeleted(t *testing.T) {
	w := usual(t)
	w.ready()
	if err := w.kcp.raw.Delete(t.Context(), newSecret()); err != nil {
		t.Fatal(err)
	}
	w.pass()
	const want = `Secret "default/edge-1" is being deleted, and stays until this SyncTarget no longer needs it to remove the syncer: ` +
		`let spec.kubeconfigSecretRef refer to another Secret, or delete the SyncTarget`
	if diff := cmp.Diff("True SecretTerminating: "+want, w.condition(workloadv1alpha1.ConditionValid)); diff != "" {
		t.Errorf("Valid: -want +got\n%s", diff)
	}
	for _, name := range []string{workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ConditionReady} {
		if got := w.condition(name); !strings.HasPrefix(got, "True") {
			t.Errorf("%s = %s", name, got)
		}
	}
	if diff := cmp.Diff([]string{"Warning SecretTerminating: " + want}, w.events.events); diff != "" {
		t.Errorf("Events: -want +got\n%s", diff)
	}
	w.settle()
	if len(w.events.events) != 0 {
		t.Errorf("told again: %q", w.events.events)
	}

	w.create(namedSecret("edge-2"))
	w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Spec.KubeconfigSecretRef.Name = "edge-2" })
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionValid); got != "True Valid: SyncTarget validation passed" {
		t.Errorf("Valid = %s", got)
	}
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(newSecret()), &corev1.Secret{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the Secret is still there: %v", err)
	}
}

// TestSecretBeingDeletedByOthers: a finalizer of somebody else is named.
func TestSecretBeingDeletedByOthers(t *testing.T) {
	secret := namedSecret("edge-1", "example.com/theirs")
	secret.DeletionTimestamp = &metav1.Time{Time: metav1.Now().Time}
	w := newWorld(t, newTarget(), secret, newBinding())
	w.settle()
	const want = `True SecretTerminating: Secret "default/edge-1" is being deleted, and stays only as long as the finalizer "example.com/theirs" is on it; ` +
		`this SyncTarget needs it to remove the syncer: let spec.kubeconfigSecretRef refer to another Secret`
	if diff := cmp.Diff(want, w.condition(workloadv1alpha1.ConditionValid)); diff != "" {
		t.Errorf("Valid: -want +got\n%s", diff)
	}
}

// TestDownstreamNamespaceDeletedByHand: what holds it is named, while the syncer is installed and while it is removed.
func TestDownstreamNamespaceDeletedByHand(t *testing.T) {
	w := usual(t)
	w.ready()
	var namespace corev1.Namespace
	if err := w.there.raw.Get(t.Context(), client.ObjectKey{Name: testNamespace()}, &namespace); err != nil {
		t.Fatal(err)
	}
	namespace.Finalizers = []string{"kubernetes"}
	namespace.Status.Conditions = []corev1.NamespaceCondition{{
		Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionTrue,
		Message: "Some content in the namespace has finalizers remaining: example.com/" + canary + " in 1 resource instances",
	}}
	conditions := namespace.Status
	if err := w.there.raw.Update(t.Context(), &namespace); err != nil {
		t.Fatal(err)
	}
	namespace.Status = conditions
	if err := w.there.raw.Status().Update(t.Context(), &namespace); err != nil {
		t.Fatal(err)
	}
	if err := w.there.raw.Delete(t.Context(), &namespace); err != nil {
		t.Fatal(err)
	}
	w.wake()
	w.pass()
	const cause = `" is still being deleted: Some content in the namespace has finalizers remaining: example.com/c4n4ry-[redacted]; held by finalizer kubernetes`
	want := `False RollingOut: Namespace "` + testNamespace() + cause + "; it is recreated when it is gone"
	if diff := cmp.Diff(want, w.condition(workloadv1alpha1.ConditionDeployed)); diff != "" {
		t.Errorf("Deployed: -want +got\n%s", diff)
	}

	w.delete()
	w.pass()
	w.pass()
	if diff := cmp.Diff(`False Removing: Namespace "`+testNamespace()+cause, w.condition(workloadv1alpha1.ConditionDeployed)); diff != "" {
		t.Errorf("Deployed while the SyncTarget is deleted: -want +got\n%s", diff)
	}
	w.there.finishNamespaces(t)
	w.finish()
	w.clean("after the Namespace is gone")
}

// TestRightsHeldByOthers: what holds the RoleBinding of a Namespace that is closed is named, and looked at again.
func TestRightsHeldByOthers(t *testing.T) {
	for name, leave := range map[string]func(*world){
		"closed":             func(w *world) { w.withdraw("shop") },
		"SyncTarget deleted": func(w *world) { w.delete() },
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			var binding rbacv1.RoleBinding
			if err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: testNamespace()}, &binding); err != nil {
				t.Fatal(err)
			}
			binding.Finalizers = append(binding.Finalizers, "example.com/theirs")
			if err := w.kcp.raw.Update(t.Context(), &binding); err != nil {
				t.Fatal(err)
			}
			leave(w)
			w.pass()
			w.withdrawn("shop")
			w.pass()
			result := w.pass()
			cause := `RoleBinding "shop/` + testNamespace() + `" is still being deleted: held by finalizer example.com/theirs`
			if diff := cmp.Diff("shop Closing: "+cause, w.namespaces()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if result.RequeueAfter == 0 || result.RequeueAfter > refusedRecheck {
				t.Errorf("looked at again after %s", result.RequeueAfter)
			}
			if got := w.condition(workloadv1alpha1.ConditionDeployed); !w.target().DeletionTimestamp.IsZero() && !strings.Contains(got, cause) {
				t.Errorf("Deployed = %s", got)
			}
			if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(&binding), &binding); err != nil {
				t.Fatal(err)
			}
			binding.Finalizers = nil
			if err := w.kcp.raw.Update(t.Context(), &binding); err != nil {
				t.Fatal(err)
			}
			if name == "closed" {
				w.settle()
				if got := w.namespaces(); got != "" {
					t.Errorf("namespaces: %s", got)
				}
				return
			}
			w.finish()
		})
	}
}

// TestOldMessageIsDropped: a deletion does not repeat what was said of a Namespace before.
func TestOldMessageIsDropped(t *testing.T) {
	w := open(t)
	w.withdraw("shop")
	w.pass()
	w.clock.Step(threshold)
	w.pass()
	if got := w.namespaces(); !strings.HasPrefix(got, "shop Closing: the syncer, which is silent") {
		t.Fatalf("namespaces: %s", got)
	}
	w.delete()
	w.pass()
	w.pass()
	if got := w.namespaces(); got != "shop Closing" {
		t.Errorf("namespaces: %s", got)
	}
}
