package synctarget

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// setClaims accepts or rejects every permission claim, and lets kcp answer accordingly.
func (w *world) setClaims(state apisv1alpha2.AcceptablePermissionClaimState) {
	w.t.Helper()
	binding := newBinding()
	for i := range binding.Spec.PermissionClaims {
		binding.Spec.PermissionClaims[i].State = state
	}
	_ = w.kcp.raw.Delete(w.t.Context(), newBinding())
	w.create(binding)
	w.kcp.refuse = func(request string) error {
		if state == apisv1alpha2.ClaimRejected && !strings.Contains(request, " SyncTarget ") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "claimed"}, "it", errInjected)
		}
		return nil
	}
}

func withoutFinalizer(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil }

// TestDeletionWithoutClaims: where nothing was made, nothing can be left, and nobody asks for it.
func TestDeletionWithoutClaims(t *testing.T) {
	for name, change := range map[string]func(*workloadv1alpha1.SyncTarget){"push": withoutFinalizer, "pull": func(target *workloadv1alpha1.SyncTarget) {
		withoutFinalizer(target)
		pull(target)
	}} {
		t.Run(name, func(t *testing.T) {
			w := usual(t, change)
			w.setClaims(apisv1alpha2.ClaimRejected)
			w.settle()
			w.restart()
			w.settle()
			if got := w.condition(workloadv1alpha1.ConditionValid); !strings.HasPrefix(got, "False ValidationFailed: permission claims") {
				t.Errorf("Valid = %s", got)
			}
			w.delete()
			for range 3 {
				if !w.gone() {
					w.pass()
				}
			}
			if !w.gone() {
				t.Errorf("the deletion does not end: Deployed = %s", w.condition(workloadv1alpha1.ConditionDeployed))
			}
		})
	}
}

// TestFinalizerBeforeTheFirstSideEffect: and that is not before the SyncTarget is valid.
func TestFinalizerBeforeTheFirstSideEffect(t *testing.T) {
	w := usual(t, withoutFinalizer)
	w.setClaims(apisv1alpha2.ClaimRejected)
	w.settle()
	if controllerutil.ContainsFinalizer(w.target(), workloadv1alpha1.Finalizer) {
		t.Error("nothing is made yet, and the finalizer is there")
	}
	w.setClaims(apisv1alpha2.ClaimAccepted)
	w.pass()
	if !controllerutil.ContainsFinalizer(w.target(), workloadv1alpha1.Finalizer) || len(w.kcp.writes) != 1 || len(w.there.writes) != 0 {
		t.Errorf("the finalizer is not the first write: %q, %q", w.kcp.writes, w.there.writes)
	}
	w.ready()
	w.delete()
	w.finish()
	w.clean("after the deletion")
}

// TestFinalizerIsPutBack: something was made, whether or not the SyncTarget is valid now.
func TestFinalizerIsPutBack(t *testing.T) {
	w := usual(t)
	w.ready()
	w.edit(withoutFinalizer)
	w.setClaims(apisv1alpha2.ClaimRejected)
	w.pass()
	if !controllerutil.ContainsFinalizer(w.target(), workloadv1alpha1.Finalizer) {
		t.Error("the finalizer is not there")
	}
}

// TestDeletionNamesTheClaim: where something was made, the message says which claim to accept, and once it is, the deletion ends.
func TestDeletionNamesTheClaim(t *testing.T) {
	const want = "The permission claims of the APIBinding on clusterrolebindings.rbac.authorization.k8s.io, clusterroles.rbac.authorization.k8s.io, " +
		"namespaces, rolebindings.rbac.authorization.k8s.io, secrets, serviceaccounts are not accepted; accept them in its spec.permissionClaims"
	for name, change := range map[string]func(*workloadv1alpha1.SyncTarget){"push": func(*workloadv1alpha1.SyncTarget) {}, "pull": pull} {
		t.Run(name, func(t *testing.T) {
			w := usual(t, change)
			w.settle()
			w.setClaims(apisv1alpha2.ClaimRejected)
			w.delete()
			for range 3 {
				w.pass()
			}
			if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False RemovalFailed: ") || !strings.Contains(got, want) {
				t.Errorf("Deployed = %s", got)
			}
			w.setClaims(apisv1alpha2.ClaimAccepted)
			w.finish()
			w.clean("after the claims were accepted")
			if got := w.abandonedSteps(); len(got) != 0 {
				t.Errorf("Events: %q", got)
			}
		})
	}
}
