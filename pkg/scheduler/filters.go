package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// rejection says why a SyncTarget cannot be used, of one and of several. Its zero value is no rejection.
type rejection struct{ one, several string }

func reject(reason string) rejection { return rejection{one: reason, several: reason} }

// filter says why a SyncTarget cannot be used by a Placement, whatever the Namespace is.
type filter struct {
	name   string
	reject func(p *policy, c *cluster) rejection
}

// clusterFilters are the filters that do not depend on the Namespace, in the order in which they are asked. The first
// one that rejects is named. What depends on the Namespace is asked after them: see choose.
func clusterFilters() []filter {
	return []filter{
		{"ClusterAffinity", rejectAffinity},
		{"Schedulable", rejectUnschedulable},
		{"Ready", rejectNotReady},
		{"Taints", rejectTaints},
		{"SyncedResources", rejectResources},
		{"Capacity", rejectCapacity},
		{"TopologyKeys", rejectTopologyKeys},
	}
}

func rejectAffinity(p *policy, c *cluster) rejection {
	if p.affine[c.index] {
		return rejection{}
	}
	return rejection{"does not match clusterAffinity", "do not match clusterAffinity"}
}

func rejectUnschedulable(_ *policy, c *cluster) rejection {
	switch {
	case c.terminating():
		return reject("being deleted")
	case c.target.Spec.Drain != nil:
		return reject("being drained")
	case c.target.Spec.Unschedulable:
		return reject("cordoned")
	}
	return rejection{}
}

func rejectNotReady(_ *policy, c *cluster) rejection {
	if c.ready {
		return rejection{}
	}
	return reject("not ready")
}

func rejectTaints(p *policy, c *cluster) rejection {
	for i := range c.taints {
		taint := &c.taints[i]
		if taint.Effect == workloadv1alpha1.TaintPreferNoSchedule || taint.Key == workloadv1alpha1.TaintUnschedulable {
			continue
		}
		if !tolerated(p.placement.Spec.Tolerations, taint) {
			return rejection{"has taint " + taintName(taint), "have taint " + taintName(taint)}
		}
	}
	return rejection{}
}

// taintName writes a taint as kubectl does.
func taintName(t *workloadv1alpha1.ObservedTaint) string {
	if t.Value == "" {
		return fmt.Sprintf("%s:%s", t.Key, t.Effect)
	}
	return fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect)
}

// rejectResources rejects a SyncTarget that cannot sync a resource which its own spec.syncedResources names. Which
// resources a Namespace uses is not known here.
func rejectResources(_ *policy, c *cluster) rejection {
	for _, wanted := range c.target.Spec.SyncedResources {
		if wanted.Syncable() != nil {
			continue // never synced by anybody
		}
		for i := range c.target.Status.SyncedResources {
			s := &c.target.Status.SyncedResources[i]
			if s.Group != wanted.Group || s.Resource != wanted.Resource {
				continue
			}
			name := strings.TrimSuffix(wanted.Resource+"."+wanted.Group, ".")
			switch s.State {
			case workloadv1alpha1.ResourceMissing:
				return rejection{"does not serve " + name, "do not serve " + name}
			case workloadv1alpha1.ResourceIncompatible, workloadv1alpha1.ResourceForbidden:
				return rejection{"cannot sync " + name, "cannot sync " + name}
			}
		}
	}
	return rejection{}
}

// rejectCapacity rejects a SyncTarget that declares, or is measured to have, none of what every workload needs.
func rejectCapacity(_ *policy, c *cluster) rejection {
	for _, name := range []string{"cpu", "memory", "pods"} {
		if quantity, ok := offered(c, name); ok && quantity <= 0 {
			return rejection{"has no " + name, "have no " + name}
		}
	}
	return rejection{}
}

// offered returns how much of a resource a SyncTarget has, in thousandths: what it declares, else what is measured.
func offered(c *cluster, name string) (quantity int64, known bool) {
	if declared, ok := c.target.Spec.Capacity[name]; ok {
		return thousandths(declared), true
	}
	if c.target.Status.Syncer == nil {
		return 0, false
	}
	measured, ok := c.target.Status.Syncer.Allocatable[name]
	return thousandths(measured), ok
}

// maxQuantity is how much of a resource counts at most, so that what is computed with it does not overflow.
const maxQuantity = 1_000_000_000

func thousandths(q resource.Quantity) int64 {
	if q.CmpInt64(maxQuantity) > 0 {
		return maxQuantity * 1000
	}
	return q.MilliValue()
}

func rejectTopologyKeys(p *policy, c *cluster) rejection {
	for _, constraint := range p.placement.Spec.SpreadConstraints {
		if _, ok := c.target.Spec.Cells[constraint.TopologyKey]; !ok && constraint.WhenUnsatisfiable != workloadv1alpha1.ScheduleAnyway {
			return rejection{"has no cell " + constraint.TopologyKey, "have no cell " + constraint.TopologyKey}
		}
	}
	return rejection{}
}

// explain says in one line how many clusters fit, and why the others do not: the most frequent reason first.
func explain(fit, total int, rejections map[rejection]int) string {
	if total == 0 {
		return "the workspace has no SyncTarget"
	}
	reasons := slices.SortedFunc(maps.Keys(rejections), func(a, b rejection) int {
		if rejections[a] != rejections[b] {
			return rejections[b] - rejections[a]
		}
		return strings.Compare(a.one, b.one)
	})
	parts := make([]string, 0, len(reasons))
	for _, r := range reasons {
		text := r.several
		if rejections[r] == 1 {
			text = r.one
		}
		parts = append(parts, fmt.Sprintf("%d %s", rejections[r], text))
	}
	return fmt.Sprintf("%d/%d clusters: %s", fit, total, strings.Join(parts, ", "))
}
