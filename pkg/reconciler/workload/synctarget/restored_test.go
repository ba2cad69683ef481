package synctarget

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// replace puts an Assignment in the place of that of "shop", which is lost.
func (w *world) replace(a *workloadv1alpha1.Assignment) {
	w.t.Helper()
	if err := w.kcp.raw.Delete(w.t.Context(), w.assigned("shop")); err != nil {
		w.t.Fatal(err)
	}
	w.create(a)
}

func restored(a *workloadv1alpha1.Assignment) {
	a.UID = "restored"
	a.Annotations[workloadv1alpha1.AnnotationRestored] = "true"
}

func withdrawal(a *workloadv1alpha1.Assignment) {
	a.Spec.Intent, a.Spec.Epoch, a.Generation = workloadv1alpha1.IntentWithdraw, 2, 2
}

// TestRestoredWithdrawal: what an Assignment that was lost has left is drained, also where the new one is withdrawn before it is
// admitted.
func TestRestoredWithdrawal(t *testing.T) {
	refused := func(a *workloadv1alpha1.Assignment) {
		meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{
			Type: workloadv1alpha1.ConditionAdmitted, Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonNamespaceRefused, ObservedGeneration: 1,
		})
	}
	for name, change := range map[string]func(*workloadv1alpha1.Assignment){"at once": func(*workloadv1alpha1.Assignment) {}, "when it was refused": refused} {
		for when, deleted := range map[string]bool{"SyncTarget stays": false, "SyncTarget is deleted": true} {
			t.Run(name+", "+when, func(t *testing.T) {
				w := open(t)
				w.replace(assignment("shop", restored, withdrawal, change))
				if deleted {
					w.beat(w.clock.Now())
					w.deleteTarget()
				}
				w.settle()
				if got := w.record("shop"); got != "True Admitted: "+drainingMessage || !w.granted("shop") || !w.furnished() {
					t.Fatalf("Admitted = %s, granted = %t, furnished = %t", got, w.granted("shop"), w.furnished())
				}
				w.withdrawn("shop")
				for range 5 {
					if !w.gone() {
						w.pass()
					}
				}
				if got := w.record("shop"); !strings.HasPrefix(got, "False Revoked") || w.granted("shop") || w.gone() != deleted {
					t.Errorf("in the end Admitted = %s, granted = %t, gone = %t", got, w.granted("shop"), w.gone())
				}
			})
		}
	}
}

// TestRestoredRun: a Namespace is not said to be admitted before it is seen that the rights stand on both sides.
func TestRestoredRun(t *testing.T) {
	w := open(t)
	w.replace(assignment("shop", restored))
	w.restart() // which has yet to see the rights
	w.there.refuse = func(string) error { return errInjected }
	_, _ = w.reconcile()
	if got := w.record("shop"); strings.HasPrefix(got, "True") {
		t.Errorf("Admitted = %s while the cluster does not answer", got)
	}
	w.there.refuse = func(string) error { return nil }
	w.settle()
	if got := w.namespaces(); got != "shop Open" {
		t.Errorf("namespaces: %s", got)
	}
}
