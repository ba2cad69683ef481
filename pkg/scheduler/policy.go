package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// policy is a Placement with its selectors parsed, and what has been found out about it in this pass.
type policy struct {
	placement *workloadv1alpha1.Placement
	// invalid says what is wrong with the spec. An invalid Placement selects nothing, and nothing that it has decided
	// changes.
	invalid  error
	selector labels.Selector
	names    sets.Set[string]
	required []clusterTerm
	// preferred are terms with their weights.
	preferred []weightedTerm

	// selected are the Namespaces that this Placement counts for, lost those for which another one does, and refused
	// those that are never synced.
	selected, lost, refused []*namespace
	// moving counts the moves that are under way.
	moving int
	// affine tells of each cluster whether the affinity holds; candidates are those that pass the filters which are the
	// same for every Namespace. Both are found out when they are first needed.
	affine     []bool
	candidates *candidates
}

// clusterTerm is a parsed ClusterSelectorTerm.
type clusterTerm struct {
	selector labels.Selector
	cells    map[string]workloadv1alpha1.CellValue
}

type weightedTerm struct {
	clusterTerm
	weight int64
}

// newPolicies returns the Placements in the order of precedence: the higher priority, then the older one, comes first.
func newPolicies(placements []workloadv1alpha1.Placement) []*policy {
	policies := make([]*policy, 0, len(placements))
	for i := range placements {
		policies = append(policies, newPolicy(&placements[i]))
	}
	slices.SortFunc(policies, func(a, b *policy) int {
		return cmp.Or(
			cmp.Compare(b.placement.Spec.Priority, a.placement.Spec.Priority),
			a.placement.CreationTimestamp.Compare(b.placement.CreationTimestamp.Time),
			strings.Compare(a.placement.Name, b.placement.Name))
	})
	return policies
}

func newPolicy(placement *workloadv1alpha1.Placement) *policy {
	p := &policy{placement: placement}
	var err error
	if p.selector, err = metav1.LabelSelectorAsSelector(&placement.Spec.NamespaceSelector); err != nil {
		p.invalid = fmt.Errorf("spec.namespaceSelector cannot be used: %w", err)
		return p
	}
	affinity := placement.Spec.ClusterAffinity
	if affinity == nil {
		return p
	}
	p.names = sets.New(affinity.ClusterNames...)
	for i := range affinity.Required {
		term, err := newClusterTerm(&affinity.Required[i])
		if err != nil {
			p.invalid = fmt.Errorf("spec.clusterAffinity.required[%d] cannot be used: %w", i, err)
			return p
		}
		p.required = append(p.required, term)
	}
	for i := range affinity.Preferred {
		term, err := newClusterTerm(&affinity.Preferred[i].Term)
		if err != nil {
			p.invalid = fmt.Errorf("spec.clusterAffinity.preferred[%d] cannot be used: %w", i, err)
			return p
		}
		p.preferred = append(p.preferred, weightedTerm{clusterTerm: term, weight: int64(affinity.Preferred[i].Weight)})
	}
	return p
}

func newClusterTerm(term *workloadv1alpha1.ClusterSelectorTerm) (clusterTerm, error) {
	if len(term.MatchLabels)+len(term.MatchExpressions)+len(term.MatchCells) == 0 {
		return clusterTerm{selector: labels.Nothing()}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchLabels: term.MatchLabels, MatchExpressions: term.MatchExpressions})
	return clusterTerm{selector: selector, cells: term.MatchCells}, err
}

func (t *clusterTerm) matches(c *cluster) bool {
	for cell, value := range t.cells {
		if present, ok := c.target.Spec.Cells[cell]; !ok || present != value {
			return false
		}
	}
	return t.selector.Matches(labels.Set(c.target.Labels))
}

// selects reports whether the Placement, as it stands, selects a Namespace.
func (p *policy) selects(n *Namespace) bool {
	return p.placement.DeletionTimestamp == nil && p.invalid == nil && p.selector.Matches(labels.Set(n.Labels))
}

// inForce reports whether the Placement may have Assignments: its finalizer is there, so that its deletion will be
// seen.
func (p *policy) inForce() bool {
	return slices.Contains(p.placement.Finalizers, workloadv1alpha1.PlacementFinalizer)
}

// admits reports whether the affinity of the Placement holds for a cluster.
func (p *policy) admits(c *cluster, clusters []*cluster) bool {
	if p.affine == nil {
		p.affine = make([]bool, len(clusters))
		for i, c := range clusters {
			p.affine[i] = p.matchesAffinity(c)
		}
	}
	return p.affine[c.index]
}

func (p *policy) matchesAffinity(c *cluster) bool {
	if p.names.Len() > 0 && !p.names.Has(c.name) {
		return false
	}
	return len(p.required) == 0 || slices.ContainsFunc(p.required, func(t clusterTerm) bool { return t.matches(c) })
}

func (p *policy) numberOfClusters() int { return max(1, int(p.placement.Spec.NumberOfClusters)) }

// defaultGracePeriod counts for a Placement from before its defaults.
const defaultGracePeriod = 10 * time.Minute

func (p *policy) gracePeriod() time.Duration {
	if seconds := p.placement.Spec.Move.GracePeriodSeconds; seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return defaultGracePeriod
}

// movesDirectly reports whether a Namespace never runs on a cluster and its replacement at once.
func (p *policy) movesDirectly() bool {
	return p.placement.Spec.Move.PurgeMode == workloadv1alpha1.PurgeDirectly
}
