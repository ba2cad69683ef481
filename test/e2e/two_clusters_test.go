package e2e

import "testing"

// secondCluster is the physical cluster that stories cut off, cordon and otherwise break.
const secondCluster = "cluster-2"

// TestSecondCluster runs the stories that need the second cluster for themselves, one after the other, beside those that
// use the first one. It takes longest of all: `go test` starts parallel tests about in reverse order of their
// declaration, so this file is the last one of the package.
func TestSecondCluster(t *testing.T) {
	t.Parallel()
	for _, story := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"ClusterGone", clusterGone},
		{"SilentSyncer", silentSyncer},
		{"SyncThroughPartition", syncThroughPartition},
		{"SyncOfTwoTargets", syncOfTwoTargets},
		{"PlacementDrain", placementDrain},
		{"PlacementFailover", placementFailover},
		{"PlacementTakenBack", placementTakenBack},
		{"MassDisconnect", massDisconnect},
	} {
		t.Run(story.name, story.run)
	}
}
