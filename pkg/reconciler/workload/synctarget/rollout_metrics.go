package synctarget

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/synctarget/synctarget/pkg/rollout"
)

// rolloutCollector exports how far the rollout of the settings of the service is.
type rolloutCollector struct {
	rollouts        *rollouts
	halted, targets *prometheus.Desc
}

func newRolloutCollector(r *rollouts) *rolloutCollector {
	return &rolloutCollector{
		rollouts: r,
		halted: prometheus.NewDesc("synctarget_controller_rollout_halted",
			"1 while the rollout of the syncer does not go on, since SyncTargets did not become Ready with the new settings. The log names them.", nil, nil),
		targets: prometheus.NewDesc("synctarget_controller_rollout_targets",
			"SyncTargets whose syncer the service installs, by how far they are with its image and other settings of now. Unknown: not read yet. Pending: they have earlier ones. Updating: they are not Ready with them yet. Failed: they did not become so in time. Updated: they have them.",
			[]string{"state"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *rolloutCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.halted
	ch <- c.targets
}

// Collect implements prometheus.Collector.
func (c *rolloutCollector) Collect(ch chan<- prometheus.Metric) {
	halted, counts := c.rollouts.summary()
	value := 0.0
	if halted {
		value = 1
	}
	ch <- prometheus.MustNewConstMetric(c.halted, prometheus.GaugeValue, value)
	for state, name := range map[rollout.State]string{
		rollout.Unknown: "Unknown", rollout.Pending: "Pending", rollout.Updating: "Updating", rollout.Failed: "Failed", rollout.Updated: "Updated",
	} {
		ch <- prometheus.MustNewConstMetric(c.targets, prometheus.GaugeValue, float64(counts[state]), name)
	}
}

// summary returns the state of the rollout as of the last look at it.
func (r *rollouts) summary() (halted bool, counts map[rollout.State]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.halted, r.counts
}
