// Command scale measures the controller with thousands of SyncTargets, for docs/benchmarks.md. It runs the controller in a process
// of its own; kcp, the physical clusters and the syncers are simulated in this one. See `make bench-scale`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/synctarget/synctarget/test/framework/progress"
	"github.com/synctarget/synctarget/test/scale/simulation"
)

const bindingManifest = "config/samples/binding/apibinding.yaml"

// sizesVariable holds the numbers of SyncTargets, separated by commas.
const sizesVariable = "BENCH_TARGETS"

var defaultSizes = []int{1000, 3000, 10000}

func main() {
	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	sizes, err := parseSizes(os.Getenv(sizesVariable))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "scale-")
	if err != nil {
		return err
	}
	b := &bench{Reporter: progress.New(os.Stderr)}
	b.Say("The controller's log is in %s", dir)
	binding, err := os.ReadFile(bindingManifest)
	if err != nil {
		return fmt.Errorf("run this in the root of the repository: %w", err)
	}
	if b.fleet, err = simulation.NewFleet(binding, 1); err != nil {
		return err
	}
	b.controller = &controller{dir: dir, kcp: b.fleet.Kcp}
	if b.controller.binary, err = build(ctx, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.controller.stop()) }()

	r := &report{load: load()}
	for _, workspaces := range []int{sizes[0] / simulation.TargetsPerWorkspace, max(sizes[len(sizes)-1], 2*sizes[0]) / simulation.TargetsPerWorkspace} {
		m, err := b.empty(ctx, workspaces)
		if err != nil {
			return err
		}
		r.empty = append(r.empty, m)
	}
	for _, size := range sizes {
		f, err := b.measure(ctx, size)
		if err != nil {
			return err
		}
		r.sizes = append(r.sizes, f)
	}
	r.print(os.Stdout)
	return r.judge()
}

// parseSizes reads the sizes in ascending order.
func parseSizes(text string) ([]int, error) {
	if text == "" {
		return defaultSizes, nil
	}
	var sizes []int
	for field := range strings.SplitSeq(text, ",") {
		size, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || size < 2*newTargets {
			return nil, fmt.Errorf("%s must be numbers from %d on, separated by commas, not %q", sizesVariable, 2*newTargets, text)
		}
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes), nil
}
