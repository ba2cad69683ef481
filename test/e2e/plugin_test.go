package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// pluginBinary builds the plugin once.
var pluginBinary = sync.OnceValues(func() (string, error) { return env.BuildProgram(context.Background(), "./cmd/kubectl-synctarget") })

// kubectlSynctarget calls the plugin in the tenant's workspace, and returns its output and exit code.
func (n *tenant) kubectlSynctarget(args ...string) (stdout, stderr string, code int) {
	n.t.Helper()
	binary, err := pluginBinary()
	require.NoError(n.t, err)
	ctx, cancel := context.WithTimeout(n.t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"--kubeconfig=" + env.KCPKubeconfig(), "--context=root", "--workspace=" + n.path.String()}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = nil
	}
	require.NoError(n.t, err)
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// requirePlugin is kubectlSynctarget for a call that must succeed.
func (n *tenant) requirePlugin(args ...string) (stdout, stderr string) {
	n.t.Helper()
	stdout, stderr, code := n.kubectlSynctarget(args...)
	require.Zero(n.t, code, stderr)
	return stdout, stderr
}

// TestPluginPush registers a cluster by one command from a workspace that has bound nothing, mends what is broken by the same
// command, and deregisters it.
func TestPluginPush(t *testing.T) {
	t.Parallel()
	lockInstaller(t)
	t.Cleanup(func() {
		_, _ = env.ClusterKubectl(context.Background(), "cluster-1", "", "delete", "--ignore-not-found",
			"namespace/synctarget-installer", "clusterrole/synctarget-installer", "clusterrolebinding/synctarget-installer")
	})
	n := newWorkspace(t)
	cluster := "--from-kubeconfig=" + env.ClusterKubeconfig("cluster-1")

	_, stderr, code := n.kubectlSynctarget("status")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "the workspace does not serve SyncTargets")

	_, stderr, code = n.kubectlSynctarget("join", "edge-1", "--cell=region=eu", cluster, "--export-path="+providerWorkspace)
	assert.Equal(t, 2, code, "the binding gives rights, so it needs a yes")
	assert.Contains(t, stderr, "next: add --yes")

	n.requirePlugin("join", "edge-1", "--cell=region=eu", cluster, "--export-path="+providerWorkspace, "--yes", "--timeout=2m")
	target := n.await("edge-1", "Ready", "Ready")
	stdout, _ := n.requirePlugin("status")
	assert.Contains(t, stdout, "edge-1   True    Ready")
	stdout, stderr = n.requirePlugin("version")
	assert.Regexp(t, `Controller version: +dev\n`, stdout)
	assert.NotContains(t, stderr, "warning", "all are built from the same source")

	t.Log("again: nothing is left to do, and it says so")
	_, stderr = n.requirePlugin("join", "edge-1", cluster)
	assert.NotContains(t, stderr, "created")
	assert.NotContains(t, stderr, "changed:")

	t.Log("a token that the cluster does not accept is replaced")
	name := client.ObjectKey{Namespace: target.Spec.KubeconfigSecretRef.Namespace, Name: target.Spec.KubeconfigSecretRef.Name}
	secret := &corev1.Secret{}
	require.NoError(t, n.Get(t.Context(), name, secret))
	config, err := clientcmd.Load(secret.Data["kubeconfig"])
	require.NoError(t, err)
	config.AuthInfos["installer"].Token = "expired"
	secret.Data["kubeconfig"], err = clientcmd.Write(*config)
	require.NoError(t, err)
	require.NoError(t, n.Update(t.Context(), secret))
	n.await("edge-1", "Deployed", "DeploymentFailed")
	stdout, _, code = n.kubectlSynctarget("check", "edge-1")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "no longer accepts the stored kubeconfig")
	_, stderr = n.requirePlugin("join", "edge-1", "--cell=zone=a", cluster, "--timeout=2m")
	assert.Contains(t, stderr, `Secret "kubeconfigs/edge-1" changed`)
	assert.Contains(t, stderr, `changed: {"spec":{"cells":{"zone":"a"}}}`)
	n.await("edge-1", "Deployed", "Deployed")

	n.requirePlugin("cordon", "edge-1")
	// Until the controller has seen the change, the conditions are those of before, and status fails.
	n.eventually("status shows that it is cordoned", func() (bool, string) {
		stdout, stderr, code := n.kubectlSynctarget("status")
		return code == 0 && strings.Contains(stdout, "Cordoned"), stdout + stderr
	})
	n.requirePlugin("uncordon", "edge-1")
	n.requirePlugin("taint", "edge-1", "dedicated=gpu:NoSchedule")
	require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(target), target))
	assert.False(t, target.Spec.Unschedulable)
	assert.Equal(t, []workloadv1alpha1.Taint{{Key: "dedicated", Value: "gpu", Effect: workloadv1alpha1.TaintNoSchedule}}, target.Spec.Taints)

	leave := func() {
		t.Helper()
		_, stderr := n.requirePlugin("leave", "edge-1", "--timeout=2m")
		assert.Contains(t, stderr, `SyncTarget "edge-1" deleted`)
		n.awaitGone(target)
		n.awaitGone(secret)
		requireNothingLeft(t, downstream(t), target.Status.Key)
	}
	leave()
	t.Log("the cluster is registered again")
	n.requirePlugin("join", "edge-1", "--cell=region=eu", cluster, "--timeout=2m")
	n.await("edge-1", "Ready", "Ready")
	leave()
}

