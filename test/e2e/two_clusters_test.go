package e2e

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// secondCluster is the physical cluster that stories cut off, cordon and otherwise break.
const secondCluster = "cluster-2"

// story is a test that needs the second cluster.
type story struct {
	name string
	run  func(*testing.T)
	// end is called when the story has ended, or was not chosen to run; nil for nothing.
	end func()
}

// TestSecondCluster runs the stories that need the second cluster, beside those that use the first one. It takes longest of all:
// `go test` starts parallel tests about in reverse order of their declaration, so this file is the last one of the package.
func TestSecondCluster(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() { _ = env.Heal(context.Background(), secondCluster) })
	shared := newOutage(secondCluster)
	gone, failover := shared.part(), shared.part()
	for _, stories := range [][]story{
		{
			{"ClusterGone", func(t *testing.T) { clusterGone(t, gone) }, gone.leave},
			{"PlacementFailover", func(t *testing.T) { placementFailover(t, failover) }, failover.leave},
		},
		{{name: "SilentSyncer", run: silentSyncer}},
		{{name: "SyncThroughPartition", run: syncThroughPartition}},
		{{name: "SyncOfTwoTargets", run: syncOfTwoTargets}, {name: "PlacementDrain", run: placementDrain}},
		{{name: "PlacementTakenBack", run: placementTakenBack}},
		{{name: "MassDisconnect", run: massDisconnect}},
	} {
		runTogether(t, stories)
		require.NoError(t, env.Heal(t.Context(), secondCluster)) // which a story that failed has not done
	}
}

// runTogether runs stories at the same time. They do not call t.Parallel, since they would wait behind all tests of the package.
func runTogether(t *testing.T, stories []story) {
	t.Helper()
	var all sync.WaitGroup
	for _, s := range stories {
		all.Go(func() {
			t.Run(s.name, s.run)
			if s.end != nil {
				s.end()
			}
		})
	}
	all.Wait()
}
