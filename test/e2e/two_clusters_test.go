package e2e

import "testing"

// secondCluster is the physical cluster that stories cut off, cordon and otherwise break.
const secondCluster = "cluster-2"

// twoClusterStory is a story that needs the second cluster.
type twoClusterStory struct {
	name string
	run  func(*testing.T)
}

// TestSecondCluster runs the stories that need the second cluster, beside those that use the first one: first, side by
// side, those that leave it connected, then one after the other those that cut it off or cordon its node. It takes
// longest of all: `go test` starts parallel tests about in reverse order of their declaration, so this file is the last
// one of the package.
func TestSecondCluster(t *testing.T) {
	t.Parallel()
	t.Run("Connected", func(t *testing.T) {
		for _, story := range []twoClusterStory{
			{"SyncOfTwoTargets", syncOfTwoTargets},
			{"PlacementDrain", placementDrain},
			{"PlacementTakenBack", placementTakenBack},
		} {
			t.Run(story.name, func(t *testing.T) {
				t.Parallel()
				story.run(t)
			})
		}
	})
	for _, story := range []twoClusterStory{
		{"ClusterGone", clusterGone},
		{"SilentSyncer", silentSyncer},
		{"SyncThroughPartition", syncThroughPartition},
		{"PlacementFailover", placementFailover},
		{"MassDisconnect", massDisconnect},
	} {
		t.Run(story.name, story.run)
	}
}
