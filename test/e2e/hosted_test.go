package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	"github.com/synctarget/synctarget/test/framework"
)

// TestHosted runs the controller as users do: from config/manager, in a hosting cluster, two replicas of which one
// leads by a Lease there. The other takes over when the leader is killed. It serves an export of its own.
func TestHosted(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	hosted := framework.Service{Workspace: "root:e2e-hosted", Name: "e2e-hosted"}
	require.NoError(t, env.InstallExport(ctx, hosted))
	importReleaseImages(t)

	const namespace = "synctarget-system"
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		out, err := env.ClusterKubectl(ctx, "cluster-1", stdin, args...)
		require.NoError(t, err)
		return out
	}
	manifests, err := filepath.Abs("../../config/manager")
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			pods, err := env.ClusterKubectl(context.Background(), "cluster-1", "", "-n", namespace, "describe", "pods")
			t.Logf("the controller's pods: %v\n%s", err, pods)
		}
		_, _ = env.ClusterKubectl(context.Background(), "cluster-1", "", "delete", "--ignore-not-found", "-k", manifests)
	})
	kubectl("apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+"}\n", "apply", "--server-side", "-f", "-")
	kubectl("", "-n", namespace, "create", "secret", "generic", "synctarget-kcp", "--from-file=kubeconfig="+filepath.Join(env.Dir, hosted.Name+".kubeconfig"))
	kubectl("", "apply", "-k", manifests)
	kubectl("", "-n", namespace, "wait", "deployment/synctarget-controller", "--for=condition=Available", "--timeout=110s")
	assert.Equal(t, "2", kubectl("", "-n", namespace, "get", "deployment/synctarget-controller", "-o=jsonpath={.status.availableReplicas}"))

	leader := func() (pod string) {
		t.Helper()
		lease := &coordinationv1.Lease{}
		require.NoError(t, downstream(t).Get(ctx, client.ObjectKey{Namespace: namespace, Name: "synctarget-controller"}, lease))
		pod, _, _ = strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
		return pod
	}
	require.NotEmpty(t, leader())
	_, err = env.ClusterKubectl(ctx, "cluster-1", "", "get", "--raw", "/api/v1/namespaces/"+namespace+"/services/https:synctarget-controller-metrics:metrics/proxy/metrics")
	require.ErrorContains(t, err, "provide credentials", "metrics are for those whom the hosting cluster knows")

	n := newTenant(t, func(binding *apisv1alpha2.APIBinding) { binding.Spec.Reference.Export.Path = hosted.Workspace })
	require.NoError(t, n.Create(ctx, kubeconfigSecret("edge-1", clusterKubeconfig(t))))
	target := syncTarget("edge-1")
	start := time.Now()
	require.NoError(t, n.Create(ctx, target))
	n.await("edge-1", "Deployed", "Deployed")
	n.await("edge-1", "Ready", "Ready")
	t.Logf("Ready and Deployed after %s", time.Since(start).Round(100*time.Millisecond))

	killed, before := time.Now(), leader()
	kubectl("", "-n", namespace, "delete", "pod", before, "--grace-period=0", "--force")
	second := n.register("edge-2")
	assert.NotEqual(t, before, leader(), "the other replica leads")
	n.requireUntouched("edge-1", killed)
	require.NoError(t, n.Delete(ctx, target))
	require.NoError(t, n.Delete(ctx, second))
	n.awaitGone(target)
	n.awaitGone(second)
	kubectl("", "delete", "-k", manifests)
}

// importReleaseImages brings the images of config/manager and config/chart onto the nodes.
func importReleaseImages(t *testing.T) {
	t.Helper()
	for _, program := range []string{"synctarget-controller", "syncer"} {
		binary, err := env.BuildProgram(t.Context(), "./cmd/"+program)
		require.NoError(t, err)
		archive, err := env.BuildImage(t.Context(), "ghcr.io/synctarget/"+program+":dev", binary)
		require.NoError(t, err)
		require.NoError(t, env.Import(t.Context(), archive))
	}
}
