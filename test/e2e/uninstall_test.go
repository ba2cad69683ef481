package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestUninstall removes the service in the order of docs/upgrade.md, while a Namespace is placed: SyncTargets, Placements, the
// APIBinding, the controller, the API. The commands with which that page lists what is left then show nothing on both sides.
func TestUninstall(t *testing.T) {
	t.Parallel()
	own := newOwnService(t, "uninstall")
	own.restart(t) // one that an interrupted run has left has a token of an identity that is gone
	n := own.newTenant(t)
	target := n.register("edge-1")
	s := n.openShop(target, "shop")
	s.create(s.configMap("config", map[string]string{"a": "1"}))
	s.awaitCopy("config", map[string]string{"a": "1"})
	for _, args := range listings(t, "kw") {
		require.NotEmpty(t, s.list(args...), "the command lists what there is: %s", args)
	}

	ctx, workspace := t.Context(), n.path.String()
	run := func(workspace string, args ...string) string {
		t.Helper()
		out, err := env.Kubectl(ctx, workspace, "", args...)
		require.NoError(t, err)
		return out
	}
	run(workspace, "delete", "synctargets", "--all", "--timeout=110s")
	run(workspace, "delete", "placements", "--all", "--timeout=110s")
	run(workspace, "delete", "apibinding", workloadv1alpha1.GroupName, "--timeout=110s")
	urls := run(own.Workspace, "get", "apiexportendpointslice", workloadv1alpha1.GroupName, "-o=jsonpath={.status.endpoints[*].url}")
	for _, url := range strings.Fields(urls) {
		left := run(own.Workspace, "--kubeconfig="+filepath.Join(env.Dir, own.Name+".kubeconfig"), "--server="+url+"/clusters/*", "get", "synctargets.workload.kcp.io", "-o=name")
		assert.Empty(t, left, "SyncTargets of the service")
	}
	own.stop(t)
	export, err := filepath.Abs("../../config/kcp")
	require.NoError(t, err)
	run(own.Workspace, "delete", "--ignore-not-found", "-k", export, "--timeout=110s") // the token goes with its ServiceAccount
	t.Cleanup(func() {                                                                 // before the controller starts again: see newTenant
		if err := env.InstallExport(context.Background(), own.Service); err != nil {
			t.Errorf("installing the service again: %v", err)
		}
	})

	for _, args := range listings(t, "kw") {
		assert.Empty(t, s.list(args...), "left in the workspace: %s", args)
	}
	for _, args := range listings(t, "kc") {
		for i := range args { // others use the cluster, too
			if args[i] == workloadv1alpha1.LabelKey {
				args[i] += "=" + target.Status.Key
			}
		}
		out, err := env.ClusterKubectl(ctx, target.Spec.Cluster, "", args...)
		require.NoError(t, err)
		assert.Empty(t, out, "left in the physical cluster: %s", args)
	}
	held := run(workspace, "get", "secrets,configmaps", "-A", "-o=yaml")
	assert.NotContains(t, held, workloadv1alpha1.SyncTargetFinalizerPrefix)
	assert.NotContains(t, held, workloadv1alpha1.SyncerFinalizer(target.Status.Key))
}

// list is what kubectl prints of the workspace.
func (s *shop) list(args ...string) string {
	s.t.Helper()
	out, err := env.Kubectl(s.t.Context(), s.path.String(), "", args...)
	require.NoError(s.t, err)
	return out
}

// listings are the commands of this alias, without it, by which docs/upgrade.md lists what is left.
func listings(t *testing.T, alias string) (commands [][]string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/upgrade.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## List what is left\n")
	require.True(t, found)
	for line := range strings.Lines(section) {
		if args, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "+alias+" get "); ok && strings.HasSuffix(args, " -l "+workloadv1alpha1.LabelKey) {
			commands = append(commands, append([]string{"get"}, strings.Fields(args)...))
		}
	}
	require.NotEmpty(t, commands)
	return commands
}
