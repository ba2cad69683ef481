package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// What is required.
const (
	maxTargetMiB    = 0.10
	maxWorkspaceKiB = 75
	// maxCPU is of a core, at rest, with the largest size.
	maxCPU = 0.25
	// costTolerance is how much the cost of a heartbeat may differ between the smallest and the largest size.
	costTolerance = 0.20
	kibi          = 1024
)

// report is everything that was measured.
type report struct {
	load  string
	empty []memory
	sizes []figures
}

// workspaceMiB is what an extra workspace without SyncTargets takes.
func (r *report) workspaceMiB(of func(memory) float64) float64 {
	first, last := r.empty[0], r.empty[len(r.empty)-1]
	return (of(last) - of(first)) / float64(last.workspaces-first.workspaces)
}

// targetMiB is what an extra SyncTarget takes from one size to the next, without its share of a workspace. Before the first
// size comes the process without SyncTargets.
func (r *report) targetMiB(size int, of func(memory) float64) float64 {
	before, now := r.empty[0], r.sizes[size].memory
	if size > 0 {
		before = r.sizes[size-1].memory
	}
	workspaces := float64(now.workspaces-before.workspaces) * r.workspaceMiB(of)
	return (of(now) - of(before) - workspaces) / float64(now.targets-before.targets)
}

func rss(m memory) float64  { return m.rss }
func live(m memory) float64 { return m.live }

// judge returns an error that names each requirement that is not met.
func (r *report) judge() error {
	var errs []error
	missed := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if kib := r.workspaceMiB(rss) * kibi; kib > maxWorkspaceKiB {
		missed("an extra workspace takes %.0f KiB, more than %d KiB", kib, maxWorkspaceKiB)
	}
	first, last := r.sizes[0], r.sizes[len(r.sizes)-1]
	if mib := r.targetMiB(len(r.sizes)-1, rss); mib > maxTargetMiB {
		missed("an extra SyncTarget takes %.2f MiB, more than %.2f MiB", mib, maxTargetMiB)
	}
	if last.cpu > maxCPU {
		missed("the controller takes %.0f %% of a core at rest, more than %.0f %%", 100*last.cpu, 100*maxCPU)
	}
	if ratio := last.heartbeatCost.Seconds() / first.heartbeatCost.Seconds(); math.Abs(ratio-1) > costTolerance {
		missed("a heartbeat costs %.2f times as much with %d SyncTargets as with %d, which differs by more than %.0f %%", ratio, last.targets, first.targets, 100*costTolerance)
	}
	return errors.Join(errs...)
}

// print writes all figures, a column for each size.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\nThe controller with simulated syncers, physical clusters and kcp\n%s/%s, %d cores, %s; load average %s before, %s after\n\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), r.load, load())
	rows := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer func() { _ = rows.Flush() }()
	row := func(what string, cell func(size int, f figures) string) {
		fmt.Fprint(rows, what)
		for i, f := range r.sizes {
			fmt.Fprint(rows, "\t", cell(i, f))
		}
		fmt.Fprintln(rows)
	}
	row("SyncTargets, in half as many workspaces", func(_ int, f figures) string { return fmt.Sprint(f.targets) })
	row("installed together, until all are Ready and Deployed", func(_ int, f figures) string {
		return fmt.Sprintf("%d in %s", f.installed, seconds(f.installing))
	})
	row("restart until all workspaces are engaged", func(_ int, f figures) string { return seconds(f.engaged) })
	row("  until all physical clusters are watched", func(_ int, f figures) string { return seconds(f.connected) })
	row("  until everything has been read again", func(_ int, f figures) string { return seconds(f.read) })
	row("memory (RSS)", func(_ int, f figures) string { return fmt.Sprintf("%.0f MiB", f.memory.rss) })
	row("  for each extra SyncTarget", func(i int, _ figures) string { return fmt.Sprintf("%.3f MiB", r.targetMiB(i, rss)) })
	row("heap and stacks in use", func(_ int, f figures) string { return fmt.Sprintf("%.0f MiB", f.memory.live) })
	row("  for each extra SyncTarget", func(i int, _ figures) string { return fmt.Sprintf("%.3f MiB", r.targetMiB(i, live)) })
	row("at rest: CPU, of a core", func(_ int, f figures) string { return fmt.Sprintf("%.1f %%", 100*f.cpu) })
	row("  heartbeats a minute", func(_ int, f figures) string { return perMinute(int(f.heartbeats), f) })
	row("  passes a minute", func(_ int, f figures) string { return perMinute(f.passes, f) })
	row("  requests a minute to kcp", func(_ int, f figures) string { return perMinute(total(f.toKcp), f) })
	row("  requests a minute to physical clusters", func(_ int, f figures) string { return perMinute(total(f.toPhysical), f) })
	row("CPU time for each heartbeat", func(_ int, f figures) string { return f.heartbeatCost.Round(time.Microsecond).String() })
	row("a new SyncTarget until Ready, median", func(_ int, f figures) string { return milliseconds(quantile(f.untilReady, 0.5)) })
	row("  p99", func(_ int, f figures) string { return milliseconds(quantile(f.untilReady, 0.99)) })
	row("from a heartbeat until Ready, p99", func(_ int, f figures) string { return milliseconds(quantile(f.heartbeatToReady, 0.99)) })
	row("from the threshold of a silence until not Ready, p99", func(_ int, f figures) string {
		return milliseconds(quantile(f.silenceToNotReady, 0.99))
	})
	fmt.Fprintf(rows, "\nmemory (RSS) for each extra workspace, from %d to %d without SyncTargets\t%.1f KiB\n",
		r.empty[0].workspaces, r.empty[len(r.empty)-1].workspaces, r.workspaceMiB(rss)*kibi)
	for _, f := range r.sizes {
		fmt.Fprintf(rows, "requests at rest with %d SyncTargets, in %s\tto kcp: %s; to physical clusters: %s\n",
			f.targets, seconds(f.restTime), strings.Join(byCount(f.toKcp), ", "), strings.Join(byCount(f.toPhysical), ", "))
	}
}

func perMinute(count int, f figures) string {
	return fmt.Sprintf("%.0f", float64(count)/f.restTime.Minutes())
}

func total(counts map[string]int) (total int) {
	for _, count := range counts {
		total += count
	}
	return total
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

// load is the load average of the machine, over one minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(text))[0]
}
