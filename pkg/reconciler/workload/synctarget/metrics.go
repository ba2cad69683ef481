package synctarget

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Metrics are the controller's own metrics. No label holds the name of an object.
type Metrics struct {
	timeToReady prometheus.Histogram
	phases      *prometheus.HistogramVec
	applies     *prometheus.CounterVec
	abandoned   *prometheus.CounterVec
	registerer  prometheus.Registerer
}

// NewMetrics registers the metrics. logicalClusters counts those that are served.
func NewMetrics(registerer prometheus.Registerer, logicalClusters func() int) *Metrics {
	m := &Metrics{
		registerer: registerer,
		timeToReady: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "synctarget_controller_time_to_ready_seconds",
			Help:    "Time from the creation of a SyncTarget until it is Ready for the first time.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "synctarget_controller_phase_duration_seconds",
			Help:    "Time that a phase of the pipeline took, by the condition it owns and its outcome.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"condition", "outcome"}),
		applies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "synctarget_controller_agent_applies_total",
			Help: "Objects of the syncer applied to physical clusters, by result.",
		}, []string{"result"}),
		abandoned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "synctarget_controller_abandoned_steps_total",
			Help: "Steps of deletions that were given up, by step. The log says what may be left behind.",
		}, []string{"step"}),
	}
	registerer.MustRegister(m.timeToReady, m.phases, m.applies, m.abandoned, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "synctarget_controller_logical_clusters",
		Help: "Logical clusters that are served now. 0 on a standby.",
	}, func() float64 { return float64(logicalClusters()) }))
	return m
}

// watch exports what is known of the heartbeats.
func (m *Metrics) watch(heartbeats *heartbeatTracker) {
	m.registerer.MustRegister(&heartbeatCollector{
		heartbeats: heartbeats,

		targets: prometheus.NewDesc("synctarget_controller_targets", "SyncTargets, by phase.", []string{"phase"}, nil),
		oldest: prometheus.NewDesc("synctarget_controller_oldest_heartbeat_age_seconds",
			"Time since the controller saw the oldest of the last heartbeats of the targets that are Ready.", nil, nil),
		paused: prometheus.NewDesc("synctarget_controller_health_evaluation_paused",
			"1 while the health of the SyncTargets that an endpoint serves cannot be judged by their silence, by the reason. WatchStalled: the watch has not delivered a heartbeat that kcp holds. NoAnswer: kcp did not answer a live read. MassSilence: the heartbeats of many stopped within a minute.",
			[]string{"endpoint", "reason"}, nil),
		evictionsPaused: prometheus.NewDesc("synctarget_controller_evictions_paused",
			"SyncTargets that are not Ready, and that no Namespace leaves because of it: many fell silent together, or their silence cannot be judged yet.", nil, nil),
	})
}

func (m *Metrics) becameReady(took time.Duration) { m.timeToReady.Observe(took.Seconds()) }

func (m *Metrics) phaseDone(condition string, took time.Duration, v verdict, err error) {
	outcome := v.reason
	if err != nil {
		outcome = "Error"
	}
	m.phases.WithLabelValues(condition, outcome).Observe(took.Seconds())
}

func (m *Metrics) applied(changed int, err error) {
	m.applies.WithLabelValues("applied").Add(float64(changed))
	if err != nil {
		m.applies.WithLabelValues("failed").Inc()
	}
}

func (m *Metrics) stepAbandoned(step string) { m.abandoned.WithLabelValues(step).Inc() }

type heartbeatCollector struct {
	heartbeats                               *heartbeatTracker
	targets, oldest, paused, evictionsPaused *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *heartbeatCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.targets
	ch <- c.oldest
	ch <- c.paused
	ch <- c.evictionsPaused
}

// Collect implements prometheus.Collector.
func (c *heartbeatCollector) Collect(ch chan<- prometheus.Metric) {
	summary := c.heartbeats.summary()
	for _, phase := range []workloadv1alpha1.SyncTargetPhase{
		workloadv1alpha1.PhasePending, workloadv1alpha1.PhaseReady, workloadv1alpha1.PhaseNotReady, workloadv1alpha1.PhaseTerminating,
	} {
		ch <- prometheus.MustNewConstMetric(c.targets, prometheus.GaugeValue, float64(summary.byPhase[phase]), string(phase))
	}
	ch <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, summary.oldest.Seconds())
	ch <- prometheus.MustNewConstMetric(c.evictionsPaused, prometheus.GaugeValue, float64(summary.evictionsPaused))
	for endpoint, causes := range summary.paused {
		for cause, paused := range causes {
			value := 0.0
			if paused {
				value = 1
			}
			ch <- prometheus.MustNewConstMetric(c.paused, prometheus.GaugeValue, value, endpoint, string(cause))
		}
	}
}
