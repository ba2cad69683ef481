// Package e2e tells the stories of the service on a real kcp and a real cluster, as `make up` starts them. The suite
// installs the service a second time, in a provider workspace of its own, so that it can set short deadlines and
// restart the controller; each test is a tenant with a workspace of its own.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	kcptesting "github.com/kcp-dev/sdk/testing"

	"github.com/synctarget/synctarget/test/framework"
)

const (
	// providerWorkspace holds the suite's own APIExport.
	providerWorkspace = "root:e2e-synctarget"
	// threshold is more than two heartbeats of 20 s, with room for a slow machine.
	threshold = 45 * time.Second
	// deadline is how long a deletion may be held up in this suite.
	deadline = 40 * time.Second
)

var (
	env     *framework.Environment
	service = framework.Service{
		Workspace: providerWorkspace, Name: "e2e-controller",
		MetricsAddress: "127.0.0.1:18180", HealthAddress: "127.0.0.1:18181",
		Args: []string{"--heartbeat-threshold=" + threshold.String(), "--delete-deadline=" + deadline.String()},
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
	if len(env.Clusters()) == 0 {
		return 1, errors.New("no environment runs: start it with `make up`")
	}
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
	defer func() {
		err = errors.Join(err, env.Stop(service.Name))
		if code != 0 {
			err = errors.Join(err, keepArtifacts())
		}
	}()
	return m.Run(), nil
}

// keepArtifacts copies the logs of a failed run aside and says where they are.
func keepArtifacts() error {
	dir := os.Getenv("ARTIFACT_DIR")
	if dir == "" {
		dir = filepath.Join(env.Repo, "_artifacts")
	}
	dir = filepath.Join(dir, "e2e")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, process := range []string{service.Name, "kcp", "kcp-audit", "cluster-1-apiserver", "cluster-1-kubelet"} {
		if err := copyFile(env.LogPath(process), filepath.Join(dir, process+".log")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	fmt.Fprintln(os.Stderr, "e2e: the logs of this run are kept in", dir)
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return err
}
