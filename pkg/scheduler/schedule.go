package scheduler

import (
	"maps"

	"k8s.io/apimachinery/pkg/util/sets"
)

// request asks for clusters for one Namespace.
type request struct {
	namespace *namespace
	policy    *policy
	// staying are the clusters that the Namespace has and does not leave.
	staying []*cluster
	// count is how many more it needs.
	count int
	// only is the one cluster that may be chosen; nil for any.
	only *cluster
	// hints are names of clusters where the Namespace was when its Assignments were lost.
	hints sets.Set[string]

	spreads []spread
}

// decision is the answer.
type decision struct {
	clusters []*cluster
	// message says why there are not more; empty if there are as many as asked for.
	message string
}

// candidates are the clusters that a Placement can use, and how many cannot be used for which reason.
type candidates struct {
	fit        []*candidate
	rejections map[rejection]int
}

// newCandidates asks the filters that are the same for every Namespace.
func newCandidates(p *policy, clusters []*cluster) *candidates {
	result := &candidates{rejections: map[rejection]int{}}
	filters := clusterFilters()
next:
	for _, c := range clusters {
		p.admits(c, clusters)
		for _, f := range filters {
			if r := f.reject(p, c); r != (rejection{}) {
				result.rejections[r]++
				continue next
			}
		}
		result.fit = append(result.fit, newCandidate(p, c))
	}
	return result
}

// schedule chooses clusters for a Namespace: it filters them, scores those that are left, and selects the best one, as
// often as needed. It chooses none that the Namespace has, leaves or has failed on.
func schedule(r request, clusters []*cluster) decision {
	if r.namespace.Refusal != "" {
		return decision{message: r.namespace.Refusal}
	}
	if r.policy.candidates == nil {
		r.policy.candidates = newCandidates(r.policy, clusters)
	}
	r.spreads = newSpreads(r.policy, clusters, r.staying)
	rejections := maps.Clone(r.policy.candidates.rejections)
	fit := r.filter(rejections)
	d, scores := decision{}, scores()
	for len(d.clusters) < r.count {
		best := -1
		for i, c := range fit {
			if c == nil || rejectSkew(r.spreads, c.cluster) != (rejection{}) {
				continue
			}
			if best < 0 || better(&r, scores, c, fit[best]) {
				best = i
			}
		}
		if best < 0 {
			d.message = r.explain(fit, rejections, len(clusters))
			return d
		}
		d.clusters = append(d.clusters, fit[best].cluster)
		addToSpreads(r.spreads, fit[best].cluster)
		rejections[reject("in use already")]++
		fit[best] = nil
	}
	return d
}

// filter returns the candidates that the Namespace can use, and counts why it cannot use the others.
func (r *request) filter(rejections map[rejection]int) []*candidate {
	var fit []*candidate
	for _, c := range r.policy.candidates.fit {
		reason := r.namespace.rejected(c.cluster)
		if reason == (rejection{}) && r.only != nil && c.cluster != r.only {
			reason = reject("not the one to go back to")
		}
		if reason != (rejection{}) {
			rejections[reason]++
			continue
		}
		fit = append(fit, c)
	}
	return fit
}

// explain says why none of the candidates that are left can be used.
func (r *request) explain(left []*candidate, rejections map[rejection]int, total int) string {
	for _, c := range left {
		if c != nil {
			rejections[rejectSkew(r.spreads, c.cluster)]++
		}
	}
	return explain(0, total, rejections)
}
