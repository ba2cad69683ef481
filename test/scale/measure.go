package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/synctarget/synctarget/test/framework/progress"
	"github.com/synctarget/synctarget/test/scale/simulation"
)

const (
	// newTargets is how many SyncTargets of each size are created one after the other, to measure how long each takes.
	newTargets = 20
	// silentTargets is how many fall silent, but at most one in silentShare of all: less than the controller takes for an outage.
	silentTargets, silentShare = 20, 20
	// quiet is how long there is no request before the controller counts as done with what follows a start.
	quiet = 3 * time.Second
	// settling is what the controller gets to collect the garbage of its start.
	settling = 20 * time.Second
	// rest is how long it is observed at rest, and event how long without heartbeats and then with eventRate a second.
	rest, event = time.Minute, 15 * time.Second
	eventRate   = 400
	// installTime and verdictTime bound how long is waited for one more SyncTarget, and for a verdict.
	installTime, verdictTime = 500 * time.Millisecond, time.Minute
)

// bench measures sizes, from the smallest to the largest.
type bench struct {
	*progress.Reporter
	fleet      *simulation.Fleet
	controller *controller
}

// memory is what a process needs with this many workspaces and SyncTargets, in MiB.
type memory struct {
	workspaces, targets int
	rss, live           float64
}

// figures are what is measured of one size.
type figures struct {
	targets int
	// installed is how many SyncTargets became Ready together, in installing.
	installed  int
	installing time.Duration
	// engaged is the time from a start of the controller until it serves all workspaces, connected until it watches in all
	// physical clusters, and read until it has read everything again.
	engaged, connected, read time.Duration
	memory                   memory
	// In restTime at rest there were so many heartbeats and passes, and requests by kind, and the controller took cpu of a core.
	restTime          time.Duration
	heartbeats        int64
	passes            int
	toKcp, toPhysical map[string]int
	cpu               float64
	heartbeatCost     time.Duration
	// silenced are the SyncTargets whose syncers fall silent.
	silenced          []*simulation.Target
	untilReady        []time.Duration
	heartbeatToReady  []time.Duration
	silenceToNotReady []time.Duration
}

// empty measures the controller with this many workspaces, and no SyncTarget.
func (b *bench) empty(ctx context.Context, workspaces int) (m memory, err error) {
	for i := range workspaces {
		if err := b.fleet.Kcp.Bind(emptyWorkspace(i)); err != nil {
			return memory{}, err
		}
	}
	if err := b.controller.start(); err != nil {
		return memory{}, err
	}
	if _, err := b.controller.engaged(ctx, workspaces); err != nil {
		return memory{}, err
	}
	s, err := b.settled(ctx)
	if err != nil {
		return memory{}, err
	}
	if err := b.controller.stop(); err != nil {
		return memory{}, err
	}
	for i := range workspaces {
		if err := b.fleet.Kcp.Unbind(emptyWorkspace(i)); err != nil {
			return memory{}, err
		}
	}
	b.Say("%d empty workspaces: %.0f MiB (RSS), %.0f MiB in use", workspaces, s.rss, s.live)
	return memory{workspaces: workspaces, rss: s.rss, live: s.live}, nil
}

func emptyWorkspace(number int) string { return fmt.Sprintf("empty%06d", number) }

