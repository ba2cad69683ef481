package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	"github.com/synctarget/synctarget/test/framework"
)

// TestChart installs the Helm chart in a hosting cluster, upgrades it, and uninstalls it. It serves an export of its own.
func TestChart(t *testing.T) {
	t.Parallel()
	helm := os.Getenv("HELM")
	require.NotEmpty(t, helm, "HELM is the path of helm; `make e2e` builds it and sets HELM")
	ctx := t.Context()
	service := framework.Service{Workspace: "root:e2e-chart", Name: "e2e-chart"}
	require.NoError(t, env.InstallExport(ctx, service))
	importReleaseImages(t)

	const namespace, release = "synctarget-chart", "beside-kcp"
	const deployment = "deployment/" + release + "-synctarget-controller"
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := env.ClusterKubectl(ctx, "cluster-1", "", args...)
		require.NoError(t, err)
		return out
	}
	runHelm := func(ctx context.Context, args ...string) (string, error) {
		dir := t.TempDir()
		command := exec.CommandContext(ctx, helm, append([]string{"--namespace", namespace}, args...)...)
		command.Env = append(os.Environ(), "KUBECONFIG="+env.ClusterKubeconfig("cluster-1"), "HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir)
		out, err := command.CombinedOutput()
		return string(out), err
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if t.Failed() {
			pods, err := env.ClusterKubectl(ctx, "cluster-1", "", "-n", namespace, "describe", "pods")
			t.Logf("the controller's pods: %v\n%s", err, pods)
		}
		_, _ = runHelm(ctx, "uninstall", release, "--ignore-not-found")
		_, _ = env.ClusterKubectl(ctx, "cluster-1", "", "delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
	})
	kubectl("create", "namespace", namespace)
	kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	kubectl("-n", namespace, "create", "secret", "generic", "synctarget-kcp", "--from-file=kubeconfig="+filepath.Join(env.Dir, service.Name+".kubeconfig"))

	chart := folder(t, "chart")
	out, err := runHelm(ctx, "install", release, chart, "--wait", "--timeout=110s")
	require.NoError(t, err, out)
	assert.Contains(t, out, "Its Pods start once the Secret synctarget-kcp", "the notes say what to do next")
	assert.Equal(t, "2", kubectl("-n", namespace, "get", deployment, "-o=jsonpath={.status.availableReplicas}"))

	n := newTenant(t, func(binding *apisv1alpha2.APIBinding) { binding.Spec.Reference.Export.Path = service.Workspace })
	require.NoError(t, n.Create(ctx, kubeconfigSecret("edge-1", clusterKubeconfig(t))))
	target := syncTarget("edge-1")
	require.NoError(t, n.Create(ctx, target))
	n.await("edge-1", "Deployed", "Deployed")
	n.await("edge-1", "Ready", "Ready")

	out, err = runHelm(ctx, "upgrade", release, chart, "--wait", "--timeout=110s", "--set=replicas=1", "--set=extraArgs={--delete-deadline=5m}")
	require.NoError(t, err, out)
	assert.Contains(t, kubectl("-n", namespace, "get", deployment, "-o=jsonpath={.spec.template.spec.containers[0].args}"), "--delete-deadline=5m")
	require.NoError(t, n.Delete(ctx, target))
	n.awaitGone(target)

	out, err = runHelm(ctx, "uninstall", release, "--timeout=110s")
	require.NoError(t, err, out)
	n.eventually("uninstalling leaves nothing", func() (bool, string) {
		left := kubectl("get", "clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/instance="+release, "-o=name")
		left += kubectl("-n", namespace, "get", "all,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets", "-l", "app.kubernetes.io/instance="+release, "-o=name")
		return left == "", left
	})
}
