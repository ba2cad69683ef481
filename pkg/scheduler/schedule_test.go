package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// choose schedules a Namespace of a Placement anew in a world.
func choose(w *world, spec func(*workloadv1alpha1.PlacementSpec), count int) decision {
	p := newPolicy(w.addPlacement("shop", "shop", spec))
	return schedule(request{namespace: &namespace{Namespace: Namespace{Name: "web", UID: "web"}}, policy: p, count: count}, newClusters(w.workspace().Clusters, w.now))
}

func namesOf(d decision) []string {
	var names []string
	for _, c := range d.clusters {
		names = append(names, c.name)
	}
	slices.Sort(names)
	return names
}

func TestFilters(t *testing.T) {
	taint := func(effect workloadv1alpha1.TaintEffect) func(*workloadv1alpha1.SyncTarget) {
		return func(t *workloadv1alpha1.SyncTarget) {
			t.Spec.Taints = []workloadv1alpha1.Taint{{Key: "dedicated", Value: "gpu", Effect: effect}}
		}
	}
	resourceState := func(state workloadv1alpha1.SyncedResourceState) func(*workloadv1alpha1.SyncTarget) {
		return func(t *workloadv1alpha1.SyncTarget) {
			t.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Group: "batch", Resource: "cronjobs"}}
			t.Status.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{
				{Group: "batch", Resource: "jobs", State: workloadv1alpha1.ResourceMissing}, {Group: "batch", Resource: "cronjobs", State: state},
			}
		}
	}
	measured := func(declared map[string]resource.Quantity) func(*workloadv1alpha1.SyncTarget) {
		return func(t *workloadv1alpha1.SyncTarget) {
			t.Spec.Capacity = declared
			t.Status.Syncer = &workloadv1alpha1.SyncerStatus{Allocatable: map[string]resource.Quantity{"cpu": resource.MustParse("0")}}
		}
	}
	ready := func(status metav1.ConditionStatus) func(*workloadv1alpha1.SyncTarget) {
		return func(t *workloadv1alpha1.SyncTarget) { t.Status.Conditions[0].Status = status }
	}
	affinity := func(a workloadv1alpha1.ClusterAffinity) func(*workloadv1alpha1.PlacementSpec) {
		return func(spec *workloadv1alpha1.PlacementSpec) { spec.ClusterAffinity = &a }
	}
	required := func(terms ...workloadv1alpha1.ClusterSelectorTerm) func(*workloadv1alpha1.PlacementSpec) {
		return affinity(workloadv1alpha1.ClusterAffinity{Required: terms})
	}
	tolerateAll := func(spec *workloadv1alpha1.PlacementSpec) {
		spec.Tolerations = []workloadv1alpha1.PlacementToleration{{Operator: workloadv1alpha1.TolerationExists}}
	}
	spreadOver := func(cell string, action workloadv1alpha1.UnsatisfiableConstraintAction) func(*workloadv1alpha1.PlacementSpec) {
		return func(spec *workloadv1alpha1.PlacementSpec) {
			spec.SpreadConstraints = []workloadv1alpha1.SpreadConstraint{{TopologyKey: cell, MaxSkew: 1, WhenUnsatisfiable: action}}
		}
	}
	cells := func(region string) map[string]workloadv1alpha1.CellValue {
		return map[string]workloadv1alpha1.CellValue{"region": workloadv1alpha1.CellValue(region)}
	}
	for name, c := range map[string]struct {
		filter string
		target func(*workloadv1alpha1.SyncTarget)
		spec   func(*workloadv1alpha1.PlacementSpec)
		// want is why the one SyncTarget, in the region eu, is not used; empty if it is.
		want string
	}{
		"nothing said":                {"", nil, nil, ""},
		"named":                       {"ClusterAffinity", nil, affinity(workloadv1alpha1.ClusterAffinity{ClusterNames: []string{"edge-1", "edge-9"}}), ""},
		"another named":               {"ClusterAffinity", nil, affinity(workloadv1alpha1.ClusterAffinity{ClusterNames: []string{"edge-9"}}), "1 does not match clusterAffinity"},
		"label":                       {"ClusterAffinity", nil, required(workloadv1alpha1.ClusterSelectorTerm{MatchLabels: map[string]string{"region": "eu"}}), ""},
		"cell":                        {"ClusterAffinity", nil, required(workloadv1alpha1.ClusterSelectorTerm{MatchCells: cells("eu")}), ""},
		"one of two terms":            {"ClusterAffinity", nil, required(workloadv1alpha1.ClusterSelectorTerm{MatchCells: cells("us")}, workloadv1alpha1.ClusterSelectorTerm{MatchCells: cells("eu")}), ""},
		"label, but not the cell":     {"ClusterAffinity", nil, required(workloadv1alpha1.ClusterSelectorTerm{MatchLabels: map[string]string{"region": "eu"}, MatchCells: cells("us")}), "1 does not match clusterAffinity"},
		"an empty term":               {"ClusterAffinity", nil, required(workloadv1alpha1.ClusterSelectorTerm{}), "1 does not match clusterAffinity"},
		"expression":                  {"ClusterAffinity", nil, required(workloadv1alpha1.ClusterSelectorTerm{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "region", Operator: "NotIn", Values: []string{"eu"}}}}), "1 does not match clusterAffinity"},
		"cordoned":                    {"Schedulable", cordon, nil, "1 cordoned"},
		"cordoned, all tolerated":     {"Schedulable", cordon, tolerateAll, "1 cordoned"},
		"drained":                     {"Schedulable", drain, nil, "1 being drained"},
		"deleted":                     {"Schedulable", func(t *workloadv1alpha1.SyncTarget) { t.DeletionTimestamp = ptr.To(metav1.NewTime(start)) }, nil, "1 being deleted"},
		"not ready":                   {"Ready", ready(metav1.ConditionFalse), tolerateAll, "1 not ready"},
		"not known to be ready":       {"Ready", ready(metav1.ConditionUnknown), nil, "1 not ready"},
		"taint":                       {"Taints", taint(workloadv1alpha1.TaintNoSchedule), nil, "1 has taint dedicated=gpu:NoSchedule"},
		"taint NoExecute":             {"Taints", taint(workloadv1alpha1.TaintNoExecute), nil, "1 has taint dedicated=gpu:NoExecute"},
		"taint, tolerated":            {"Taints", taint(workloadv1alpha1.TaintNoSchedule), tolerateAll, ""},
		"taint that is only to avoid": {"Taints", taint(workloadv1alpha1.TaintPreferNoSchedule), nil, ""},
		"resource missing":            {"SyncedResources", resourceState(workloadv1alpha1.ResourceMissing), nil, "1 does not serve cronjobs.batch"},
		"resource forbidden":          {"SyncedResources", resourceState(workloadv1alpha1.ResourceForbidden), nil, "1 cannot sync cronjobs.batch"},
		"resource accepted":           {"SyncedResources", resourceState(workloadv1alpha1.ResourceAccepted), nil, ""},
		"resource not judged yet":     {"SyncedResources", resourceState(""), nil, ""},
		"no capacity measured":        {"Capacity", measured(nil), nil, "1 has no cpu"},
		"what is declared counts":     {"Capacity", measured(map[string]resource.Quantity{"cpu": resource.MustParse("1")}), nil, ""},
		"spread over a missing cell":  {"TopologyKeys", nil, spreadOver("zone", workloadv1alpha1.DoNotSchedule), "1 has no cell zone"},
		"the same, if possible":       {"TopologyKeys", nil, spreadOver("zone", workloadv1alpha1.ScheduleAnyway), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			target := w.addTarget("edge-1", "eu")
			if c.target != nil {
				target.change(c.target)
			}
			want := ""
			if c.want != "" {
				want = "0/1 clusters: " + c.want
			}
			d := choose(w, c.spec, 1)
			if d.message != want || (len(d.clusters) == 1) != (want == "") {
				t.Errorf("%v %q, want %q", namesOf(d), d.message, want)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	w := newWorld()
	if d := choose(w, nil, 1); d.message != "the workspace has no SyncTarget" {
		t.Errorf("without any: %q", d.message)
	}
	for i := range 5 {
		w.addTarget(fmt.Sprint("edge-", i), "eu")
	}
	w.targets["edge-0"].change(cordon)
	w.targets["edge-1"].change(cordon)
	w.targets["edge-2"].change(func(t *workloadv1alpha1.SyncTarget) {
		t.Spec.Taints = []workloadv1alpha1.Taint{{Key: "gpu", Effect: workloadv1alpha1.TaintNoSchedule}}
	})
	d := choose(w, func(spec *workloadv1alpha1.PlacementSpec) {
		spec.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{ClusterNames: []string{"edge-0", "edge-1", "edge-2", "edge-9"}}
	}, 1)
	want := "0/5 clusters: 2 cordoned, 2 do not match clusterAffinity, 1 has taint gpu:NoSchedule"
	if d.message != want {
		t.Errorf("got  %s\nwant %s", d.message, want)
	}
}

func TestScores(t *testing.T) {
	// declare sets spec.capacity of edge-1 and edge-2; an empty quantity declares nothing.
	declare := func(edge1, edge2 string) func(*world) {
		return func(w *world) {
			for name, cpu := range map[string]string{"edge-1": edge1, "edge-2": edge2} {
				if cpu == "" {
					continue
				}
				w.targets[name].change(func(t *workloadv1alpha1.SyncTarget) {
					t.Spec.Capacity = map[string]resource.Quantity{"cpu": resource.MustParse(cpu)}
				})
			}
		}
	}
	for name, c := range map[string]struct {
		reason string
		change func(*world)
		spec   func(*workloadv1alpha1.PlacementSpec)
	}{
		"taint": {"A PreferNoSchedule taint counts for more than a preference.", func(w *world) {
			w.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) {
				t.Spec.Taints = []workloadv1alpha1.Taint{{Key: "slow", Effect: workloadv1alpha1.TaintPreferNoSchedule}}
			})
		}, func(spec *workloadv1alpha1.PlacementSpec) {
			spec.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{Preferred: []workloadv1alpha1.PreferredClusterTerm{
				{Weight: 100, Term: workloadv1alpha1.ClusterSelectorTerm{MatchLabels: map[string]string{"region": "eu"}}},
			}}
		}},
		"preferred": {"Weights add up.", func(*world) {}, func(spec *workloadv1alpha1.PlacementSpec) {
			us := workloadv1alpha1.ClusterSelectorTerm{MatchLabels: map[string]string{"region": "us"}}
			spec.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{Preferred: []workloadv1alpha1.PreferredClusterTerm{
				{Weight: 10, Term: workloadv1alpha1.ClusterSelectorTerm{MatchLabels: map[string]string{"region": "eu"}}}, {Weight: 6, Term: us}, {Weight: 5, Term: us},
			}}
		}},
		"larger":              {"Both are empty.", declare("3900m", "4"), nil},
		"larger than counted": {"Quantities beyond what is told apart do not overflow.", declare("1", "9E"), nil},
		"more than one core":  {"A cluster without a known capacity counts as one core.", declare("", "1100m"), nil},
		"less than one core":  {"A cluster without a known capacity counts as one core.", declare("900m", ""), nil},
		"measured": {"What the syncer measures counts where nothing is declared.", func(w *world) {
			declare("2", "")(w)
			w.targets["edge-2"].change(func(t *workloadv1alpha1.SyncTarget) {
				t.Status.Syncer = &workloadv1alpha1.SyncerStatus{Allocatable: map[string]resource.Quantity{"cpu": resource.MustParse("3")}}
			})
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.addTarget("edge-1", "eu")
			w.addTarget("edge-2", "us")
			c.change(w)
			if d := choose(w, c.spec, 1); !slices.Equal(namesOf(d), []string{"edge-2"}) {
				t.Errorf("%v, want edge-2: %s", namesOf(d), c.reason)
			}
		})
	}
}

