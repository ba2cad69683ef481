//go:build bench

package bench

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	// maxStartup is how long `kubectl synctarget version --client` may take.
	maxStartup = 60 * time.Millisecond
	// maxStatus is how long `kubectl synctarget status` may take in a workspace with 100 SyncTargets.
	maxStatus = 300 * time.Millisecond
)

// TestPluginStartup measures how long the plugin takes to print its version, beside a Go program that does nothing. Their runs
// alternate.
func TestPluginStartup(t *testing.T) {
	plugin, err := env.BuildProgram(t.Context(), "./cmd/kubectl-synctarget")
	require.NoError(t, err)
	nothing := buildNothing(t)
	out := newTable("Start of the plugin")
	var startups, floors []time.Duration
	for range size(t, "BENCH_STARTS", 20) {
		startups = append(startups, runTime(t, plugin, "version", "--client"))
		floors = append(floors, runTime(t, nothing))
	}
	out.row("", "minimum", "median")
	out.row("kubectl-synctarget version --client", milliseconds(slices.Min(startups)), milliseconds(median(startups)))
	out.row("a Go program that does nothing", milliseconds(slices.Min(floors)), milliseconds(median(floors)))
	out.print()
	assert.LessOrEqual(t, median(startups), maxStartup)
}

// TestPluginStatus measures how long the plugin takes to print the status of 100 SyncTargets that are Ready, beside a bare client that
// connects anew and lists them. Their runs alternate. TestStatusRequests of pkg/plugin counts the requests.
func TestPluginStatus(t *testing.T) {
	plugin, err := env.BuildProgram(t.Context(), "./cmd/kubectl-synctarget")
	require.NoError(t, err)
	targets := size(t, "BENCH_TARGETS", 100)
	n := newPulledTenant(t, targets)
	t.Setenv("KUBECONFIG", env.KCPKubeconfig())
	out := newTable("Status of %d SyncTargets", targets)
	var statuses, floors []time.Duration
	for range size(t, "BENCH_STARTS", 20) {
		statuses = append(statuses, runTime(t, plugin, "status", "--workspace="+n.path.String()))
		floors = append(floors, n.listTime(targets))
	}
	out.row("", "minimum", "median")
	out.row("kubectl synctarget status", milliseconds(slices.Min(statuses)), milliseconds(median(statuses)))
	out.row("a bare client connects and lists", milliseconds(slices.Min(floors)), milliseconds(median(floors)))
	out.print()
	assert.LessOrEqual(t, median(statuses), maxStatus)
}

// listTime is how long a new client takes to list the SyncTargets over a connection of its own.
func (n *tenant) listTime(want int) time.Duration {
	n.t.Helper()
	begin := time.Now()
	config := rest.CopyConfig(n.config)
	config.Dial = (&net.Dialer{}).DialContext // so that no connection is shared
	targets, err := dynamic.NewForConfig(config)
	require.NoError(n.t, err)
	list, err := targets.Resource(workloadv1alpha1.SchemeGroupVersion.WithResource("synctargets")).List(n.t.Context(), metav1.ListOptions{})
	took := time.Since(begin)
	require.NoError(n.t, err)
	require.Len(n.t, list.Items, want)
	return took
}

// buildNothing builds a program that does nothing.
func buildNothing(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "nothing")
	require.NoError(t, os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600))
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source).CombinedOutput()
	require.NoError(t, err, string(out))
	return binary
}

// runTime is how long a program takes.
func runTime(t *testing.T, program string, args ...string) time.Duration {
	t.Helper()
	begin := time.Now()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	took := time.Since(begin)
	require.NoError(t, err, string(out))
	return took
}
