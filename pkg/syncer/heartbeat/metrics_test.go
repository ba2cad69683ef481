package heartbeat

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	f := newFixture(t)
	accepted := f.clock.Now()
	_, _ = f.attempt(t.Context())
	f.clock.Step(time.Minute)
	f.kcp.errs = []error{errDown, errDown}
	_, _ = f.attempt(t.Context())
	_, _ = f.attempt(t.Context())
	f.cluster.idErr = errDown
	_, _ = f.attempt(t.Context())

	want := `
# HELP synctarget_syncer_heartbeats_total Heartbeats by outcome: accepted by kcp, failed, or withheld since the physical cluster's API did not answer.
# TYPE synctarget_syncer_heartbeats_total counter
synctarget_syncer_heartbeats_total{outcome="accepted"} 1
synctarget_syncer_heartbeats_total{outcome="failed"} 2
synctarget_syncer_heartbeats_total{outcome="withheld"} 1
`
	if err := testutil.GatherAndCompare(f.metrics, strings.NewReader(want), "synctarget_syncer_heartbeats_total"); err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(f.Metrics.last); got != float64(accepted.Unix()) {
		t.Errorf("want the time of the last accepted heartbeat, %d, got %v", accepted.Unix(), got)
	}
	if got := testutil.CollectAndCount(f.Metrics.duration); got != 1 {
		t.Errorf("want one histogram of durations, got %d", got)
	}
}

func TestStandbyCountsNothing(t *testing.T) {
	f := newStandby(t)
	_, _ = f.attempt(t.Context())
	f.cluster.idErr = errDown
	_, _ = f.attempt(t.Context())
	for _, outcome := range []string{outcomeAccepted, outcomeFailed, outcomeWithheld} {
		if got := testutil.ToFloat64(f.Metrics.heartbeats.WithLabelValues(outcome)); got != 0 {
			t.Errorf("want a standby to count no heartbeats, got %v %s", got, outcome)
		}
	}
}

func TestMetricsLint(t *testing.T) {
	f := newFixture(t)
	_, _ = f.attempt(t.Context())
	problems, err := testutil.GatherAndLint(f.metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := f.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "synctarget_syncer_") {
			t.Errorf("%s: want the prefix synctarget_syncer_", family.GetName())
		}
	}
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	if _, err := NewMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := NewMetrics(registry); err == nil {
		t.Error("want an error, not a panic, on registering twice")
	}
}
