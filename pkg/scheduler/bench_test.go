package scheduler

import (
	"fmt"
	"testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// fleet is a workspace with Namespaces of one Placement that has its finalizer.
func fleet(b testing.TB, namespaces, targets int) *world {
	w := newWorld()
	for i := range targets {
		w.addTarget(fmt.Sprintf("edge-%04d", i), regions[i%len(regions)])
	}
	w.addPlacement("shop", "shop", func(spec *workloadv1alpha1.PlacementSpec) {
		spec.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{
			Required: []workloadv1alpha1.ClusterSelectorTerm{{MatchLabels: map[string]string{"region": "eu"}},
				{MatchCells: map[string]workloadv1alpha1.CellValue{"region": "us"}}, {MatchLabels: map[string]string{"region": "ap"}}},
			Preferred: []workloadv1alpha1.PreferredClusterTerm{{Weight: 10, Term: workloadv1alpha1.ClusterSelectorTerm{MatchLabels: map[string]string{"region": "us"}}}},
		}
		spec.SpreadConstraints = []workloadv1alpha1.SpreadConstraint{{TopologyKey: "region", MaxSkew: 1}}
		spec.NumberOfClusters = 2
	})
	if _, err := w.apply(Plan(w.workspace()), -1); err != nil {
		b.Fatal(err)
	}
	for i := range namespaces {
		w.addNamespace(fmt.Sprintf("ns-%04d", i), "shop")
	}
	return w
}

// BenchmarkSchedule is one decision over 1,000 SyncTargets, with all that is found out about them for it.
func BenchmarkSchedule(b *testing.B) {
	w := fleet(b, 1, 1000).workspace()
	for b.Loop() {
		clusters := newClusters(w.Clusters, w.Now)
		policy := newPolicy(&w.Placements[0])
		d := schedule(request{namespace: &namespace{Namespace: w.Namespaces[0]}, policy: policy, count: 2}, clusters)
		if len(d.clusters) != 2 {
			b.Fatal(d.message)
		}
	}
}

// BenchmarkPlan is a pass over 1,000 Namespaces and 20 SyncTargets: the one that schedules them, and one at rest.
func BenchmarkPlan(b *testing.B) {
	w := fleet(b, 1000, 20)
	b.Run("from nothing", func(b *testing.B) {
		s := w.workspace()
		for b.Loop() {
			if c := Plan(s); len(c.Create) != 2000 {
				b.Fatalf("%d Assignments", len(c.Create))
			}
		}
	})
	w.settle(b.Fatalf)
	b.Run("at rest", func(b *testing.B) {
		s := w.workspace()
		for b.Loop() {
			if c := Plan(s); len(c.Update)+len(c.Placements)+len(c.Annotations)+len(c.Targets) > 0 {
				b.Fatalf("%+v", c)
			}
		}
	})
}
