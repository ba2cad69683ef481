//go:build bench

package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maxStartup is how long `kubectl synctarget version --client` may take.
const maxStartup = 60 * time.Millisecond

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
