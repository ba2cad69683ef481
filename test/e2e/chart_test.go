package e2e

import (
	"context"
	"encoding/json"
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
	t.Cleanup(func() {
		ctx := context.Background()
		if t.Failed() {
			pods, err := env.ClusterKubectl(ctx, "cluster-1", "", "-n", namespace, "describe", "pods")
			t.Logf("the controller's pods: %v\n%s", err, pods)
		}
		_, _ = runHelm(ctx, t, namespace, "uninstall", release, "--ignore-not-found")
		_, _ = env.ClusterKubectl(ctx, "cluster-1", "", "delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
	})
	kubectl("create", "namespace", namespace)
	kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	kubectl("-n", namespace, "create", "secret", "generic", "synctarget-kcp", "--from-file=kubeconfig="+filepath.Join(env.Dir, service.Name+".kubeconfig"))

	chart := folder(t, "chart")
	out, err := runHelm(ctx, t, namespace, "install", release, chart, "--wait", "--timeout=110s")
	require.NoError(t, err, out)
	assert.Contains(t, out, "Its Pods start once the Secret synctarget-kcp", "the notes say what to do next")
	assert.Equal(t, "2", kubectl("-n", namespace, "get", deployment, "-o=jsonpath={.status.availableReplicas}"))

	n := newTenant(t, func(binding *apisv1alpha2.APIBinding) { binding.Spec.Reference.Export.Path = service.Workspace })
	require.NoError(t, n.Create(ctx, kubeconfigSecret("edge-1", clusterKubeconfig(t))))
	target := syncTarget("edge-1")
	require.NoError(t, n.Create(ctx, target))
	n.await("edge-1", "Deployed", "Deployed")
	n.await("edge-1", "Ready", "Ready")

	provider := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(provider, adminKubeconfig(t, service.Workspace), 0o600))
	kubectl("-n", namespace, "create", "secret", "generic", "synctarget-kcp-admin", "--from-file=kubeconfig="+provider)
	out, err = runHelm(ctx, t, namespace, "upgrade", release, chart, "--wait", "--timeout=110s", "--set=replicas=1", "--set=extraArgs={--delete-deadline=5m}", "--set=installAPI.enabled=true")
	require.NoError(t, err, out)
	managers, err := env.Kubectl(ctx, service.Workspace, "", "get", "apiexport", "workload.kcp.io", "-o=jsonpath={.metadata.managedFields[*].manager}")
	require.NoError(t, err)
	assert.Contains(t, managers, "synctarget-install-api", "the Job has applied the API")
	assert.Empty(t, kubectl("-n", namespace, "get", "jobs", "-o=name"), "a Job that has succeeded is deleted")
	assert.Contains(t, kubectl("-n", namespace, "get", deployment, "-o=jsonpath={.spec.template.spec.containers[0].args}"), "--delete-deadline=5m")
	require.NoError(t, n.Delete(ctx, target))
	n.awaitGone(target)

	out, err = runHelm(ctx, t, namespace, "uninstall", release, "--timeout=110s")
	require.NoError(t, err, out)
	n.eventually("uninstalling leaves nothing", func() (bool, string) {
		left := kubectl("get", "clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/instance="+release, "-o=name")
		left += kubectl("-n", namespace, "get", "all,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets", "-l", "app.kubernetes.io/instance="+release, "-o=name")
		return left == "", left
	})
}

// TestChartObjects: an API server accepts every object of the chart, the optional ones too, strictly and without a warning. In its
// Namespace it warns of Pods that are not restricted.
func TestChartObjects(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const namespace, release = "synctarget-chart-objects", "everything"
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		out, err := env.ClusterKubectl(ctx, "cluster-1", stdin, args...)
		require.NoError(t, err)
		return out
	}
	// They stay: whoever uses the cluster meanwhile may see them.
	crds := prometheusOperatorCRDs(t)
	for _, resource := range []string{"servicemonitors", "prometheusrules"} {
		kubectl("", "apply", "--server-side", "-f", filepath.Join(crds, "monitoring.coreos.com_"+resource+".yaml"))
		kubectl("", "wait", "--for=condition=Established", "--timeout=60s", "crd/"+resource+".monitoring.coreos.com")
	}
	t.Cleanup(func() {
		_, _ = env.ClusterKubectl(context.Background(), "cluster-1", "", "delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
	})
	kubectl("", "create", "namespace", namespace)
	kubectl("", "label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted")

	manifests, err := runHelm(ctx, t, namespace, "template", release, folder(t, "chart"), "--values", filepath.Join("testdata", "chart-values.yaml"))
	require.NoError(t, err, manifests)
	out := kubectl(manifests, "-n", namespace, "apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-f", "-")
	const name = release + "-synctarget-controller"
	for _, object := range []string{
		"deployment.apps/" + name, "service/" + name + "-metrics", "serviceaccount/" + name, "poddisruptionbudget.policy/" + name,
		"networkpolicy.networking.k8s.io/" + name, "servicemonitor.monitoring.coreos.com/" + name, "prometheusrule.monitoring.coreos.com/" + name,
		"configmap/" + name + "-dashboards", "job.batch/" + name + "-install-api",
	} {
		assert.Contains(t, out, object+" serverside-applied (server dry run)\n")
	}
}

// runHelm runs helm in a Namespace of the hosting cluster, and returns what it prints.
func runHelm(ctx context.Context, t *testing.T, namespace string, args ...string) (string, error) {
	helm := os.Getenv("HELM")
	require.NotEmpty(t, helm, "HELM is the path of helm; `make e2e` builds it and sets HELM")
	dir := t.TempDir()
	command := exec.CommandContext(ctx, helm, append([]string{"--namespace", namespace}, args...)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+env.ClusterKubeconfig("cluster-1"), "HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir)
	out, err := command.CombinedOutput()
	return string(out), err
}

// prometheusOperatorCRDs is the folder with the CRDs of the Prometheus operator, in the version of its module below test/tools.
func prometheusOperatorCRDs(t *testing.T) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "github.com/prometheus-operator/prometheus-operator")
	command.Dir = "../tools/prometheus-operator"
	command.Env = append(os.Environ(), "GOWORK=off")
	out, err := command.Output()
	require.NoError(t, err, "%s", out)
	var module struct{ Dir string }
	require.NoError(t, json.Unmarshal(out, &module))
	return filepath.Join(module.Dir, "example", "prometheus-operator-crd")
}
