package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/test/framework"
)

// TestConfigAppliesWithKubectl builds every folder that users apply.
func TestConfigAppliesWithKubectl(t *testing.T) {
	t.Parallel()
	kubectl := filepath.Join(env.Dir, "bin", "kubectl")
	for _, dir := range []string{"crd", "kcp", "manager", "samples"} {
		out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", "../../config/"+dir).CombinedOutput()
		require.NoError(t, err, "%s: %s", dir, out)
	}
	// The hosting cluster takes the manager's manifests; nothing is stored.
	_, err := env.ClusterKubectl(t.Context(), "cluster-1", "apiVersion: v1\nkind: Namespace\nmetadata: {name: synctarget-system}\n", "apply", "-f", "-")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = env.ClusterKubectl(context.Background(), "cluster-1", "", "delete", "ns", "synctarget-system")
	})
	abs, err := filepath.Abs("../../config/manager")
	require.NoError(t, err)
	_, err = env.ClusterKubectl(t.Context(), "cluster-1", "", "apply", "-k", abs, "--dry-run=server")
	require.NoError(t, err)
}

// TestReleasedManager makes a release as `make images` does, and builds what it says to apply: both images are the
// release's, the syncer's too, which stands in a variable.
func TestReleasedManager(t *testing.T) {
	t.Parallel()
	// Below the repository, for kustomize takes no absolute paths.
	dir, err := os.MkdirTemp(env.Dir, "release-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	made, err := env.Publish(t.Context(), framework.Release{Version: "v0.0.1", Architectures: []string{runtime.GOARCH}, Dir: dir})
	require.NoError(t, err)
	require.Len(t, made, 2)
	out, err := exec.CommandContext(t.Context(), filepath.Join(env.Dir, "bin", "kubectl"), "kustomize", filepath.Join(dir, "manager")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "image: ghcr.io/synctarget/synctarget-controller:v0.0.1")
	assert.Contains(t, string(out), "value: ghcr.io/synctarget/syncer:v0.0.1")
}

// folder is the path of a folder of config.
func folder(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../../config/" + name)
	require.NoError(t, err)
	return path
}

// TestSamples follows docs/register-cluster.md with the samples as they are: binding, then target, then the kubeconfig in the
// Secret, and at last everything deleted with one command.
func TestSamples(t *testing.T) {
	t.Parallel()
	n := newWorkspace(t)
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := env.Kubectl(t.Context(), n.path.String(), "", args...)
		require.NoError(t, err)
		return out
	}
	binding, err := env.Kubectl(t.Context(), n.path.String(), "", "kustomize", folder(t, "samples/binding"))
	require.NoError(t, err)
	// The suite's service is exported from a workspace of its own.
	_, err = env.Kubectl(t.Context(), n.path.String(), strings.Replace(binding, "path: root:synctarget", "path: "+providerWorkspace, 1), "apply", "-f", "-")
	require.NoError(t, err)
	kubectl("wait", "apibinding/workload.kcp.io", "--for=condition=Ready", "--timeout=60s")
	kubectl("apply", "--server-side", "-k", folder(t, "samples/target"))
	n.await("edge-1", "Valid", "Valid")
	n.await("edge-1", "Deployed", "ClusterUnreachable", "edge-1.example.com")

	secret := kubeconfigSecret("edge-1", nil)
	change(n, secret, func(s *corev1.Secret) { s.Data["kubeconfig"] = clusterKubeconfig(t) })
	target := n.await("edge-1", "Ready", "Ready")
	n.await("edge-1", "Deployed", "Deployed")
	require.Contains(t, kubectl("get", "st", "edge-1"), "Ready")
	kubectl("apply", "-k", folder(t, "samples/placement"))
	kubectl("create", "namespace", "shop")
	n.awaitOnly("shop", "edge-1")
	kubectl("wait", "placement/by-name", "--for=condition=Available", "--timeout=60s")
	n.awaitPlacement("spread", "Scheduled", "NoNamespaces")
	kubectl("delete", "--timeout=60s", "-k", folder(t, "samples/placement"))
	n.awaitOnly("shop")

	kubectl("delete", "--timeout=110s", "-k", folder(t, "samples"))
	requireNothingLeft(t, downstream(t), target.Status.Key)
	requireNothingLeft(t, n, target.Status.Key)
	for _, list := range []string{"apibindings", "secrets"} {
		assert.NotContains(t, kubectl("get", list, "-A"), "edge-1")
	}
}

