package heartbeat

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the heartbeats that a leader sends. No label names an object.
type Metrics struct {
	heartbeats *prometheus.CounterVec
	last       prometheus.Gauge
	duration   prometheus.Histogram
}

const (
	outcomeAccepted = "accepted"
	outcomeFailed   = "failed"
	outcomeWithheld = "withheld"
)

// NewMetrics registers the metrics. It fails if they are registered already.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		heartbeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "synctarget_syncer_heartbeats_total",
			Help: "Heartbeats by outcome: accepted by kcp, failed, or withheld since the physical cluster's API did not answer.",
		}, []string{"outcome"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "synctarget_syncer_last_accepted_heartbeat_timestamp_seconds",
			Help: "When kcp last accepted a heartbeat, in seconds since 1970; 0 if it never did.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "synctarget_syncer_upstream_patch_duration_seconds",
			Help:    "How long kcp took to answer a patch, whatever the answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	for _, collector := range []prometheus.Collector{m.heartbeats, m.last, m.duration} {
		if err := registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the heartbeat's metrics: %w", err)
		}
	}
	for _, outcome := range []string{outcomeAccepted, outcomeFailed, outcomeWithheld} {
		m.heartbeats.WithLabelValues(outcome) // there from the start, so that a rate over the first failure is right
	}
	return m, nil
}

func (m *Metrics) accepted(now time.Time) {
	m.heartbeats.WithLabelValues(outcomeAccepted).Inc()
	m.last.Set(float64(now.UnixNano()) / float64(time.Second))
}

func (m *Metrics) failed() { m.heartbeats.WithLabelValues(outcomeFailed).Inc() }

func (m *Metrics) withheld() { m.heartbeats.WithLabelValues(outcomeWithheld).Inc() }

func (m *Metrics) patched(took time.Duration) { m.duration.Observe(took.Seconds()) }
