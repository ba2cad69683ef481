package synctarget

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestCrash ends the controller at each of its writes, made or not, and lets another one finish. The Secret is
// deleted together with the target, as kubectl delete -f does.
func TestCrash(t *testing.T) {
	life := func(w *world) {
		for quiet := 0; quiet < 2; {
			before := len(w.kcp.writes) + len(w.there.writes)
			if _, err := w.reconcile(); err != nil {
				w.restart()
			}
			if quiet++; before != len(w.kcp.writes)+len(w.there.writes) {
				quiet = 0
			}
		}
	}
	deletion := func(w *world) {
		w.delete()
		var secret corev1.Secret
		if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: "edge-1"}, &secret); err != nil {
			w.t.Fatal(err)
		}
		if err := w.kcp.raw.Delete(w.t.Context(), &secret); err != nil {
			w.t.Fatal(err)
		}
		life(w)
	}
	dry := usual(t, func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil })
	life(dry)
	installs := [2]int{len(dry.kcp.writes), len(dry.there.writes)}
	deletion(dry)
	if !dry.gone() {
		t.Fatal("the deletion does not end without a crash")
	}
	removals := [2]int{len(dry.kcp.writes), len(dry.there.writes)}

	for side, name := range []string{"upstream", "downstream"} {
		for n := 1; n <= removals[side]; n++ {
			for _, lost := range []bool{false, true} {
				what := fmt.Sprintf("%s write %d, made %t", name, n, lost)
				w := usual(t, func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil })
				s := []*server{w.kcp, w.there.server}[side]
				s.failWrite, s.lost = n, lost
				life(w)
				if n <= installs[side] {
					w.rollOut()
					w.wake()
					life(w)
					if !meta.IsStatusConditionTrue(w.target().Status.Conditions, workloadv1alpha1.ConditionDeployed) {
						t.Errorf("%s: Deployed = %s", what, w.condition(workloadv1alpha1.ConditionDeployed))
					}
				}
				deletion(w)
				if !w.gone() {
					t.Errorf("%s: the deletion does not end: %s", what, w.condition(workloadv1alpha1.ConditionDeployed))
					continue
				}
				w.clean(what)
				if slices.ContainsFunc(w.events.events, func(e string) bool { return strings.HasPrefix(e, "Warning Abandoned") }) {
					t.Errorf("%s: let go: %q", what, w.events.events)
				}
			}
		}
	}
}
