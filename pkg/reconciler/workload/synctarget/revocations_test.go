package synctarget

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// forgeRevoked has the syncer say itself that its rights were taken back.
func (w *world) forgeRevoked(name string) {
	w.t.Helper()
	a := w.assigned(name)
	meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{
		Type: workloadv1alpha1.ConditionAdmitted, Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonRevoked, ObservedGeneration: a.Generation,
	})
	if err := w.kcp.raw.Status().Update(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
}

// TestForgedRevoked: rights that a syncer says itself to have lost are taken back, whether its SyncTarget stays or goes.
func TestForgedRevoked(t *testing.T) {
	t.Run("SyncTarget stays", func(t *testing.T) {
		w := open(t)
		w.withdraw("shop")
		w.settle()
		w.forgeRevoked("shop")
		w.settle()
		if got := w.record("shop"); w.granted("shop") || w.furnished() || !strings.HasPrefix(got, "False Revoked") {
			t.Errorf("granted = %t, furnished = %t, Admitted = %s", w.granted("shop"), w.furnished(), got)
		}
	})
	t.Run("SyncTarget is deleted", func(t *testing.T) {
		w := open(t)
		w.delete()
		w.forgeRevoked("shop")
		w.finish()
		if w.granted("shop") {
			t.Error("the rights are left")
		}
	})
}

// TestRevokedIsReadOnce: the rights behind a record that says Revoked are looked at once, and not at all by who has taken them back.
func TestRevokedIsReadOnce(t *testing.T) {
	w := open(t)
	w.withdraw("shop")
	w.settle()
	w.withdrawn("shop")
	w.settle()
	reads := 0
	w.kcp.refuse = func(request string) error {
		if strings.HasPrefix(request, `get RoleBinding "shop/`) {
			reads++
		}
		return nil
	}
	w.pass()
	w.pass()
	if reads != 0 {
		t.Errorf("read %d times by who has taken them back", reads)
	}
	w.restart()
	w.pass()
	w.pass()
	if reads != 1 {
		t.Errorf("read %d times by another", reads)
	}
}

func TestRevocationsAreForgotten(t *testing.T) {
	r, a, b := newRevocations(), assignment("a"), assignment("b")
	r.add(testUID, a)
	r.add(testUID, b)
	r.keep(testUID, []*assignedNamespace{{Assignment: a}})
	if !r.has(testUID, a) || r.has(testUID, b) {
		t.Errorf("a is known: %t, b is known: %t", r.has(testUID, a), r.has(testUID, b))
	}
	a.Generation++
	if r.has(testUID, a) {
		t.Error("what was seen of one generation counts for another")
	}
	a.Generation--
	if r.forget(testUID); r.has(testUID, a) {
		t.Error("it is known of a SyncTarget that is gone")
	}
}
