package synctarget

import (
	"fmt"
	"strings"
	"testing"
	"time"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// TestRemovalWhileTheConnectionIsReplaced: that a connection was replaced says nothing about the cluster, whichever call it ends.
func TestRemovalWhileTheConnectionIsReplaced(t *testing.T) {
	replaced := fmt.Errorf("calling: %w", pcluster.ErrReplaced)
	refuse := func(prefix string) func(*world) {
		return func(w *world) {
			w.there.refuse = func(request string) error {
				if strings.HasPrefix(request, prefix) {
					return replaced
				}
				return nil
			}
		}
	}
	for name, replace := range map[string]func(*world){
		"connecting":           func(w *world) { w.clusters.err = replaced },
		"identifying":          func(w *world) { w.there.unidentified = replaced },
		"removing the syncer":  refuse("delete Deployment"),
		"listing what is left": refuse("list NamespaceList"),
	} {
		t.Run(name, func(t *testing.T) {
			w := deleted(t)
			replace(w)
			for range 3 {
				w.pass()
				w.clock.Step(time.Second)
			}
			if got, want := w.condition(workloadv1alpha1.ConditionDeployed), "False Removing: Removing the syncer"; got != want {
				t.Errorf("Deployed = %s, want %s", got, want)
			}
			w.clusters.err, w.there.unidentified, w.there.refuse = nil, nil, func(string) error { return nil }
			w.finish()
			w.clean("with the new connection")
			if got := w.abandonedSteps(); len(got) != 0 {
				t.Errorf("Events: %q", got)
			}
		})
	}
	t.Run("again and again", func(t *testing.T) {
		w := deleted(t)
		w.clusters.err = replaced
		w.clock.Step(deadline)
		if w.pass(); w.gone() {
			t.Fatal("abandoned although the cluster is being connected again")
		}
		w.clock.Step(completionTime)
		w.finish()
		if got := w.abandonedSteps(); len(got) != 1 || !strings.HasSuffix(got[0], "The physical cluster is being connected again") {
			t.Errorf("Events: %q", got)
		}
	})
}