// TestEven: many Namespaces spread evenly over what the Placement prefers alike. It prefers us, and spreads over the
// regions.
func TestEven(t *testing.T) {
	w := fleet(t, 1000, 20)
	got, want := map[string]int{}, map[string]int{}
	c := Plan(w.workspace())
	for i := range c.Create {
		got[c.Create[i].Annotations[workloadv1alpha1.AnnotationSyncTarget]]++
	}
	for name, target := range w.targets {
		switch target.Labels["region"] {
		case "us":
			want[name] = 1000 / 5
		case "eu", "ap":
			want[name] = 1000 / 10
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestFreeShare: many Namespaces spread over clusters in proportion to their CPU, and where two shares are alike, the
// cluster that has Namespaces of the workspace already gets one more.
func TestFreeShare(t *testing.T) {
	w := newWorld()
	for name, cpu := range map[string]string{"edge-1": "8", "edge-2": "4", "edge-3": "250m"} {
		w.addTarget(name, "eu").change(func(t *workloadv1alpha1.SyncTarget) {
			t.Spec.Capacity = map[string]resource.Quantity{"cpu": resource.MustParse(cpu)}
		})
	}
	w.addTarget("edge-4", "eu") // nobody knows how much it has
	w.addPlacement("shop", "shop", nil)
	if _, err := w.apply(Plan(w.workspace()), -1); err != nil { // its finalizer
		t.Fatal(err)
	}
	for i := range 1325 {
		w.addNamespace(fmt.Sprint("ns-", i), "shop")
	}
	got := map[string]int{}
	c := Plan(w.workspace())
	for i := range c.Create {
		got[c.Create[i].Annotations[workloadv1alpha1.AnnotationSyncTarget]]++
	}
	if d := cmp.Diff(map[string]int{"edge-1": 800, "edge-2": 400, "edge-3": 25, "edge-4": 100}, got); d != "" {
		t.Error(d)
	}
}

// TestHasNamespaces: of two clusters with the same free share, the one that has Namespaces of the workspace is used.
func TestHasNamespaces(t *testing.T) {
	for _, used := range []string{"edge-1", "edge-2"} {
		clusters := map[string]*candidate{"edge-1": {cluster: &cluster{key: "k1"}, cpu: 2000}, "edge-2": {cluster: &cluster{key: "k2"}, cpu: 2000}}
		clusters[used].cpu, clusters[used].running = 4000, 1
		other := map[string]string{"edge-1": "edge-2", "edge-2": "edge-1"}[used]
		r := &request{namespace: &namespace{Namespace: Namespace{UID: "web"}}}
		if !better(r, scores(), clusters[used], clusters[other]) {
			t.Errorf("%s has a Namespace and the same free share as %s, which is preferred", used, other)
		}
	}
}

// TestRendezvous: where nothing else decides, each cluster gets its share of the Namespaces, and a further one takes
// from each alike.
func TestRendezvous(t *testing.T) {
	first := func(uid types.UID, keys []string) string {
		return slices.MaxFunc(keys, func(a, b string) int { return cmpHash(rendezvous(uid, a), rendezvous(uid, b)) })
	}
	keys, shares, moved := []string{"k1", "k2", "k3", "k4"}, map[string]int{}, map[string]int{}
	for i := range 4000 {
		uid := types.UID(fmt.Sprint("uid-", i))
		before, after := first(uid, keys), first(uid, append(keys, "k5"))
		shares[before]++
		if after != before {
			if after != "k5" {
				t.Errorf("%s goes from %s to %s", uid, before, after)
			}
			moved[before]++
		}
	}
	for _, key := range keys {
		if shares[key] < 900 || shares[key] > 1100 || moved[key] < 140 || moved[key] > 260 {
			t.Errorf("%s has %d of 4000, and gives %d to a fifth", key, shares[key], moved[key])
		}
	}
}

func cmpHash(a, b uint64) int {
	if a < b {
		return -1
	}
	return 1
}

func TestSpread(t *testing.T) {
	for name, c := range map[string]struct {
		reason   string
		action   workloadv1alpha1.UnsatisfiableConstraintAction
		maxSkew  int32
		cordoned []string
		count    int
		want     []string
		message  string
	}{
		"two regions":          {"", workloadv1alpha1.DoNotSchedule, 1, nil, 2, []string{"eu-1", "us-1"}, ""},
		"rather fewer":         {"us has no other.", workloadv1alpha1.DoNotSchedule, 1, []string{"us-1"}, 2, []string{"eu-1"}, "0/4 clusters: 2 against the spread over region, 1 cordoned, 1 in use already"},
		"rather together":      {"", workloadv1alpha1.ScheduleAnyway, 1, []string{"us-1"}, 2, []string{"eu-1", "eu-2"}, ""},
		"apart if that can be": {"", workloadv1alpha1.ScheduleAnyway, 1, nil, 2, []string{"eu-1", "us-1"}, ""},
		"up to maxSkew":        {"", workloadv1alpha1.DoNotSchedule, 2, []string{"us-1"}, 3, []string{"eu-1", "eu-2"}, "0/4 clusters: 2 in use already, 1 against the spread over region, 1 cordoned"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			for i, target := range []string{"eu-1", "eu-2", "eu-3", "us-1"} {
				w.addTarget(target, target[:2]).change(func(t *workloadv1alpha1.SyncTarget) {
					t.Spec.Capacity = map[string]resource.Quantity{"cpu": *resource.NewQuantity(int64(9-i), resource.DecimalSI)}
					t.Spec.Unschedulable = slices.Contains(c.cordoned, target)
				})
			}
			d := choose(w, func(spec *workloadv1alpha1.PlacementSpec) {
				spec.SpreadConstraints = []workloadv1alpha1.SpreadConstraint{{TopologyKey: "region", MaxSkew: c.maxSkew, WhenUnsatisfiable: c.action}}
			}, c.count)
			if !slices.Equal(namesOf(d), c.want) || d.message != c.message {
				t.Errorf("%v %q, want %v %q: %s", namesOf(d), d.message, c.want, c.message, c.reason)
			}
		})
	}
}

func TestToleratedUntil(t *testing.T) {
	unreachable := workloadv1alpha1.ObservedTaint{Key: workloadv1alpha1.TaintUnreachable, Effect: workloadv1alpha1.TaintNoExecute, TimeAdded: metav1.NewTime(start)}
	gpu := workloadv1alpha1.ObservedTaint{Key: "gpu", Value: "a100", Effect: workloadv1alpha1.TaintNoExecute, TimeAdded: metav1.NewTime(start)}
	type tolerations = []workloadv1alpha1.PlacementToleration
	exists := func(key string, seconds *int64) workloadv1alpha1.PlacementToleration {
		return workloadv1alpha1.PlacementToleration{Key: key, Operator: workloadv1alpha1.TolerationExists, TolerationSeconds: seconds}
	}
	const forever = time.Duration(-1)
	for name, c := range map[string]struct {
		taint       workloadv1alpha1.ObservedTaint
		tolerations tolerations
		want        time.Duration
	}{
		"unreachable by default":  {unreachable, nil, forever},
		"unreachable, other key":  {unreachable, tolerations{exists("gpu", ptr.To(int64(5)))}, forever},
		"unreachable for a while": {unreachable, tolerations{exists(unreachable.Key, ptr.To(int64(60)))}, time.Minute},
		"everything for a while":  {unreachable, tolerations{exists("", ptr.To(int64(60)))}, time.Minute},
		"other effect":            {unreachable, tolerations{{Key: unreachable.Key, Operator: workloadv1alpha1.TolerationExists, Effect: workloadv1alpha1.TaintNoSchedule}}, forever},
		"not tolerated":           {gpu, nil, 0},
		"for ever":                {gpu, tolerations{exists("gpu", nil)}, forever},
		"the shortest counts":     {gpu, tolerations{exists("gpu", nil), exists("gpu", ptr.To(int64(60))), exists("", ptr.To(int64(30)))}, 30 * time.Second},
		"the value":               {gpu, tolerations{{Key: "gpu", Value: "a100"}}, forever},
		"another value":           {gpu, tolerations{{Key: "gpu", Value: "h100"}}, 0},
		"Equal without a key":     {gpu, tolerations{{Value: "a100"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			until, endless := toleratedUntil(c.tolerations, &c.taint)
			if got := until.Sub(start); endless != (c.want == forever) || !endless && got != c.want {
				t.Errorf("%s, for ever %v, want %s", got, endless, c.want)
			}
		})
	}
}

func TestWantedTaints(t *testing.T) {
	earlier, now := metav1.NewTime(start), metav1.NewTime(start.Add(time.Hour))
	type taints = []workloadv1alpha1.ObservedTaint
	silent := func(added metav1.Time, effects ...workloadv1alpha1.TaintEffect) taints {
		var result taints
		for _, effect := range effects {
			result = append(result, workloadv1alpha1.ObservedTaint{Key: workloadv1alpha1.TaintUnreachable, Effect: effect, TimeAdded: added})
		}
		return result
	}
	const no, execute = workloadv1alpha1.TaintNoSchedule, workloadv1alpha1.TaintNoExecute
	for name, c := range map[string]struct {
		status metav1.ConditionStatus
		reason string
		paused bool
		spec   workloadv1alpha1.SyncTargetSpec
		before taints
		want   taints
	}{
		"ready":                     {metav1.ConditionTrue, workloadv1alpha1.ReasonReady, false, workloadv1alpha1.SyncTargetSpec{}, silent(earlier, no, execute), nil},
		"silent":                    {metav1.ConditionFalse, workloadv1alpha1.ReasonUnhealthy, false, workloadv1alpha1.SyncTargetSpec{}, nil, silent(now, no, execute)},
		"silent for long":           {metav1.ConditionFalse, workloadv1alpha1.ReasonUnhealthy, false, workloadv1alpha1.SyncTargetSpec{}, silent(earlier, no, execute), silent(earlier, no, execute)},
		"silent with many":          {metav1.ConditionFalse, workloadv1alpha1.ReasonUnhealthy, true, workloadv1alpha1.SyncTargetSpec{}, silent(earlier, no, execute), silent(earlier, no)},
		"not known":                 {metav1.ConditionUnknown, workloadv1alpha1.ReasonHealthCheckFailed, false, workloadv1alpha1.SyncTargetSpec{}, silent(earlier, no, execute), silent(earlier, no, execute)},
		"not known, never silent":   {metav1.ConditionUnknown, workloadv1alpha1.ReasonHealthCheckFailed, false, workloadv1alpha1.SyncTargetSpec{}, nil, nil},
		"no heartbeat yet":          {metav1.ConditionFalse, workloadv1alpha1.ReasonAwaitingHeartbeat, false, workloadv1alpha1.SyncTargetSpec{}, nil, nil},
		"cordoned":                  {metav1.ConditionTrue, workloadv1alpha1.ReasonReady, false, workloadv1alpha1.SyncTargetSpec{Unschedulable: true}, nil, taints{{Key: workloadv1alpha1.TaintUnschedulable, Effect: no, TimeAdded: now}}},
		"drained":                   {metav1.ConditionTrue, workloadv1alpha1.ReasonReady, false, workloadv1alpha1.SyncTargetSpec{Drain: &workloadv1alpha1.DrainSpec{}}, nil, taints{{Key: workloadv1alpha1.TaintUnschedulable, Effect: no, TimeAdded: now}}},
		"the owner's, twice":        {metav1.ConditionTrue, workloadv1alpha1.ReasonReady, false, workloadv1alpha1.SyncTargetSpec{Taints: []workloadv1alpha1.Taint{{Key: "a", Effect: no}, {Key: "a", Effect: no}}}, nil, taints{{Key: "a", Effect: no, TimeAdded: now}}},
		"the owner's, taken off":    {metav1.ConditionTrue, workloadv1alpha1.ReasonReady, false, workloadv1alpha1.SyncTargetSpec{}, taints{{Key: "a", Effect: no, TimeAdded: earlier}}, nil},
		"the owner's, other value":  {metav1.ConditionTrue, workloadv1alpha1.ReasonReady, false, workloadv1alpha1.SyncTargetSpec{Taints: []workloadv1alpha1.Taint{{Key: "a", Value: "2", Effect: no}}}, taints{{Key: "a", Value: "1", Effect: no, TimeAdded: earlier}}, taints{{Key: "a", Value: "2", Effect: no, TimeAdded: now}}},
		"the owner's, there before": {metav1.ConditionTrue, workloadv1alpha1.ReasonReady, false, workloadv1alpha1.SyncTargetSpec{Taints: []workloadv1alpha1.Taint{{Key: "a", Effect: no}}}, taints{{Key: "a", Effect: no, TimeAdded: earlier}}, taints{{Key: "a", Effect: no, TimeAdded: earlier}}},
	} {
		t.Run(name, func(t *testing.T) {
			target := &workloadv1alpha1.SyncTarget{Spec: c.spec}
			target.Status.Taints = c.before
			target.Status.Conditions = []metav1.Condition{{Type: workloadv1alpha1.ConditionReady, Status: c.status, Reason: c.reason}}
			if d := cmp.Diff(c.want, wantedTaints(Cluster{Target: target, EvictionPaused: c.paused}, now)); d != "" {
				t.Error(d)
			}
		})
	}
}
