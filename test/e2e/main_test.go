// Package e2e tells the stories of the service on a real kcp and a real cluster, as `make up` starts them. The suite
// installs the service a second time, in a provider workspace of its own, so that it can set short deadlines and
// restart the controller; each test is a tenant with a workspace of its own.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	kcptesting "github.com/kcp-dev/sdk/testing"

	"github.com/synctarget/synctarget/test/framework"
)

const (
	// providerWorkspace holds the suite's own APIExport.
	providerWorkspace = "root:e2e-synctarget"
	// interval is between two heartbeats of a syncer.
	interval = 4 * time.Second
	// threshold is several heartbeats: short enough for stories that wait for Unhealthy, long enough that a busy machine
	// does not cause it.
	threshold = 25 * time.Second
	// deadline is how long a deletion may be held up in this suite: longer than a syncer is waited for.
	deadline = 50 * time.Second
)

var (
	env     *framework.Environment
	service = framework.Service{
		Workspace: providerWorkspace, Name: "e2e-controller",
		MetricsAddress: "127.0.0.1:18180", HealthAddress: "127.0.0.1:18181",
		Args: []string{
			"--syncer-heartbeat-interval=" + interval.String(), "--heartbeat-threshold=" + threshold.String(),
			"--delete-deadline=" + deadline.String(),
		},
	}
	controller framework.Process
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if env, err = framework.Open(os.Getenv("STATE_DIR")); err != nil {
		return 1, err
	}
	switch {
	case len(env.Clusters()) == 0:
		return 1, errors.New("no environment runs: start it with `make up`")
	case len(env.Clusters()) < 2:
		return 1, errors.New("the stories need two clusters: start them with `make up CLUSTERS=2`")
	case env.Physical():
		return 1, errors.New("these stories break clusters and read their audit logs: run them on the environment's own, not on a PHYSICAL_KUBECONFIG")
	}
	logs, err := newArtifacts()
	if err != nil {
		return 1, err
	}
	defer func() {
		if code != 0 || err != nil {
			err = errors.Join(err, logs.keep())
		}
	}()
	kcptesting.InitExternalServer(func() (string, map[string]string) {
		return env.KCPKubeconfig(), map[string]string{"root": env.KCPKubeconfig()}
	})
	if controller, err = env.ControllerProcess(ctx, service); err != nil {
		return 1, err
	}
	if err := env.InstallExport(ctx, service); err != nil {
		return 1, err
	}
	if _, err := env.Start(ctx, controller); err != nil {
		return 1, err
	}
	if err := startServices(ctx); err != nil {
		return 1, err
	}
	// Tenants that an interrupted run left would disturb this one; and what this one leaves needs its controller to go.
	if err := removeTenants(ctx); err != nil {
		return 1, errors.Join(err, stopServices(ctx))
	}
	defer func() { err = errors.Join(err, removeTenants(ctx), stopServices(ctx)) }()
	return m.Run(), nil
}