// TestPluginPull installs the syncer with the manifests that the plugin applies, which are those that it prints.
func TestPluginPull(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	printed, stderr := n.requirePlugin("join", "edge-1", "--cell=region=eu", "--cluster=cluster-1", "--pull")
	assert.Contains(t, stderr, "contain a credential")
	again, _ := n.requirePlugin("manifests", "edge-1")
	assert.Equal(t, printed, again, "the output is stable")
	target := n.await("edge-1", "Deployed", "AwaitingInstall")
	_, stderr, code := n.kubectlSynctarget("status", "edge-1")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "kubectl synctarget manifests edge-1")

	remove := func() error {
		_, err := env.ClusterKubectl(context.Background(), "cluster-1", "", "delete", "namespaces,clusterroles,clusterrolebindings", "-l", workloadv1alpha1.LabelKey+"="+target.Status.Key)
		return err
	}
	t.Cleanup(func() { _ = remove() })
	n.requirePlugin("join", "edge-1", "--pull", "--apply-to-kubeconfig="+env.ClusterKubeconfig("cluster-1"), "--timeout=2m")
	n.await("edge-1", "Ready", "Ready")
	stdout, _ := n.requirePlugin("version")
	assert.Regexp(t, `Controller version: +dev\n`, stdout)
	_, stderr = n.requirePlugin("join", "edge-1", "--pull", "--apply-to-kubeconfig="+env.ClusterKubeconfig("cluster-1"))
	assert.Contains(t, stderr, "0 created or changed")

	t.Log("a Namespace that is opened is synced when the manifests have been applied again")
	s := n.openShop(target, "shop")
	n.requirePlugin("join", "edge-1", "--pull", "--apply-to-kubeconfig="+env.ClusterKubeconfig("cluster-1"))
	s.create(s.configMap("config", map[string]string{"a": "1"}))
	s.awaitCopy("config", map[string]string{"a": "1"})
	s.withdraw()
	s.awaitWithdrawn()

	_, stderr = n.requirePlugin("leave", "edge-1", "--timeout=2m")
	assert.Contains(t, stderr, "-l "+workloadv1alpha1.LabelKey+"="+target.Status.Key)
	require.NoError(t, remove())
	requireNothingLeft(t, downstream(t), target.Status.Key)
}

