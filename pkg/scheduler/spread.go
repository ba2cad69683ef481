package scheduler

import (
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// spread counts the clusters of one Namespace by the values of a cell.
type spread struct {
	constraint *workloadv1alpha1.SpreadConstraint
	// byValue has every value that a cluster has for which the affinity holds, whether or not it can be used now.
	byValue map[workloadv1alpha1.CellValue]int
	// exceeded is what is said of a cluster that would exceed maxSkew.
	exceeded rejection
}

// newSpreads counts the clusters that a Namespace stays on.
func newSpreads(p *policy, clusters, staying []*cluster) []spread {
	spreads := make([]spread, 0, len(p.placement.Spec.SpreadConstraints))
	for i := range p.placement.Spec.SpreadConstraints {
		s := spread{constraint: &p.placement.Spec.SpreadConstraints[i], byValue: map[workloadv1alpha1.CellValue]int{}}
		s.exceeded = reject("against the spread over " + s.constraint.TopologyKey)
		for _, c := range clusters {
			if value, ok := c.target.Spec.Cells[s.constraint.TopologyKey]; ok && p.admits(c, clusters) {
				s.byValue[value] += 0
			}
		}
		spreads = append(spreads, s)
	}
	for _, c := range staying {
		addToSpreads(spreads, c)
	}
	return spreads
}

// addToSpreads counts one more cluster.
func addToSpreads(spreads []spread, c *cluster) {
	for _, s := range spreads {
		if value, ok := c.target.Spec.Cells[s.constraint.TopologyKey]; ok {
			s.byValue[value]++
		}
	}
}

// skew returns how many more clusters the value of this one would have than the value with the fewest.
func (s *spread) skew(c *cluster) int {
	value, ok := c.target.Spec.Cells[s.constraint.TopologyKey]
	if !ok {
		return 0
	}
	fewest := s.byValue[value] + 1
	for _, count := range s.byValue {
		fewest = min(fewest, count)
	}
	return s.byValue[value] + 1 - fewest
}

// rejectSkew rejects a cluster that would exceed maxSkew of a constraint that is to be met.
func rejectSkew(spreads []spread, c *cluster) rejection {
	for i := range spreads {
		s := &spreads[i]
		if s.constraint.WhenUnsatisfiable != workloadv1alpha1.ScheduleAnyway && s.skew(c) > max(1, int(s.constraint.MaxSkew)) {
			return s.exceeded
		}
	}
	return rejection{}
}

// excessSkew returns by how much a cluster would exceed the constraints that need not be met.
func excessSkew(spreads []spread, c *cluster) int64 {
	excess := 0
	for i := range spreads {
		s := &spreads[i]
		if s.constraint.WhenUnsatisfiable == workloadv1alpha1.ScheduleAnyway {
			excess += max(0, s.skew(c)-max(1, int(s.constraint.MaxSkew)))
		}
	}
	return int64(excess)
}
