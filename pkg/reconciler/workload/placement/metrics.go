package placement

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"k8s.io/utils/clock"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Outcomes of a move.
const (
	moveBegun     = "begun"
	moveCompleted = "completed"
	moveFailed    = "failed"
)

// Metrics are those of the scheduling. No label holds the name of an object.
type Metrics struct {
	decisions  *prometheus.CounterVec
	moves      *prometheus.CounterVec
	registerer prometheus.Registerer
}

// NewMetrics registers the metrics.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		registerer: registerer,
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "synctarget_controller_scheduling_decisions_total",
			Help: "Decisions about one Namespace and one SyncTarget that were written, by result: assigned or withdrawn. Unschedulable: a Namespace began to wait for a SyncTarget that fits, or waits for another reason.",
		}, []string{"result"}),
		moves: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "synctarget_controller_moves_total",
			Help: "Moves of a Namespace from one SyncTarget to another, by the reason and by what has become of them: begun, completed when the former SyncTarget is left, or failed when the replacement did not become available in time.",
		}, []string{"reason", "outcome"}),
	}
	registerer.MustRegister(m.decisions, m.moves)
	return m
}

// watch exports how long Namespaces wait.
func (m *Metrics) watch(workspaces *workspaces, now clock.PassiveClock) {
	m.registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "synctarget_controller_oldest_pending_namespace_age_seconds",
		Help: "Time since this controller found the Namespace without a SyncTarget that has been selected by a Placement and waiting for the longest time. 0 if none waits. Of each Placement it looks at those Namespaces that its status names.",
	}, func() float64 {
		oldest := workspaces.oldestPending()
		if oldest.IsZero() {
			return 0
		}
		return now.Since(oldest).Seconds()
	}))
}

// created counts an Assignment that was created among these. It begins a move, if it replaces another; where the former SyncTarget was
// left before, as with PurgeDirectly, it completes it too.
func (m *Metrics) created(assignment *workloadv1alpha1.Assignment, all []workloadv1alpha1.Assignment) {
	m.decisions.WithLabelValues("assigned").Inc()
	replaces, reason := assignment.Spec.Replaces, string(assignment.Spec.Reason)
	if replaces == "" {
		return
	}
	m.moves.WithLabelValues(reason, moveBegun).Inc()
	isLeft := !slices.ContainsFunc(all, func(a workloadv1alpha1.Assignment) bool {
		return runsBeside(&a, assignment) && a.Annotations[workloadv1alpha1.AnnotationSyncTarget] == replaces
	})
	if isLeft {
		m.moves.WithLabelValues(reason, moveCompleted).Inc()
	}
}

// withdrawn counts an Assignment among these that was withdrawn. It ends a move if it was the replacement, or if another Assignment
// of its Namespace takes its place.
func (m *Metrics) withdrawn(before, after *workloadv1alpha1.Assignment, all []workloadv1alpha1.Assignment) {
	m.decisions.WithLabelValues("withdrawn").Inc()
	if after.Spec.Reason == workloadv1alpha1.AssignmentReplacementFailed {
		m.moves.WithLabelValues(string(before.Spec.Reason), moveFailed).Inc()
		return
	}
	isReplaced := slices.ContainsFunc(all, func(a workloadv1alpha1.Assignment) bool {
		return runsBeside(&a, after) && a.Spec.Replaces != "" && a.Spec.Replaces == after.Annotations[workloadv1alpha1.AnnotationSyncTarget]
	})
	if isReplaced {
		m.moves.WithLabelValues(string(after.Spec.Reason), moveCompleted).Inc()
	}
}

// runsBeside tells whether an Assignment has the Namespace of another, and runs it.
func runsBeside(a, other *workloadv1alpha1.Assignment) bool {
	return a.Spec.Namespace.UID == other.Spec.Namespace.UID && a.Spec.Intent == workloadv1alpha1.IntentRun
}

// unschedulable counts a Namespace that begins to wait.
func (m *Metrics) unschedulable() { m.decisions.WithLabelValues("unschedulable").Inc() }