// TestPluginCheck: what keeps a cluster from becoming Ready is named before it is registered, and by URL what cannot be reached
// from inside it.
func TestPluginCheck(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	image, err := env.SyncerImage(t.Context())
	require.NoError(t, err)
	pre := []string{"check", "--pre", "--syncer-image=" + image}

	stdout, stderr, code := n.kubectlSynctarget(append(pre, "--from-kubeconfig="+env.ClusterKubeconfig("cluster-1"))...)
	assert.Zero(t, code, "%s\n%s", stdout, stderr)
	assert.Contains(t, stdout, "✔ kcp answers at "+env.WorkspaceURL(n.path.String())+" from inside the cluster")

	stdout, _, code = n.kubectlSynctarget(append(pre, "--from-kubeconfig="+env.ClusterKubeconfig("cluster-1"), "--kcp-url=https://127.0.0.1:1")...)
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "✗ kcp cannot be reached at https://127.0.0.1:1 from inside the cluster")

	stdout, _, code = n.kubectlSynctarget(append(pre, "--from-kubeconfig="+powerless(t))...)
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "✗ rights that the service needs are missing")
	assert.Contains(t, stdout, "patch,delete namespaces")
}

// TestPluginExplain: what runs is explained with exit code 0, and what does not by the first broken link; the tree shows both.
func TestPluginExplain(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.bindCompute()
	s := n.openShop(n.register("edge-1"), "shop")
	web := idleDeployment("shop", "web")
	web.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse("7m")}
	s.create(web)
	s.awaitAvailable(web, 1)

	t.Log("a Deployment that runs")
	n.eventually("all links of the Deployment hold", func() (bool, string) {
		stdout, stderr, code := n.kubectlSynctarget("explain", "deploy/web", "-n", "shop")
		return code == 0 && strings.Contains(stdout, "✔ Ready") && strings.Contains(stdout, "✔ Heartbeat") && !strings.Contains(stdout, "✗"), stdout + stderr
	})
	n.eventually("all links of the Namespace hold", func() (bool, string) {
		stdout, stderr, code := n.kubectlSynctarget("explain", "namespace", "shop")
		return code == 0, stdout + stderr
	})

	n.eventually("status shows what the Deployment requests", func() (bool, string) {
		stdout, stderr, _ := n.kubectlSynctarget("status", "edge-1")
		return regexp.MustCompile(`(?m)^  cpu  .* 7m$`).MatchString(stdout), stdout + stderr
	})

	t.Log("a Namespace that no Placement selects")
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "cafe"}})
	s.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "cafe", Name: "menu"}})
	stdout, stderr, code := n.kubectlSynctarget("explain", "configmap/menu", "-n", "cafe")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "✗ Placement")
	assert.Contains(t, stderr, `no Placement selects Namespace "cafe"`)

	t.Log("an object in conflict")
	settings := s.configMap("settings", map[string]string{"a": "1"})
	s.create(settings)
	s.awaitCopy("settings", map[string]string{"a": "1"})
	s.patchCopy("settings", `{"data":{"theirs":"stays"}}`)
	change(n, settings, func(c *corev1.ConfigMap) { c.Data["theirs"] = "mine" })
	s.awaitReport(settings, `"conflict"`, "data.theirs")
	stdout, stderr, code = n.kubectlSynctarget("explain", "cm", "settings", "-n", "shop")
	assert.Equal(t, 1, code)
	assert.Contains(t, stdout, "✗ Unchanged")
	assert.Contains(t, stderr, "data.theirs")

	stdout, _ = n.requirePlugin("tree")
	assert.Contains(t, stdout, "Namespace shop")
	assert.Contains(t, stdout, "[Current]  deployments.apps/web")
	assert.Contains(t, stdout, "[Differs]  configmaps/settings: ")
	assert.NotContains(t, stdout, "menu")
	stdout, _ = n.requirePlugin("get-credentials", "edge-1")
	assert.Contains(t, stdout, s.counterpart)
}

// powerless is the kubeconfig of a user of cluster-1 who has no rights.
func powerless(t *testing.T) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "powerless-"}}
	require.NoError(t, downstream(t).Create(t.Context(), account))
	t.Cleanup(func() { _ = downstream(t).Delete(context.Background(), account) })
	token, err := env.ClusterKubectl(t.Context(), "cluster-1", "", "-n=default", "create", "token", account.Name)
	require.NoError(t, err)
	config, err := clientcmd.LoadFromFile(env.ClusterKubeconfig("cluster-1"))
	require.NoError(t, err)
	user := config.Contexts[config.CurrentContext].AuthInfo
	config.AuthInfos = map[string]*clientcmdapi.AuthInfo{user: {Token: strings.TrimSpace(token)}}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))
	return path
}
