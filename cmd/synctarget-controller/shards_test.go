package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/synctarget/synctarget/test/scale/apiserver"
	"github.com/synctarget/synctarget/test/scale/simulation"
)

// hostingVariable makes this test program a controller with its arguments. It holds the path of the kubeconfig of the hosting
// cluster, which a controller outside a Pod does not have.
const hostingVariable = "SYNCTARGET_TEST_HOSTING"

func TestMain(m *testing.M) {
	hosting := os.Getenv(hostingVariable)
	if hosting == "" {
		os.Exit(m.Run())
	}
	if err := runElected(ctrl.SetupSignalHandler(), hosting, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runElected runs a controller as in a Pod of the hosting cluster.
func runElected(ctx context.Context, hosting string, args []string) error {
	opts := newOptions()
	fs := pflag.NewFlagSet("controller", pflag.ContinueOnError)
	opts.addFlags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	setLogger(opts)
	if err := opts.complete(); err != nil {
		return err
	}
	var err error
	if opts.hosting, err = clientcmd.BuildConfigFromFlags("", hosting); err != nil {
		return err
	}
	opts.leaderElect, opts.leaderElectNS = true, "synctarget-system"
	return run(ctx, opts)
}

// writes records which controller has written into which workspace.
type writes struct {
	mu sync.Mutex
	// by holds the names of the controllers that wrote into the workspaces of each shard, in order, without repetitions.
	by map[int][]string
}

func (w *writes) record(shard int, controller string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if before := w.by[shard]; len(before) == 0 || before[len(before)-1] != controller {
		w.by[shard] = append(before, controller)
	}
}

func (w *writes) of(shard int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.by[shard]...)
}

// world is a kcp with two shards, the controllers that serve it, and what they have written.
type world struct {
	*testing.T
	fleet *simulation.Fleet
	wrote writes
}

// tokenPrefix is before the name of a controller in its token for kcp.
const tokenPrefix = "token-of-"

func newWorld(t *testing.T) *world {
	binding, err := os.ReadFile("../../config/samples/binding/apibinding.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, wrote: writes{by: map[int][]string{}}}
	if w.fleet, err = simulation.NewFleet(binding, 2); err != nil {
		t.Fatal(err)
	}
	w.fleet.Kcp.Observe = func(r *http.Request, asked apiserver.Request) {
		controller, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "+tokenPrefix)
		if ok && asked.Verb != "get" && asked.Verb != "list" && asked.Verb != "watch" {
			w.wrote.record(w.fleet.Kcp.Shard(asked.Cluster), controller)
		}
	}
	return w
}

// start starts a controller of this name for one shard.
func (w *world) start(name string, shard int) *exec.Cmd {
	w.Helper()
	dir := w.TempDir()
	write := func(file string, content []byte, err error) string {
		path := filepath.Join(dir, file)
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			w.Fatal(err)
		}
		return path
	}
	content, err := w.fleet.Kcp.Kubeconfig(tokenPrefix + name)
	kubeconfig := write("kubeconfig", content, err)
	content, err = w.fleet.Physical.Kubeconfig(0)
	hosting := write("hosting", content, err)
	process := exec.CommandContext(w.Context(), os.Args[0],
		"--kubeconfig="+kubeconfig, "--endpointslice="+simulation.EndpointSlice(shard), "--allow-pcluster-cidr=127.0.0.0/8",
		"--metrics-secure=false", "--metrics-bind-address=0", "--health-probe-bind-address=127.0.0.1:0")
	process.Env = append(os.Environ(), hostingVariable+"="+hosting)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		w.Fatal(err)
	}
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		if content, err := os.ReadFile(log.Name()); err == nil && w.Failed() {
			w.Logf("the log of controller %q ends with %s", name, content[max(0, len(content)-4000):])
		}
		_ = log.Close()
	})
	return process
}

// grow adds SyncTargets until there are so many, and waits until all are Ready and Deployed.
func (w *world) grow(count int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
	defer cancel()
	if err := w.fleet.Grow(w.Context(), count); err != nil {
		w.Fatal(err)
	}
	if err := w.fleet.Await(ctx, w.fleet.Targets(), simulation.IsInstalled); err != nil {
		w.Fatal(err)
	}
}

// TestControllersOfShards: two controllers serve a shard each, by an APIExportEndpointSlice each, and one of them has a standby.
// Each workspace is written by one of them alone. When one is killed, its standby goes on, and does nothing again that was done.
func TestControllersOfShards(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.fleet.Grow(t.Context(), 2*simulation.TargetsPerWorkspace); err != nil { // a workspace on each shard
		t.Fatal(err)
	}
	replicas := map[string]*exec.Cmd{"replica-1": w.start("replica-1", 0), "replica-2": w.start("replica-2", 0)}
	w.start("other", 1)
	w.grow(4 * simulation.TargetsPerWorkspace)

	leaders := w.wrote.of(0)
	if len(leaders) != 1 || replicas[leaders[0]] == nil {
		t.Fatalf("the workspaces of the first shard were written by %q, want one of its replicas", leaders)
	}
	if err := replicas[leaders[0]].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = replicas[leaders[0]].Wait() // it was killed
	const count = 6 * simulation.TargetsPerWorkspace
	w.grow(count)

	standby := map[string]string{"replica-1": "replica-2", "replica-2": "replica-1"}[leaders[0]]
	if got, want := w.wrote.of(0), []string{leaders[0], standby}; !slices.Equal(got, want) {
		t.Errorf("the workspaces of the first shard were written by %q, one after the other, want %q", got, want)
	}
	if got, want := w.wrote.of(1), []string{"other"}; !slices.Equal(got, want) {
		t.Errorf("the workspaces of the second shard were written by %q, want %q", got, want)
	}
	if got := w.fleet.Physical.Requests()["patch deployments"]; got != count {
		t.Errorf("Deployments of syncers were written %d times for %d SyncTargets", got, count)
	}
}

func TestLeaseName(t *testing.T) {
	for slice, want := range map[string]string{
		"workload.kcp.io": "synctarget-controller",
		"eu.example":      "synctarget-controller-eu.example",
	} {
		if got := leaseName(slice); got != want {
			t.Errorf("leaseName(%q) = %q, want %q", slice, got, want)
		}
	}
}
