package orphan

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the syncer as a whole.
type Metrics struct {
	orphaned prometheus.Gauge
}

// NewMetrics registers the metrics. It fails if they are registered already.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{orphaned: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "synctarget_syncer_orphaned",
		Help: "Whether the syncer is orphaned: its SyncTarget does not exist any more, or kcp does not accept its token. 1 if it is: then it sends one request every five minutes. 0 otherwise.",
	})}
	if err := registerer.Register(m.orphaned); err != nil {
		return nil, fmt.Errorf("registering the metric of an orphaned syncer: %w", err)
	}
	return m, nil
}
