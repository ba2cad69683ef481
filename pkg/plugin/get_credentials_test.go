package plugin

import (
	"strings"
	"testing"
)

func TestGetCredentials(t *testing.T) {
	target := syncing(newTarget("edge-1"))
	reported := running(target, "shop")
	reported.Status.DownstreamNamespace = "kcp-3x1b9v0k2c4m5n6q7r8s9t0u1v2w3x4y"
	w := newWorld(t, target, reported, newAssignment(target, "bakery"))
	w.golden("get-credentials", "get-credentials", "edge-1")
	if writes := w.workspace.writes(); len(writes) > 0 {
		t.Errorf("it wrote %q", writes)
	}
	for _, request := range w.workspace.requests {
		if strings.Contains(request, "Secret") {
			t.Errorf("it asked for a Secret: %s", request)
		}
	}
	newWorld(t, syncing(newTarget("edge-1"))).golden("get-credentials-none", "get-credentials", "edge-1")
}
