package synctarget

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// deleteIdentity does what `kubectl delete namespace` does with the identity's Namespace, until our finalizer on the token
// Secret holds it.
func (w *world) deleteIdentity() {
	w.t.Helper()
	var namespace corev1.Namespace
	if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Name: testNamespace()}, &namespace); err != nil {
		w.t.Fatal(err)
	}
	namespace.Finalizers = []string{"kubernetes"}
	if err := w.kcp.raw.Update(w.t.Context(), &namespace); err != nil {
		w.t.Fatal(err)
	}
	for _, object := range []client.Object{
		&namespace,
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace(), Name: agent.TokenSecretName}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace(), Name: agent.DeploymentName}},
	} {
		if err := w.kcp.raw.Delete(w.t.Context(), object); err != nil {
			w.t.Fatal(err)
		}
	}
	w.r.installCache.forgetIdentity(testUID) // as the event of the token Secret does
}

// identityObjects are the token Secret and the ServiceAccount, as far as they are there.
func (w *world) identityObjects() []string {
	w.t.Helper()
	return slices.DeleteFunc(w.kcp.names(w.t), func(name string) bool {
		return !strings.HasPrefix(name, "Secret \""+testNamespace()) && !strings.HasPrefix(name, "ServiceAccount")
	})
}

// TestIdentityDeletedByHand: what somebody deletes is let go and made anew, and our own finalizers hold up nothing.
func TestIdentityDeletedByHand(t *testing.T) {
	for name, change := range map[string]func(*workloadv1alpha1.SyncTarget){"push": func(*workloadv1alpha1.SyncTarget) {}, "pull": pull} {
		t.Run(name, func(t *testing.T) {
			w := usual(t, change)
			w.settle()
			if name == "push" {
				w.rollOut()
				w.r.installCache.forget(testUID)
			}
			w.beat(w.clock.Now())
			w.settle()
			w.deleteIdentity()
			w.pass()
			if got := w.identityObjects(); len(got) != 1 {
				t.Errorf("let go at once, although the SyncTarget may be about to be deleted with its workspace: left %q", got)
			}
			w.clock.Step(identityGrace)
			w.pass()
			if got := w.identityObjects(); len(got) != 0 {
				t.Fatalf("still held: %q", got)
			}
			w.kcp.finishNamespaces(t)
			w.clock.Step(10 * time.Second)
			w.settle()
			if got := w.condition(workloadv1alpha1.ConditionDeployed); len(w.identityObjects()) != 2 || !strings.HasPrefix(got, "True Deployed") {
				t.Errorf("not made anew: %q, Deployed = %s", w.identityObjects(), got)
			}
			if got := w.condition(workloadv1alpha1.ConditionReady); !strings.HasPrefix(got, "True Ready") {
				t.Errorf("Ready = %s", got)
			}
		})
	}
}

// TestIdentityDeletedWithItsTarget: the token is needed to take the finalizers off, so the deletion of the SyncTarget decides.
func TestIdentityDeletedWithItsTarget(t *testing.T) {
	w := usual(t)
	w.ready()
	w.deleteIdentity()
	w.pass()
	w.clock.Step(identityGrace)
	cache := newServer(t, w.clock, w.target(), newBinding(), newSecret()) // it does not show the deletion yet
	w.delete()
	w.clock.Step(identityGrace)
	w.cache.reader = cache.raw
	_, _ = w.reconcile()
	if got := w.identityObjects(); len(got) != 1 {
		t.Errorf("let go before the SyncTarget: left %q", got)
	}
	w.cache.reader = w.kcp.raw
	for range 5 {
		_, _ = w.reconcile()
	}
	w.kcp.finishNamespaces(t)
	w.finish()
	w.clean("after the deletion")
}

// TestServiceAccountDeletedByHand: it is gone at once, so that kcp deletes its token, and the event of that brings it back.
func TestServiceAccountDeletedByHand(t *testing.T) {
	w := usual(t)
	w.ready()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace(), Name: agent.DeploymentName}}
	if err := w.kcp.raw.Delete(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if got := w.identityObjects(); len(got) != 1 {
		t.Fatalf("it is held, and kcp deletes no token: %q", got)
	}
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace(), Name: agent.TokenSecretName}}
	if err := w.kcp.raw.Delete(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	w.kcp.token = "another.payload.signature"
	w.r.installCache.forgetIdentity(testUID) // as the event of the token Secret does
	w.pass()
	var installed corev1.Secret
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(token), &installed); err != nil {
		t.Fatal(err)
	}
	if got := w.identityObjects(); len(got) != 2 || string(installed.Data[corev1.ServiceAccountTokenKey]) != w.kcp.token || w.tokenGets == 0 {
		t.Errorf("not made anew in one pass: %q, token %q, proven %d times", got, installed.Data, w.tokenGets)
	}
}

// TestOtherIdentityIsKept: what does not carry our UID is not ours to let go.
func TestOtherIdentityIsKept(t *testing.T) {
	w := usual(t)
	w.ready()
	var secret corev1.Secret
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: agent.TokenSecretName}, &secret); err != nil {
		t.Fatal(err)
	}
	secret.Labels[workloadv1alpha1.LabelUID] = "another"
	if err := w.kcp.raw.Update(t.Context(), &secret); err != nil {
		t.Fatal(err)
	}
	w.deleteIdentity()
	w.pass()
	w.clock.Step(identityGrace)
	w.pass()
	if got := w.identityObjects(); len(got) != 1 || !strings.HasPrefix(got[0], "Secret") {
		t.Errorf("left %q, want the Secret alone", got)
	}
}
