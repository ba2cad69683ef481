package synctarget

import (
	"context"
	"time"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// phase is one step of the pipeline and the only source of one condition.
type phase struct {
	// condition is what the phase decides. A phase without one reports its failure in the condition of the next, which it keeps
	// from running.
	condition string
	// precondition gives the verdict, without running the phase, where Valid leaves it nothing to say; nil runs always.
	precondition func(valid verdict, f findings) (verdict, bool)
	run          func(context.Context, *scope, *findings) (verdict, error)
	// failed is the verdict when run returns an error, which is retried with backoff.
	failed func(error) verdict
}

// onlyIfValid keeps a phase from running while Valid is not True.
func onlyIfValid(valid verdict, _ findings) (verdict, bool) {
	v := unknown(workloadv1alpha1.ReasonValidationFailed, "Waiting for the condition Valid: %s", valid.message)
	if valid.certainty != decided {
		v.certainty = pending
	}
	return v, !valid.ok()
}

// unlessSpecIsWrong lets a phase repeat Valid while the spec is wrong.
func unlessSpecIsWrong(valid verdict, f findings) (verdict, bool) {
	return blocked(workloadv1alpha1.ReasonValidationFailed, "%s", valid.message), f.facts.specInvalid
}

// phaseObserver is given what a phase that ran has decided, and how long that took.
type phaseObserver func(condition string, took time.Duration, v verdict, err error)

// pipeline runs phases in order.
type pipeline struct {
	phases  []phase
	observe phaseObserver
	now     func() time.Time
}

// run returns one verdict for each condition, what the phases have found, and the first error, which is to be retried.
// The first phase is the one that the preconditions of the others are about.
func (p pipeline) run(ctx context.Context, s *scope) (map[string]verdict, findings, error) {
	verdicts := make(map[string]verdict, len(p.phases))
	found := findings{clusterID: s.target.Status.ClusterID}
	var valid *verdict
	var failure, earlier error // earlier is that of the phase before, if it has no condition
	for _, phase := range p.phases {
		v, err := p.runPhase(ctx, phase, s, &found, valid, earlier)
		if failure == nil {
			failure = err
		}
		if earlier = nil; phase.condition == "" {
			earlier = err
			continue
		}
		if valid == nil {
			valid = &v
		}
		verdicts[phase.condition] = v
	}
	return verdicts, found, failure
}

// runPhase runs one phase, unless its precondition or the failure of an earlier phase keeps it from running. valid is nil for
// the first.
func (p pipeline) runPhase(ctx context.Context, phase phase, s *scope, found *findings, valid *verdict, earlier error) (verdict, error) {
	if phase.precondition != nil && valid != nil {
		if v, stop := phase.precondition(*valid, *found); stop {
			return v, nil
		}
	}
	start := p.now()
	v, err := verdict{}, earlier
	if err == nil {
		v, err = phase.run(ctx, s, found)
	}
	if phase.condition == "" {
		return v, err
	}
	if err != nil {
		v = phase.failed(err)
	}
	p.observe(phase.condition, p.now().Sub(start), v, err)
	return v, err
}
