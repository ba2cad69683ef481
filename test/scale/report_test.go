package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// good is a report that meets all requirements: a workspace takes 0.05 MiB, and a SyncTarget 0.08 MiB.
func good() *report {
	of := func(targets int) figures {
		workspaces := targets / 2
		mib := 50 + 0.05*float64(workspaces) + 0.08*float64(targets)
		return figures{targets: targets, memory: memory{workspaces, targets, mib, mib}, heartbeatCost: 100 * time.Microsecond, cpu: 0.2, restTime: time.Minute}
	}
	return &report{empty: []memory{{500, 0, 75, 75}, {5000, 0, 300, 300}}, sizes: []figures{of(1000), of(10000)}}
}

func TestSlopes(t *testing.T) {
	r := good()
	assert.InDelta(t, 0.05, r.workspaceMiB(rss), 1e-9)
	for i := range r.sizes {
		assert.InDelta(t, 0.08, r.targetMiB(i, rss), 1e-9, "size %d", i)
	}
}

func TestJudge(t *testing.T) {
	assert.NoError(t, good().judge())
	for name, c := range map[string]struct {
		spoil func(*report)
		want  string
	}{
		"a workspace takes too much": {func(r *report) { r.empty[1].rss = 500; r.sizes[1].memory.rss = 2000 }, "an extra workspace takes 97 KiB, more than 75 KiB"},
		"a target takes too much":    {func(r *report) { r.sizes[1].memory.rss = 1400 }, "an extra SyncTarget takes 0.11 MiB, more than 0.10 MiB"},
		"at rest it is busy":         {func(r *report) { r.sizes[1].cpu = 0.3 }, "the controller takes 30 % of a core at rest, more than 25 %"},
		"a heartbeat costs more among many": {
			func(r *report) { r.sizes[1].heartbeatCost *= 2 },
			"a heartbeat costs 2.00 times as much with 10000 SyncTargets as with 1000, which differs by more than 20 %",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			c.spoil(r)
			assert.ErrorContains(t, r.judge(), c.want)
		})
	}
}

func TestPrint(t *testing.T) {
	r := good()
	r.sizes[0].toKcp = map[string]int{"get secrets": 2, "list namespaces": 7}
	r.sizes[0].untilReady = []time.Duration{3 * time.Second, time.Second, 2 * time.Second}
	var out strings.Builder
	r.print(&out)
	for _, want := range []string{"to kcp: 7 list namespaces, 2 get secrets", "until Ready, median", "2000 ms", "51.2 KiB"} {
		assert.Contains(t, out.String(), want)
	}
}

func TestParseSizes(t *testing.T) {
	sizes, err := parseSizes("3000, 100,100")
	assert.NoError(t, err)
	assert.Equal(t, []int{100, 3000}, sizes)
	sizes, err = parseSizes("")
	assert.NoError(t, err)
	assert.Equal(t, defaultSizes, sizes)
	_, err = parseSizes("100,few")
	assert.EqualError(t, err, `BENCH_TARGETS must be numbers from 40 on, separated by commas, not "100,few"`)
}
