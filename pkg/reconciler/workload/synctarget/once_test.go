package synctarget

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/synctarget/synctarget/pkg/pcluster"
)

// TestGivenUpOnce: each step of a SyncTarget is announced once, also where the pass is repeated.
func TestGivenUpOnce(t *testing.T) {
	tests := map[string]struct {
		reason string
		again  func(*world)
	}{
		"a later step": {"The identity's Namespace takes its time.", func(w *world) { w.kcp.slowNamespaces = true }},
		"a conflict": {"Somebody else changes the SyncTarget.", func(w *world) {
			conflicts := 5
			w.kcp.refuse = func(request string) error {
				if strings.HasPrefix(request, "patch SyncTarget") && conflicts > 0 {
					conflicts--
					return apierrors.NewConflict(schema.GroupResource{Resource: "synctargets"}, testName, errInjected)
				}
				return nil
			}
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := deleted(t)
			w.clusters.err = pcluster.ErrUnreachable
			tc.again(w)
			abandon(t, w)
			for range 8 {
				if !w.gone() {
					w.pass()
				}
			}
			if got := w.abandonedSteps(); len(got) != 1 {
				t.Errorf("%s\nEvents: %q", tc.reason, got)
			}
			if got := testutil.ToFloat64(w.r.Metrics.abandoned.WithLabelValues("agent")); got != 1 {
				t.Errorf("%s\ncounted %v times", tc.reason, got)
			}
			w.kcp.finishNamespaces(t)
			w.finish()
		})
	}
}
