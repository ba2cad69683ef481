package sync

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// Metrics of the engine. That of a nil is nobody's.
type Metrics struct {
	applies        *prometheus.HistogramVec
	syncs, reports *prometheus.HistogramVec
	objects        *prometheus.GaugeVec
	watches        *prometheus.GaugeVec
	panics         prometheus.Counter
	// depth is how much waits, as the engine says when it is asked.
	depth atomic.Pointer[func() int]
}

// NewMetrics registers the metrics.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	buckets := prometheus.ExponentialBuckets(0.001, 2, 14)
	m := &Metrics{
		applies: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "synctarget_syncer_apply_duration_seconds",
			Help:    "How long the physical cluster took to apply a copy, by resource and result: success, conflict, refused or error.",
			Buckets: buckets,
		}, []string{"resource", "result"}),
		syncs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "synctarget_syncer_sync_latency_seconds",
			Help:    "From when a change in the workspace reached the syncer until the physical cluster had applied it, by resource: the wait for a turn, and all attempts.",
			Buckets: buckets,
		}, []string{"resource"}),
		reports: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "synctarget_syncer_status_latency_seconds",
			Help:    "From when a change of a copy reached the syncer until its status was written to the workspace, by resource.",
			Buckets: buckets,
		}, []string{"resource"}),
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "synctarget_syncer_objects",
			Help: "Objects of the workspace that have, or are to have, a copy, by resource and state: synced or failing. Counted when it is reported, at most every 30 s.",
		}, []string{"resource", "state"}),
		watches: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "synctarget_syncer_watch_healthy",
			Help: "Whether changes are seen, by resource and side: upstream or downstream. 0 if the watch in one of the assigned Namespaces has been failing for 30 s, and 1 otherwise.",
		}, []string{"resource", "side"}),
	}
	m.panics = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "synctarget_syncer_panics_total",
		Help: "Passes that have panicked, each for one object. It is a fault of the syncer: please report it with the stack in the log.",
	})
	depth := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "synctarget_syncer_queue_depth",
		Help: "Objects, Events and Namespaces that wait for their turn, without those that back off after a failure.",
	}, m.waiting)
	for _, c := range []prometheus.Collector{m.applies, m.syncs, m.reports, m.objects, m.watches, m.panics, depth} {
		if err := registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// syncLatency notes that a change of the workspace is in the physical cluster; since is zero if the copy alone had changed.
func (m *Metrics) syncLatency(resource workloadv1alpha1.GroupResource, clock clock.PassiveClock, since time.Time) {
	if m != nil && !since.IsZero() {
		m.syncs.WithLabelValues(resource.String()).Observe(clock.Since(since).Seconds())
	}
}

// statusLatency notes that a change of a copy is in the workspace; since is zero if the object alone had changed.
func (m *Metrics) statusLatency(resource workloadv1alpha1.GroupResource, clock clock.PassiveClock, since time.Time) {
	if m != nil && !since.IsZero() {
		m.reports.WithLabelValues(resource.String()).Observe(clock.Since(since).Seconds())
	}
}

// panicked counts a pass that has panicked.
func (m *Metrics) panicked() {
	if m != nil {
		m.panics.Inc()
	}
}

// setDepth tells whose queue it is.
func (m *Metrics) setDepth(depth func() int) {
	if m != nil {
		m.depth.Store(&depth)
	}
}

func (m *Metrics) waiting() float64 {
	if depth := m.depth.Load(); depth != nil {
		return float64((*depth)())
	}
	return 0
}

func (m *Metrics) applyDuration(resource workloadv1alpha1.GroupResource, took time.Duration, err error) {
	if m == nil {
		return
	}
	result := "success"
	if err != nil {
		report, kind := rejection.Classify(err)
		switch {
		case kind == rejection.Transient:
			result = "error"
		case report.Conflict != "":
			result = "conflict"
		default:
			result = "refused"
		}
	}
	m.applies.WithLabelValues(resource.String(), result).Observe(took.Seconds())
}

// setObjects takes over what is reported.
func (m *Metrics) setObjects(report []workloadv1alpha1.SyncedResourceStatus) {
	if m == nil {
		return
	}
	m.objects.Reset()
	for _, r := range report {
		if r.State != workloadv1alpha1.ResourceAccepted {
			continue
		}
		name := workloadv1alpha1.GroupResource{Group: r.Group, Resource: r.Resource}.String()
		m.objects.WithLabelValues(name, "failing").Set(float64(r.Failing))
		m.objects.WithLabelValues(name, "synced").Set(float64(r.Objects - r.Failing))
	}
}

// setWatches takes over the state of the watches. Those of a resource that is not synced any more are no longer shown.
func (m *Metrics) setWatches(watches map[resourceOnSide]watchFailure) {
	if m == nil {
		return
	}
	m.watches.Reset()
	for on, failure := range watches {
		side, healthy := "upstream", 0.0
		if on.side == clusterSide {
			side = "downstream"
		}
		if failure.isHealthy() {
			healthy = 1
		}
		m.watches.WithLabelValues(on.resource.String(), side).Set(healthy)
	}
}
