package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// silentSyncer kills the syncer's pod and keeps another from starting for longer than the threshold.
func silentSyncer(t *testing.T) {
	n := newTenant(t)
	n.cluster = secondCluster
	n.register("edge-1")
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := env.ClusterKubectl(t.Context(), secondCluster, "", args...)
		require.NoError(t, err)
		return out
	}
	nodes := strings.Fields(kubectl("get", "nodes", "-o=name"))
	t.Cleanup(func() {
		_, _ = env.ClusterKubectl(context.Background(), secondCluster, "", append([]string{"uncordon"}, nodes...)...)
	})
	kubectl(append([]string{"cordon"}, nodes...)...)
	kubectl("-n", n.namespaceOf("edge-1"), "delete", "pods", "--all", "--force", "--grace-period=0")

	n.await("edge-1", "Deployed", "RollingOut", "unschedulable")
	target := n.await("edge-1", "Ready", "Unhealthy", "Syncer is not healthy")
	assert.Equal(t, workloadv1alpha1.PhaseNotReady, target.Status.Phase)

	kubectl(append([]string{"uncordon"}, nodes...)...)
	n.await("edge-1", "Ready", "Ready", "Syncer is healthy and ready")
	n.await("edge-1", "Deployed", "Deployed")
}

// TestSkewedClock registers two syncers whose clocks are an hour off: they are as alive as any other while they beat,
// and as dead when they stop.
func TestSkewedClock(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	skews := map[string]time.Duration{"fast": time.Hour, "slow": -time.Hour}
	for name := range skews {
		require.NoError(t, n.Create(t.Context(), kubeconfigSecret(name, clusterKubeconfig(t))))
		target := syncTarget(name)
		target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Image: skewedImage(t, name)}
		require.NoError(t, n.Create(t.Context(), target))
	}
	for name, skew := range skews {
		target := n.await(name, "Ready", "Ready")
		sent, seen := time.Until(n.renewed(name)), time.Until(target.Status.LastHeartbeatTime.Time)
		assert.InDelta(t, skew.Minutes(), sent.Minutes(), 5, "%s: the Lease says %s", name, n.renewed(name))
		assert.InDelta(t, 0, seen.Minutes(), 5, "%s: the status says %s", name, target.Status.LastHeartbeatTime)
	}
	for start := time.Now(); time.Since(start) < threshold+10*time.Second; <-time.After(time.Second) {
		for name := range skews {
			var target workloadv1alpha1.SyncTarget
			require.NoError(t, n.Get(t.Context(), client.ObjectKey{Name: name}, &target))
			require.True(t, meta.IsStatusConditionTrue(target.Status.Conditions, "Ready"), "%s: %+v", name, target.Status.Conditions)
		}
	}
	for name := range skews {
		change(n, syncTarget(name), func(st *workloadv1alpha1.SyncTarget) { st.Spec.Syncer.Replicas = ptr.To[int32](0) })
	}
	for name := range skews {
		n.await(name, "Ready", "ScaledToZero")
	}
}

// skewedImage is that of the program skewed under this name.
func skewedImage(t *testing.T, name string) string {
	t.Helper()
	built, err := env.BuildProgram(t.Context(), "./test/e2e/skewed")
	require.NoError(t, err)
	data, err := os.ReadFile(built)
	require.NoError(t, err)
	program := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(program, data, 0o755))
	image := "synctarget.local/" + name + ":e2e"
	archive, err := env.BuildImage(t.Context(), image, program)
	require.NoError(t, err)
	require.NoError(t, env.Import(t.Context(), archive))
	return image
}
