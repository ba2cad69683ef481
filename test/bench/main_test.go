//go:build bench

// Package bench measures the figures of docs/benchmarks.md, on the kcp and the cluster that `make up` starts:
//
//	TestTimeToReady    how much later a SyncTarget is Ready than a plain Deployment of the same image is Available
//	TestBlackHoles     how much later when clusters of others do not answer
//	TestFootprint      what many SyncTargets cost at rest
//	TestSync           how far the way of workloads down is from a bare client
//	TestRestart        how long a syncer takes that has to look at 1,000 objects, or 10,000, after a restart
//	TestWatches        what assigned Namespaces cost a syncer at rest
//	TestPlacementLatency  how much longer than the bare writes it takes until a new Namespace is admitted
//	TestScheduleMany   how long it takes, and how many writes, until 1,000 Namespaces are placed on 20 SyncTargets
//	TestDrainMany      how long a drain of 100 Namespaces takes, and what of that the copies take
//	TestCloseTogether  how many writes it takes to close many Namespaces together, while others change
//	TestCloseLarge     how much memory it takes to close a Namespace of many objects
//	TestPluginStartup  how long the kubectl plugin takes to print its version
//	TestPluginStatus   how long it takes to print the status of 100 SyncTargets
//	TestDashboards     draws the dashboards of Grafana with real data
//	TestKilledFleet    what becomes of changes while the syncer is killed again and again
//
// Like the end-to-end suite it installs the service in a provider workspace of its own, with the service's default
// settings. Every moment is taken from a watch that was open before the clock started.
//
// The build tag keeps it out of `go test ./...`. BENCH_PAIRS, BENCH_HEALTHY, BENCH_BLACKHOLES, BENCH_WORKSPACES,
// BENCH_TARGETS, BENCH_REST, BENCH_OBJECTS and others change the sizes; see docs/benchmarks.md.
package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kcptestingserver "github.com/kcp-dev/sdk/testing/server"

	"github.com/synctarget/synctarget/test/framework"
)

const (
	// patience is for everything that should take seconds.
	patience = 2 * time.Minute
	tick     = 200 * time.Millisecond
)

var (
	env     *framework.Environment
	service = framework.Service{
		Workspace: "root:bench-synctarget", Name: "bench-controller",
		MetricsAddress: "127.0.0.1:18280", HealthAddress: "127.0.0.1:18281",
	}
	controller framework.Process
	kcp        kcptestingserver.RunningServer
)

func TestMain(m *testing.M) {
	if sides := os.Getenv(floorVariable); sides != "" {
		if err := runFloor(sides); err != nil {
			fmt.Fprintln(os.Stderr, "bench floor:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if env, err = framework.Open(os.Getenv("STATE_DIR")); err != nil {
		return 1, err
	}
	if len(env.Clusters()) == 0 {
		return 1, errors.New("no environment runs: start it with `make up`")
	}
	unlock, err := lock(filepath.Join(env.Dir, "run", "bench.lock"))
	if err != nil {
		return 1, err
	}
	defer unlock()
	// Not the harness's shared server: that one watches kcp's health, which would be measured with the rest.
	kcp, err = kcptestingserver.NewExternalKCPServer("main", env.KCPKubeconfig(), map[string]string{"root": env.KCPKubeconfig()}, "")
	if err != nil {
		return 1, err
	}
	if controller, err = env.ControllerProcess(ctx, service); err != nil {
		return 1, err
	}
	if err := env.InstallExport(ctx, service); err != nil {
		return 1, err
	}
	if _, err := env.Start(ctx, controller); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, env.Stop(service.Name)) }()
	// What a run that was cut short has left behind, and, with the controller still there, what this one leaves.
	if err := removeTenants(ctx); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, removeTenants(ctx)) }()
	return m.Run(), nil
}

// lock keeps a second run away, which would remove this one's tenants as leftovers.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("another run of this suite is under way: wait until it is done (%s: %w)", path, err)
	}
	return func() { _ = file.Close() }, nil
}

// size is a number that the environment may change.
func size(t *testing.T, variable string, standard int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, variable)
	require.Positive(t, n, variable)
	return n
}
