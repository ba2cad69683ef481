package placement

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// rightsOf are those of the syncer of a SyncTarget in a Namespace.
func rightsOf(target, uid, namespace string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: workloadv1alpha1.SyncerNamespace(target, workloadv1alpha1.Key(testCluster, target)),
		Labels: map[string]string{
			workloadv1alpha1.LabelKey: workloadv1alpha1.Key(testCluster, target), workloadv1alpha1.LabelUID: uid,
		},
	}}
}

// lose takes an Assignment away, as the deletion of the Namespace of its syncer does.
func (w *world) lose(a *workloadv1alpha1.Assignment) {
	w.t.Helper()
	a.Finalizers = nil
	if err := w.kcp.raw.Update(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
	if err := w.kcp.raw.Delete(w.t.Context(), a); err != nil {
		w.t.Fatal(err)
	}
}

// TestLostAssignment: one that is gone while the syncer has its rights is made anew on a SyncTarget that takes nothing new. The rights
// are read live, of such a one alone.
func TestLostAssignment(t *testing.T) {
	tests := map[string]struct {
		reason string
		// uid is that of the SyncTarget that the rights were given to, empty for no rights.
		uid string
		// refused: the rights cannot be read.
		refused bool
		// same: it is placed where it was.
		same bool
	}{
		"rights":            {"It runs there.", "own", false, true},
		"no rights":         {"Nothing is left of it.", "", false, false},
		"of an earlier one": {"They tell nothing of this SyncTarget.", "earlier", false, false},
		"not to be read":    {"It may run there.", "own", true, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "a")
			w.settle()
			w.syncAll()
			w.settle()
			if got := w.kcp.requests("get RoleBinding"); len(got) > 0 {
				t.Errorf("with its Assignment: %q", got)
			}
			assignment := w.assignments()[0]
			from := assignment.Annotations[workloadv1alpha1.AnnotationSyncTarget]
			if tc.uid == "own" {
				tc.uid = string(w.target(from).UID)
			}
			if tc.uid != "" {
				if err := w.kcp.raw.Create(t.Context(), rightsOf(from, tc.uid, "a")); err != nil {
					t.Fatal(err)
				}
			}
			edit(w, &workloadv1alpha1.SyncTarget{}, from, func(target *workloadv1alpha1.SyncTarget) { target.Spec.Unschedulable = true })
			w.lose(&assignment)
			w.kcp.forget()
			if tc.refused {
				w.kcp.refuse = func(request string) error {
					return map[bool]error{true: errInjected}[strings.HasPrefix(request, "get RoleBinding")]
				}
				_, err := w.reconcile()
				decided := append(w.kcp.requests("create Assignment"), w.kcp.requests("patch Namespace")...)
				if err == nil || len(decided) > 0 || !strings.Contains(fmt.Sprint(w.placement().Status.Conditions), "kcp does not answer") {
					t.Errorf("%s Reconcile() = %v, written: %q; %v", tc.reason, err, decided, w.placement().Status.Conditions)
				}
				return
			}
			w.pass()
			placed := w.assignments()
			if len(placed) != 1 || (placed[0].Annotations[workloadv1alpha1.AnnotationSyncTarget] == from) != tc.same {
				t.Errorf("%s %q, it was on %s", tc.reason, w.placed(), from)
			}
			w.settle()
			w.kcp.forget()
			w.pass()
			if got := w.kcp.requests("get RoleBinding"); len(got) > 0 {
				t.Errorf("at rest: %q", got)
			}
		})
	}
}

// TestEndedIsReadOnce: that the rights are gone is not read again, as of a Namespace that is being deleted for long.
func TestEndedIsReadOnce(t *testing.T) {
	w := newWorld(t, "a")
	w.settle()
	w.syncAll()
	w.settle()
	edit(w, w.namespace("a"), "a", func(namespace *corev1.Namespace) { namespace.Finalizers = []string{"example.com/other"} })
	if err := w.kcp.raw.Delete(t.Context(), w.namespace("a")); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.syncAll()
	w.settle()
	w.settle()
	if got := w.assignments(); len(got) > 0 {
		t.Fatalf("left: %q", w.placed())
	}
	if got := w.kcp.requests("get RoleBinding"); len(got) > 2 { // before the record is deleted, and after it
		t.Errorf("read %q", got)
	}
}
