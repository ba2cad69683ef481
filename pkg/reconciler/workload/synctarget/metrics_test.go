package synctarget

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestMetrics(t *testing.T) {
	w := usual(t)
	w.ready()
	w.r.heartbeats.observe(defaultEndpoint, w.target()) // as the event of the last write does
	w.clock.Step(90 * time.Second)

	problems, err := testutil.GatherAndLint(w.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	if err := testutil.GatherAndCompare(w.registry, strings.NewReader(`
# HELP synctarget_controller_targets SyncTargets, by phase.
# TYPE synctarget_controller_targets gauge
synctarget_controller_targets{phase="NotReady"} 0
synctarget_controller_targets{phase="Pending"} 0
synctarget_controller_targets{phase="Ready"} 1
synctarget_controller_targets{phase="Terminating"} 0
# HELP synctarget_controller_oldest_heartbeat_age_seconds Time since the controller saw the oldest of the last heartbeats of the targets that are Ready.
# TYPE synctarget_controller_oldest_heartbeat_age_seconds gauge
synctarget_controller_oldest_heartbeat_age_seconds 90
# HELP synctarget_controller_logical_clusters Logical clusters that are served now. 0 on a standby.
# TYPE synctarget_controller_logical_clusters gauge
synctarget_controller_logical_clusters 1
# HELP synctarget_controller_agent_applies_total Objects of the syncer applied to physical clusters, by result.
# TYPE synctarget_controller_agent_applies_total counter
synctarget_controller_agent_applies_total{result="applied"} 9
`), "synctarget_controller_targets", "synctarget_controller_oldest_heartbeat_age_seconds", "synctarget_controller_logical_clusters", "synctarget_controller_agent_applies_total"); err != nil {
		t.Error(err)
	}
}

// TestLabelsAreBounded: no label may grow with the number of objects, or carry what a tenant wrote.
func TestLabelsAreBounded(t *testing.T) {
	w := usual(t)
	w.ready()
	w.there.refuse = func(string) error { return errInjected }
	w.wake()
	w.settle()
	w.kcp.refuse = func(string) error { return errInjected }
	_, _ = w.reconcile()
	w.delete()
	w.kcp.refuse, w.there.refuse = func(string) error { return nil }, func(string) error { return nil }
	w.finish()

	allowed := map[string]bool{"Error": true, "applied": true, "failed": true, "Unknown": true, "Updating": true, "Failed": true, "Updated": true}
	for _, known := range []string{
		workloadv1alpha1.ConditionValid, workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ConditionReady,
		workloadv1alpha1.ReasonValid, workloadv1alpha1.ReasonValidationFailed, workloadv1alpha1.ReasonDeployed, workloadv1alpha1.ReasonDeploymentFailed,
		workloadv1alpha1.ReasonRollingOut, workloadv1alpha1.ReasonClusterMismatch, workloadv1alpha1.ReasonClusterUnreachable,
		workloadv1alpha1.ReasonReady, workloadv1alpha1.ReasonUnhealthy, workloadv1alpha1.ReasonAwaitingHeartbeat,
		string(workloadv1alpha1.PhasePending), string(workloadv1alpha1.PhaseNotReady), string(workloadv1alpha1.PhaseTerminating),
	} {
		allowed[known] = true
	}
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if !allowed[label.GetValue()] {
					t.Errorf("%s: label %s=%q", family.GetName(), label.GetName(), label.GetValue())
				}
			}
		}
	}
}

func TestPhaseOutcome(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry, func() int { return 0 })
	m.phaseDone(workloadv1alpha1.ConditionValid, time.Second, passed(workloadv1alpha1.ReasonValid, ""), nil)
	m.phaseDone(workloadv1alpha1.ConditionValid, time.Second, validateFailed(errInjected), errInjected)
	m.applied(3, errInjected)
	if got := testutil.CollectAndCount(m.phases); got != 2 {
		t.Errorf("%d outcomes, want Valid and Error", got)
	}
	if applied, failed := testutil.ToFloat64(m.applies.WithLabelValues("applied")), testutil.ToFloat64(m.applies.WithLabelValues("failed")); applied != 3 || failed != 1 {
		t.Errorf("applied %v, failed %v", applied, failed)
	}
}