// installerInUse is held by the story that uses the installer's identity of cluster-1, of which there is one.
var installerInUse sync.Mutex

func lockInstaller(t *testing.T) {
	t.Helper()
	installerInUse.Lock()
	t.Cleanup(installerInUse.Unlock)
}

// TestInstallerRights installs and removes the syncer with the rights of config/samples/installer and no others, rotates
// the credentials, and revokes the old ones.
func TestInstallerRights(t *testing.T) {
	t.Parallel()
	lockInstaller(t)
	installer := folder(t, "samples/installer")
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := env.ClusterKubectl(t.Context(), "cluster-1", "", args...)
		require.NoError(t, err)
		return strings.TrimSpace(out)
	}
	kubectl("apply", "-k", installer)
	t.Cleanup(func() {
		_, _ = env.ClusterKubectl(context.Background(), "cluster-1", "", "delete", "--ignore-not-found", "-k", installer)
	})
	token := func() string {
		return kubectl("-n", "synctarget-installer", "create", "token", "installer", "--bound-object-kind=Secret", "--bound-object-name=installer-token")
	}
	old := withToken(t, token())

	n := newTenant(t)
	secret := kubeconfigSecret("edge-1", []byte(old))
	require.NoError(t, n.Create(t.Context(), secret))
	require.NoError(t, n.Create(t.Context(), syncTarget("edge-1")))
	n.await("edge-1", "Deployed", "Deployed")
	target := n.await("edge-1", "Ready", "Ready")

	// Revoked: a token dies with the Secret that it is bound to, when the API server has forgotten that it was good.
	kubectl("-n", "synctarget-installer", "delete", "secret", "installer-token")
	kubectl("apply", "-k", installer)
	level := int32(1)
	n.eventually("the old credentials are refused", func() (bool, string) {
		if err := n.Get(t.Context(), client.ObjectKeyFromObject(target), target); err != nil {
			return false, err.Error()
		}
		deployed := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionDeployed)
		if deployed.ObservedGeneration == target.Generation && deployed.Reason != workloadv1alpha1.ReasonDeploymentFailed {
			level = 3 - level
			change(n, target, logLevel(level)) // makes the controller call the cluster
		}
		return deployed.Reason == workloadv1alpha1.ReasonDeploymentFailed, deployed.Message
	})
	n.await("edge-1", "Deployed", "DeploymentFailed", "does not accept the credentials")
	n.await("edge-1", "Ready", "Ready")

	// Rotated: the new ones are in use, at once.
	change(n, secret, func(s *corev1.Secret) { s.Data["kubeconfig"] = []byte(withToken(t, token())) })
	n.await("edge-1", "Deployed", "Deployed")
	change(n, syncTarget("edge-1"), logLevel(3))
	n.await("edge-1", "Deployed", "Deployed")

	// They are enough to see that a Namespace holds nothing of others.
	s := n.openShop(target, "shop")
	s.create(s.configMap("config", map[string]string{"a": "1"}))
	s.awaitCopy("config", map[string]string{"a": "1"})
	s.withdraw()
	s.awaitLeft()

	require.NoError(t, n.Delete(t.Context(), target))
	n.awaitGone(target)
	requireNothingLeft(t, downstream(t), target.Status.Key)
	requireNothingLeft(t, n, target.Status.Key)
}
