package kcpprovider

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/kcp-dev/logicalcluster/v3"
)

// TestLogicalClusterCannotBeCreated: it is tried again without an event, but not once its APIBinding is gone.
func TestLogicalClusterCannotBeCreated(t *testing.T) {
	tests := map[string]struct {
		reason string
		// failures is how often the creation fails, and events how often the APIBinding changes meanwhile.
		failures, events int
		unbound          bool
		want             []string
		calls            int
	}{
		"once":        {"", 1, 0, false, []string{"one"}, 2},
		"for a while": {"The pauses grow: 1, 2, 4 and 8 seconds.", 4, 0, false, []string{"one"}, 5},
		"with events": {"Each tries once more, and starts no further retries.", 6, 3, false, []string{"one"}, 7},
		"by an event": {"The retry finds it engaged.", 1, 1, false, []string{"one"}, 2},
		"unbound":     {"", 100, 0, true, nil, 1},
		"never":       {"", 0, 2, false, []string{"one"}, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kcp := newFakeKcp()
				kcp.list(shard1)
				r := start(t, kcp)
				settle()
				calls := 0
				r.s.newCluster = func(e *endpoint, name logicalcluster.Name) (*logicalCluster, error) {
					if calls++; calls <= tc.failures {
						return nil, errInjected
					}
					return newLogicalCluster(e, name)
				}
				binding := bound("one")
				kcp.put(shard1+bindingsPath, binding)
				synctest.Wait()
				for range tc.events {
					kcp.put(shard1+bindingsPath, binding)
					synctest.Wait()
				}
				if tc.unbound {
					kcp.remove(shard1+bindingsPath, binding)
				}
				time.Sleep(time.Minute)
				r.want(tc.reason, tc.want...)
				if calls != tc.calls {
					t.Errorf("%s\ntried %d times, want %d", tc.reason, calls, tc.calls)
				}
				if left := r.s.endpoints[shard1].retrying; len(left) != 0 {
					t.Errorf("still retrying %v", left)
				}
			})
		})
	}
}
