package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/synctarget/synctarget/test/scale/simulation"
)

// threshold is the controller's --heartbeat-threshold: shorter than by default, for the sake of the time that a run takes.
const threshold = 2 * time.Minute

// controller is the program under test, in a process of its own.
type controller struct {
	binary, dir string
	kcp         *simulation.Kcp

	process *exec.Cmd
	ended   chan error
	metrics string
	started time.Time
}

// build compiles the controller.
func build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "synctarget-controller")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/synctarget-controller")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the controller: %w\n%s", err, out)
	}
	return binary, nil
}

// start starts a process without anything in its memory.
func (c *controller) start() error {
	kubeconfig := filepath.Join(c.dir, "kubeconfig")
	content, err := c.kcp.Kubeconfig("token-of-the-service")
	if err != nil {
		return err
	}
	if err := os.WriteFile(kubeconfig, content, 0o600); err != nil {
		return err
	}
	if c.metrics, err = freeAddress(); err != nil {
		return err
	}
	logFile, err := os.OpenFile(c.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	c.process = exec.Command(c.binary,
		"--kubeconfig="+kubeconfig, "--syncer-image=syncer:scale", "--allow-pcluster-cidr=127.0.0.0/8", "--heartbeat-threshold="+threshold.String(),
		"--heartbeat-status-interval=5m",
		"--metrics-secure=false", "--metrics-bind-address="+c.metrics, "--health-probe-bind-address=127.0.0.1:0",
	)
	c.process.Stdout, c.process.Stderr = logFile, logFile
	c.started = time.Now()
	if err := c.process.Start(); err != nil {
		return fmt.Errorf("starting the controller: %w", err)
	}
	c.ended = make(chan error, 1)
	go func() { c.ended <- c.process.Wait() }()
	return nil
}

func (c *controller) log() string { return filepath.Join(c.dir, "controller.log") }

// stop ends the process, if one runs.
func (c *controller) stop() error {
	if c.process == nil {
		return nil
	}
	err := c.process.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = errors.New("it had ended before")
	}
	err = errors.Join(err, <-c.ended)
	c.process = nil
	if err != nil {
		return fmt.Errorf("the controller ended with an error, see %s: %w", c.log(), err)
	}
	return nil
}

// sample is one reading of the controller's metrics.
type sample struct {
	at time.Time
	// rss is the resident set, and live what is in use of heap and stacks after a collection, in MiB.
	rss, live float64
	cpu       time.Duration
	clusters  int
	passes    int
}

func (c *controller) read(ctx context.Context) (sample, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.metrics+"/metrics", nil)
	if err != nil {
		return sample{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return sample{}, err
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return sample{}, fmt.Errorf("reading the controller's metrics: %w", err)
	}
	const mebi = 1 << 20
	// The next collection begins at twice of what is in use.
	return sample{
		at:  time.Now(),
		rss: sum(families["process_resident_memory_bytes"]) / mebi, live: sum(families["go_memstats_next_gc_bytes"]) / 2 / mebi,
		cpu:      time.Duration(sum(families["process_cpu_seconds_total"]) * float64(time.Second)),
		clusters: int(sum(families["synctarget_controller_logical_clusters"])), passes: int(sum(families["controller_runtime_reconcile_total"])),
	}, nil
}

// sum adds up a metric over its labels.
func sum(family *dto.MetricFamily) (total float64) {
	for _, m := range family.GetMetric() {
		total += m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
	}
	return total
}

// await waits until a condition holds, and returns how long that took since the process was started.
func (c *controller) await(ctx context.Context, what string, condition func() bool) (time.Duration, error) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		case err := <-c.ended:
			c.process = nil
			return 0, fmt.Errorf("the controller ended, see %s: %w", c.log(), err)
		case <-ticker.C:
		}
	}
	return time.Since(c.started), nil
}

// engaged waits until so many logical clusters are served.
func (c *controller) engaged(ctx context.Context, clusters int) (time.Duration, error) {
	return c.await(ctx, fmt.Sprintf("%d workspaces are engaged", clusters), func() bool {
		s, err := c.read(ctx)
		return err == nil && s.clusters == clusters
	})
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
