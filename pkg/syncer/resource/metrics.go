package resource

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Metrics of the engine.
type Metrics struct {
	applies *prometheus.HistogramVec
	objects *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{applies: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "syncer_apply_duration_seconds",
		Help:    "How long the physical cluster took to apply a copy, by resource and result: success, conflict, refused or error.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
	}, []string{"resource", "result"})}
	m.objects = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "syncer_objects",
		Help: "Objects of the workspace that have, or are to have, a copy, by resource and state: synced or failing. Counted when it is reported, at most every 30 s.",
	}, []string{"resource", "state"})
	for _, c := range []prometheus.Collector{m.applies, m.objects} {
		if err := registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) applied(resource workloadv1alpha1.GroupResource, took time.Duration, err error) {
	result := "success"
	if err != nil {
		report, ok := refusal(err)
		switch {
		case !ok:
			result = "error"
		case report.Conflict != "":
			result = "conflict"
		default:
			result = "refused"
		}
	}
	m.applies.WithLabelValues(resource.String(), result).Observe(took.Seconds())
}

// counted takes over what is reported.
func (m *Metrics) counted(report []workloadv1alpha1.SyncedResourceStatus) {
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

// asStatus is errors.As for the answer of an API server.
func asStatus(err error, answer *apierrors.APIStatus) bool { return errors.As(err, answer) }