// settled waits until the garbage of a start has been collected.
func (b *bench) settled(ctx context.Context) (sample, error) {
	if err := sleep(ctx, settling); err != nil {
		return sample{}, err
	}
	return b.controller.read(ctx)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// measure grows the fleet to a size, restarts the controller, and measures it.
func (b *bench) measure(ctx context.Context, targets int) (figures, error) {
	f := figures{targets: targets}
	for _, step := range []func(context.Context, *figures) error{b.install, b.restart, b.atRest, b.cost, b.create, b.verdicts} {
		if err := step(ctx, &f); err != nil {
			return figures{}, fmt.Errorf("with %d SyncTargets: %w", targets, err)
		}
	}
	return f, b.controller.stop()
}

// workspacesOf is how many workspaces have so many SyncTargets.
func workspacesOf(targets int) int {
	return (targets + simulation.TargetsPerWorkspace - 1) / simulation.TargetsPerWorkspace
}

// install adds all SyncTargets but the last few.
func (b *bench) install(ctx context.Context, f *figures) error {
	before := len(b.fleet.Targets())
	count := max(before, f.targets-newTargets)
	f.installed = count - before
	ctx, cancel := context.WithTimeout(ctx, verdictTime+time.Duration(f.installed)*installTime)
	defer cancel()
	if err := b.controller.start(); err != nil {
		return err
	}
	done := b.During("installing %d SyncTargets", f.installed)
	defer done()
	start := time.Now()
	if err := b.fleet.Grow(context.WithoutCancel(ctx), count); err != nil {
		return err
	}
	if err := b.fleet.Await(ctx, b.fleet.Targets(), simulation.IsInstalled); err != nil {
		return err
	}
	f.installing = time.Since(start)
	return b.controller.stop()
}

// restart measures a controller that finds everything installed.
func (b *bench) restart(ctx context.Context, f *figures) (err error) {
	count := len(b.fleet.Targets())
	ctx, cancel := context.WithTimeout(ctx, verdictTime+time.Duration(count)*installTime)
	defer cancel()
	done := b.During("restarting the controller with %d SyncTargets", count)
	defer done()
	if err := b.controller.start(); err != nil {
		return err
	}
	if f.engaged, err = b.controller.engaged(ctx, workspacesOf(count)); err != nil {
		return err
	}
	f.connected, err = b.controller.await(ctx, "something is watched in each physical cluster", func() bool { return b.fleet.Physical.Watched() == count })
	if err != nil {
		return err
	}
	// At kcp, the times of heartbeats are written without end.
	f.read, err = b.controller.await(ctx, "no more requests arrive at the physical clusters", func() bool {
		return time.Since(b.fleet.Physical.LastRequest()) > quiet
	})
	f.read -= quiet
	return err
}

// atRest measures the controller while nothing but heartbeats happens. At its beginning some syncers fall silent, for verdicts.
func (b *bench) atRest(ctx context.Context, f *figures) error {
	if _, err := b.settled(ctx); err != nil {
		return err
	}
	done := b.During("measuring at rest")
	defer done()
	all := b.fleet.Targets()
	f.silenced = all[:min(silentTargets, max(1, len(all)/silentShare))]
	if err := b.fleet.Silence(f.silenced, true); err != nil {
		return err
	}
	before, err := b.controller.read(ctx)
	if err != nil {
		return err
	}
	toKcp, toPhysical, heartbeats := b.fleet.Kcp.Requests(), b.fleet.Physical.Requests(), b.fleet.Heartbeats.Load()
	if err := sleep(ctx, rest); err != nil {
		return err
	}
	after, err := b.controller.read(ctx)
	if err != nil {
		return err
	}
	f.memory = memory{workspaces: workspacesOf(len(all)), targets: len(all), rss: after.rss, live: after.live}
	f.restTime, f.cpu = after.at.Sub(before.at), share(before, after)
	f.passes, f.heartbeats = after.passes-before.passes, b.fleet.Heartbeats.Load()-heartbeats
	f.toKcp, f.toPhysical = since(toKcp, b.fleet.Kcp.Requests()), since(toPhysical, b.fleet.Physical.Requests())
	return nil
}

// share is the share of a core that a process took.
func share(before, after sample) float64 {
	return (after.cpu - before.cpu).Seconds() / after.at.Sub(before.at).Seconds()
}

// since returns what was added to counts.
func since(before, after map[string]int) map[string]int {
	added := map[string]int{}
	for kind, count := range after {
		if count > before[kind] {
			added[kind] = count - before[kind]
		}
	}
	return added
}

// cost measures what a heartbeat costs: the same number of them for all sizes, compared with none.
func (b *bench) cost(ctx context.Context, f *figures) error {
	done := b.During("measuring the cost of a heartbeat")
	defer done()
	b.fleet.Paused.Store(true)
	defer b.fleet.Paused.Store(false)
	// By the target's clock a heartbeat has seconds: it takes one second to send another.
	rate := min(eventRate, len(b.fleet.Targets())*9/10)
	var samples []sample
	sent := b.fleet.Heartbeats.Load()
	for _, phase := range []func() error{
		func() error { return nil },
		func() error { return sleep(ctx, event) },
		func() error { return b.fleet.Burst(ctx, rate, event) },
	} {
		if err := phase(); err != nil {
			return err
		}
		s, err := b.controller.read(ctx)
		if err != nil {
			return err
		}
		samples = append(samples, s)
	}
	sent = b.fleet.Heartbeats.Load() - sent
	with := samples[2].cpu - samples[1].cpu
	without := share(samples[0], samples[1]) * samples[2].at.Sub(samples[1].at).Seconds()
	f.heartbeatCost = (with - time.Duration(without*float64(time.Second))) / time.Duration(sent)
	return nil
}

// create adds the last SyncTargets one after the other.
func (b *bench) create(ctx context.Context, f *figures) error {
	done := b.During("creating %d SyncTargets one after the other", newTargets)
	defer done()
	limited, cancel := context.WithTimeout(ctx, verdictTime)
	defer cancel()
	for count := len(b.fleet.Targets()) + 1; count <= f.targets; count++ {
		if err := b.fleet.Grow(ctx, count); err != nil {
			return err
		}
		added := b.fleet.Targets()[count-1:]
		if err := b.fleet.Await(limited, added, simulation.IsReady); err != nil {
			return err
		}
		h := added[0].History()
		f.untilReady = append(f.untilReady, h.ReadyChanged.Sub(h.Created))
		f.heartbeatToReady = append(f.heartbeatToReady, h.ReadyChanged.Sub(h.Resumed))
	}
	return nil
}

// verdicts waits until the silent syncers are found silent, and Ready again after they have resumed.
func (b *bench) verdicts(ctx context.Context, f *figures) error {
	done := b.During("waiting for the verdicts on %d silent syncers", len(f.silenced))
	defer done()
	limited, cancel := context.WithTimeout(ctx, threshold+verdictTime)
	defer cancel()
	if err := b.fleet.Await(limited, f.silenced, simulation.IsNotReady); err != nil {
		return err
	}
	for _, t := range f.silenced {
		h := t.History()
		f.silenceToNotReady = append(f.silenceToNotReady, h.ReadyChanged.Sub(h.Last)-threshold)
	}
	if err := b.fleet.Silence(f.silenced, false); err != nil {
		return err
	}
	if err := b.fleet.Await(limited, f.silenced, simulation.IsReady); err != nil {
		return err
	}
	for _, t := range f.silenced {
		h := t.History()
		f.heartbeatToReady = append(f.heartbeatToReady, h.ReadyChanged.Sub(h.Resumed))
	}
	return nil
}

// quantile returns the value below which a share of the values is, by the nearest rank.
func quantile(values []time.Duration, share float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

// byCount lists the kinds of requests, the most frequent first.
func byCount(counts map[string]int) []string {
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", counts[kind], kind)
	}
	return kinds
}
