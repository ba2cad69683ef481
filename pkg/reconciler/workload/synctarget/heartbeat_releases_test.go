package synctarget

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"
)

// beEarlierController hides from the controller what one that knows no Leases does not look at.
func (w *world) beEarlierController() {
	w.kcp.refuse = func(request string) error {
		if strings.Contains(request, " Lease ") || strings.HasSuffix(request, `heartbeat"`) {
			return notFound("object", request)
		}
		return nil
	}
}

// mayRenew tells whether the syncer has the right to renew a Lease.
func (w *world) mayRenew() bool {
	return w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Name: testNamespace() + ":heartbeat"}, &rbacv1.ClusterRole{}) == nil
}

// send sends a heartbeat. A syncer that knows Leases renews its own if it may; see the tests of package heartbeat. Otherwise it
// writes status.lastHeartbeatTime. The controller gets an event of the Lease if it watches Leases.
func (w *world) send(syncerKnowsLeases, controllerWatches bool) {
	w.t.Helper()
	switch {
	case !syncerKnowsLeases || !w.mayRenew():
		w.beat(w.clock.Now())
	case controllerWatches:
		w.renew(thisCluster)
	default:
		w.renewUnseen(thisCluster)
	}
}

// TestHeartbeatsAcrossReleases: which controller sees the heartbeats of which syncer. The earlier release knows no Leases: its
// syncer writes status.lastHeartbeatTime, and its controller makes no Lease, looks at none, and removes no right to renew one.
func TestHeartbeatsAcrossReleases(t *testing.T) {
	noClaim := func(w *world) {
		w.changeClaims(func(c *apisv1alpha2.AcceptablePermissionClaim) {
			if c.Resource == "leases" {
				c.State = apisv1alpha2.ClaimRejected
			}
		})
		w.settle()
	}
	nothing := func(*world) {}
	tests := map[string]struct {
		reason string
		// before is what happens before there is a SyncTarget, and rollback before the earlier controller replaces the later one.
		before, rollback                 func(*world)
		laterController, laterSyncer, ok bool
	}{
		"both later":   {"", nothing, nil, true, true, true},
		"both earlier": {"", noClaim, nothing, false, false, true},
		"controller later, syncer earlier": {
			"In pull mode, or while it waits for its turn, a syncer of an earlier release runs.", nothing, nil, true, false, true,
		},
		"controller earlier, syncer later": {
			"A tenant may apply manifests of a later release. There is no Lease.", noClaim, nothing, false, true, true,
		},
		"rollback of the controller": {
			"The Lease remains, and the syncer renews it.", nothing, nothing, false, true, false,
		},
		"rollback of the controller, without the claim": {
			"The later controller has taken back the right to renew the Lease.", nothing, noClaim, false, true, true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			tc.before(w)
			w.settle()
			w.rollOut()
			w.wake()
			w.seeTarget()
			if w.mayRenew() {
				w.r.leaseEvents(testCluster, w.cache).Create(t.Context(), event.CreateEvent{Object: w.lease()}, newQueue(t))
			}
			w.send(tc.laterSyncer, true)
			w.settle()
			if !w.isReady() {
				t.Fatalf("Ready = %s", w.condition("Ready"))
			}
			if !tc.laterController {
				tc.rollback(w)
				w.restart()
				w.beEarlierController()
				w.seeTarget()
			}
			run := func(laterSyncer bool) {
				for start := w.clock.Now(); w.clock.Since(start) <= threshold; {
					w.clock.Step(threshold / 10)
					w.send(laterSyncer, tc.laterController)
					w.pass()
				}
			}
			if run(tc.laterSyncer); w.isReady() != tc.ok {
				t.Errorf("%s\nReady = %s", tc.reason, w.condition("Ready"))
			}
			if run(false); !w.isReady() {
				t.Errorf("%s\nwith a syncer of the earlier release: Ready = %s", tc.reason, w.condition("Ready"))
			}
		})
	}
}
