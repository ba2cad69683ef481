package scheduler

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

var (
	apps    = []string{"a", "b", "c", "d", "none"}
	regions = []string{"eu", "us", "ap", "sa"}
)

// simulation is a world in which things happen at random.
type simulation struct {
	*testing.T
	*world
	r *rand.Rand
	// ran are the Namespaces that have been available and are to run somewhere ever since.
	ran map[types.UID]bool
	// works are the Namespaces of which the copies worked somewhere before the last pass.
	works map[types.UID]bool
	// log are the last things that have happened.
	log []string
}

// TestSimulation lets 10,000 things happen at random to 200 Namespaces and 20 SyncTargets: users change their minds,
// clusters are cut off, workloads fail, and the scheduler crashes between any two writes. At every moment each
// Namespace that ever ran runs somewhere, unless the user said otherwise. At the end, when all is mended, everything is
// as the rules say, and nothing is written any more.
func TestSimulation(t *testing.T) {
	namespaces, targets, events, seeds := 200, 20, 10000, uint64(1)
	if testing.Short() {
		namespaces, targets, events, seeds = 40, 8, 1500, 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := newSimulation(t, seed, namespaces, targets)
			for range events {
				s.happen()
				s.step(time.Duration(1+s.r.IntN(20)) * time.Second)
				s.works = s.runningWhere(func(key copyKey, c *copies) bool { return c.ran && !s.broken[key] })
				s.schedule()
				s.check()
				if t.Failed() {
					t.Fatalf("what happened last: %q", s.log)
				}
			}
			told := map[string]int{}
			for _, e := range s.events {
				told[e.Reason]++
			}
			t.Log(told)
			for _, reason := range []string{EventScheduled, EventFailedScheduling, EventMoving, EventMoved, EventMoveFailed, EventWithdrawn} {
				if told[reason] < events/1000 {
					t.Errorf("the simulation is too quiet: %d times %s", told[reason], reason)
				}
			}
			s.mend()
			s.settle(t.Fatalf)
			s.checkEnd()
		})
	}
}

func newSimulation(t *testing.T, seed uint64, namespaces, targets int) *simulation {
	s := &simulation{T: t, world: newWorld(), r: rand.New(rand.NewPCG(seed, 21)), ran: map[types.UID]bool{}}
	for i := range targets {
		s.addTarget(fmt.Sprintf("edge-%02d", i), regions[i%len(regions)])
	}
	for i := range namespaces {
		s.addNamespace(fmt.Sprintf("ns-%03d", i), pick(s.r, apps))
	}
	for i, app := range apps[:4] {
		s.addPlacement(fmt.Sprint("placement-", i), app, s.randomSpec)
	}
	return s
}

// randomSpec changes what a Placement asks for.
func (s *simulation) randomSpec(spec *workloadv1alpha1.PlacementSpec) {
	r := s.r
	spec.Priority = int32(r.IntN(3))
	spec.NumberOfClusters = int32(1 + r.IntN(3))
	spec.Failback = pick(r, []workloadv1alpha1.FailbackPolicy{workloadv1alpha1.FailbackManual, workloadv1alpha1.FailbackAutomatic})
	spec.Move.GracePeriodSeconds = int32(60 + r.IntN(300))
	spec.Move.MaxUnavailable = int32(1 + r.IntN(20))
	spec.Move.PurgeMode = pick(r, []workloadv1alpha1.PurgeMode{
		workloadv1alpha1.PurgeGracefully, workloadv1alpha1.PurgeGracefully, workloadv1alpha1.PurgeNever, workloadv1alpha1.PurgeDirectly,
	})
	spec.Move.Volumes = pick(r, []workloadv1alpha1.VolumePolicy{workloadv1alpha1.VolumesHold, workloadv1alpha1.VolumesLeaveBehind})
	spec.Tolerations, spec.SpreadConstraints, spec.ClusterAffinity = nil, nil, nil
	if r.IntN(2) == 0 {
		spec.Tolerations = []workloadv1alpha1.PlacementToleration{{
			Key: workloadv1alpha1.TaintUnreachable, Operator: workloadv1alpha1.TolerationExists, Effect: workloadv1alpha1.TaintNoExecute,
			TolerationSeconds: ptr.To(int64(r.IntN(300))),
		}}
	}
	if r.IntN(3) == 0 {
		spec.SpreadConstraints = []workloadv1alpha1.SpreadConstraint{{
			TopologyKey: "region", MaxSkew: 1,
			WhenUnsatisfiable: pick(r, []workloadv1alpha1.UnsatisfiableConstraintAction{workloadv1alpha1.DoNotSchedule, workloadv1alpha1.ScheduleAnyway}),
		}}
	}
	if r.IntN(2) == 0 {
		region := workloadv1alpha1.CellValue(pick(r, regions))
		spec.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{Required: []workloadv1alpha1.ClusterSelectorTerm{
			{MatchCells: map[string]workloadv1alpha1.CellValue{"region": region}}, {MatchLabels: map[string]string{"region": pick(r, regions)}},
		}}
	}
}

// happen lets one thing happen.
func (s *simulation) happen() {
	r := s.r
	what := ""
	switch k := r.IntN(100); {
	case k < 30:
		what = s.targetEvent(pick(r, sorted(s.targets)))
	case k < 45:
		what = s.clusterEvent(pick(r, sorted(s.targets)))
	case k < 65:
		what = s.namespaceEvent(pick(r, sorted(s.namespaces)))
	case k < 70:
		what = s.placementEvent()
	case k < 80:
		n := pick(r, sorted(s.namespaces))
		for _, t := range sorted(s.targets) {
			s.broken[copyKey{n.UID, t.UID}] = r.IntN(4) == 0
		}
	case k < 85:
		uid := pick(r, sorted(s.namespaces)).UID
		s.claims[uid] = !s.claims[uid]
	case k < 86 && len(s.assignments) > 0:
		a := pick(r, s.sortedAssignments())
		delete(s.assignments, assignmentKey(a))
		s.order = nil
		delete(s.ran, a.Spec.Namespace.UID)
		what = "lost " + assignmentKey(a)
	}
	s.log = append(s.log[max(0, len(s.log)-12):], fmt.Sprintf("%s %s", s.now.Format(time.TimeOnly), what))
}

// targetEvent is what the owner of a SyncTarget does.
func (s *simulation) targetEvent(t *modelTarget) string {
	if t.DeletionTimestamp != nil {
		return ""
	}
	kind := s.r.IntN(10)
	t.change(func(t *workloadv1alpha1.SyncTarget) {
		switch {
		case kind < 2:
			t.Spec.Unschedulable = !t.Spec.Unschedulable && s.r.IntN(2) == 0
		case kind < 5 && t.Spec.Drain == nil && s.r.IntN(3) == 0:
			t.Spec.Drain = &workloadv1alpha1.DrainSpec{MaxConcurrent: int32(1 + s.r.IntN(10))}
		case kind < 5:
			t.Spec.Drain = nil
		case kind < 7 && t.Spec.Taints == nil && s.r.IntN(3) == 0:
			t.Spec.Taints = []workloadv1alpha1.Taint{{Key: "gpu", Effect: pick(s.r, []workloadv1alpha1.TaintEffect{
				workloadv1alpha1.TaintNoSchedule, workloadv1alpha1.TaintPreferNoSchedule, workloadv1alpha1.TaintNoExecute,
			})}}
		case kind < 7:
			t.Spec.Taints = nil
		case kind == 7:
			t.Spec.DeletionPolicy = pick(s.r, []workloadv1alpha1.DeletionPolicy{workloadv1alpha1.DeletionPolicyDelete, workloadv1alpha1.DeletionPolicyOrphan})
		}
	})
	switch {
	case kind == 8 && s.r.IntN(4) == 0:
		now := metav1.NewTime(s.now)
		t.change(func(t *workloadv1alpha1.SyncTarget) { t.DeletionTimestamp = &now })
		t.deadline = s.now.Add(15 * time.Minute)
		return "deleted " + t.Name
	case kind == 9:
		for i := range 20 {
			if name := fmt.Sprintf("edge-%02d", i); s.targets[name] == nil {
				s.addTarget(name, regions[i%len(regions)])
				return "made " + name
			}
		}
	}
	return fmt.Sprintf("%s: unschedulable %v, drain %v, taints %v", t.Name, t.Spec.Unschedulable, t.Spec.Drain != nil, t.Spec.Taints)
}

// clusterEvent cuts a physical cluster off, or mends its connection. Now and then that befalls all of them.
func (s *simulation) clusterEvent(t *modelTarget) string {
	concerned := []*modelTarget{t}
	mass := s.r.IntN(100) == 0
	if mass {
		concerned = sorted(s.targets)
	}
	cut := s.r.IntN(3) == 0
	for _, t := range concerned {
		switch {
		case cut && t.down.IsZero():
			t.down, t.paused = s.now, mass
		case !cut:
			t.down, t.paused = time.Time{}, false
		}
	}
	return fmt.Sprintf("%s and %d others cut off: %v", t.Name, len(concerned)-1, cut)
}

func (s *simulation) namespaceEvent(n *Namespace) string {
	switch k := s.r.IntN(20); {
	case n.Terminating || n.Gone:
		return ""
	case k == 0:
		n.Terminating = true
		return "deleted " + n.Name
	case k < 3 && len(s.namespaces) < 220:
		name := fmt.Sprintf("ns-%03d", s.r.IntN(1000))
		for _, present := range s.namespaces {
			if present.Name == name && !present.Gone {
				return ""
			}
		}
		s.addNamespace(name, pick(s.r, apps))
		return "made " + name
	case k < 8:
		n.Labels = map[string]string{"app": pick(s.r, apps)}
		return fmt.Sprint(n.Name, n.Labels)
	}
	return ""
}

func (s *simulation) placementEvent() string {
	name := fmt.Sprint("placement-", s.r.IntN(7))
	p := s.placements[name]
	switch {
	case p == nil:
		p = s.addPlacement(name, pick(s.r, apps), s.randomSpec)
		return fmt.Sprintf("made %s: %+v", name, p.Spec)
	case p.DeletionTimestamp != nil:
		return ""
	case s.r.IntN(4) == 0:
		s.deletePlacement(p)
		return "deleted " + name
	}
	changed := p.DeepCopy()
	s.randomSpec(&changed.Spec)
	changed.Generation++
	s.placements[name] = changed
	return fmt.Sprintf("changed %s: %+v", name, changed.Spec)
}

// schedule makes a pass over what has happened lately, or some of one, or two at once as during a change of leader.
func (s *simulation) schedule() {
	switch k := s.r.IntN(10); {
	case k < 6:
		return
	case k < 8:
		_, _ = s.apply(Plan(s.workspace()), s.r.IntN(6))
	case k == 8:
		c := Plan(s.workspace())
		_, _ = s.apply(c, s.r.IntN(4))
		_, _ = s.apply(c, -1)
	default:
		if _, err := s.apply(Plan(s.workspace()), -1); err != nil {
			s.Errorf("a pass over the present state conflicts: %v", err)
		}
	}
}

// deciding returns the Placement that the rules make count for a Namespace.
func (s *simulation) deciding(n *Namespace) *workloadv1alpha1.Placement {
	var best *workloadv1alpha1.Placement
	for _, p := range sorted(s.placements) {
		if p.DeletionTimestamp != nil || p.Spec.NamespaceSelector.MatchLabels["app"] != n.Labels["app"] {
			continue
		}
		if best == nil || p.Spec.Priority > best.Spec.Priority ||
			p.Spec.Priority == best.Spec.Priority && p.CreationTimestamp.Before(&best.CreationTimestamp) {
			best = p
		}
	}
	return best
}

// runningWhere returns the Namespaces with an Assignment that is to run, and copies there of which something holds.
func (s *simulation) runningWhere(holds func(copyKey, *copies) bool) map[types.UID]bool {
	result := map[types.UID]bool{}
	for _, a := range s.assignments {
		key := copyKey{a.Spec.Namespace.UID, types.UID(a.Labels[workloadv1alpha1.LabelUID])}
		if c := s.copies[key]; a.Spec.Intent == workloadv1alpha1.IntentRun && c != nil && !c.orphaned && holds(key, c) {
			result[key.namespace] = true
		}
	}
	return result
}

// check is the oracle: a Namespace that ever ran has an Assignment that is to run where its copies are and have been
// available. Of one whose workload was broken wherever it was before the last pass nothing is asked.
func (s *simulation) check() {
	runs, deleted := s.runningWhere(func(_ copyKey, c *copies) bool { return c.ran }), map[types.UID]bool{}
	for _, a := range s.assignments {
		if a.Spec.Reason == workloadv1alpha1.AssignmentTargetDeleted && a.Spec.Intent != workloadv1alpha1.IntentRun {
			deleted[a.Spec.Namespace.UID] = true
		}
	}
	deciding := map[string]*workloadv1alpha1.Placement{}
	for _, app := range apps {
		deciding[app] = s.deciding(&Namespace{Labels: map[string]string{"app": app}})
	}
	for _, n := range s.namespaces {
		p := deciding[n.Labels["app"]]
		switch {
		case n.Terminating, n.Gone, p == nil, p.Spec.Move.PurgeMode == workloadv1alpha1.PurgeDirectly, deleted[n.UID]:
			delete(s.ran, n.UID)
		case runs[n.UID]:
			s.ran[n.UID] = true
		case !s.works[n.UID]:
			delete(s.ran, n.UID)
		case s.ran[n.UID]:
			s.Errorf("Namespace %s ran, and runs nowhere: %s", n.Name, n.Annotation)
			for _, a := range s.assignments {
				if a.Spec.Namespace.UID == n.UID {
					s.Logf("%s: %+v %+v", assignmentKey(a), a.Spec, a.Status)
				}
			}
		}
	}
}

// mend ends everything that is in the way of anything.
func (s *simulation) mend() {
	clear(s.broken)
	clear(s.claims)
	for _, t := range s.targets {
		t.down, t.paused = time.Time{}, false
		if t.DeletionTimestamp == nil {
			t.change(func(t *workloadv1alpha1.SyncTarget) {
				t.Spec.Drain, t.Spec.Taints, t.Spec.Unschedulable = nil, nil, false
			})
		}
	}
}

// checkEnd compares what is there at rest with the rules.
func (s *simulation) checkEnd() {
	byNamespace := map[types.UID][]*workloadv1alpha1.Assignment{}
	for _, a := range s.sortedAssignments() {
		byNamespace[a.Spec.Namespace.UID] = append(byNamespace[a.Spec.Namespace.UID], a)
	}
	for _, n := range sorted(s.namespaces) {
		s.checkNamespace(n, byNamespace[n.UID])
		delete(byNamespace, n.UID)
	}
	if len(byNamespace) > 0 {
		s.Errorf("there are Assignments of Namespaces that are gone: %v", byNamespace)
	}
	s.checkNothingForgotten()
	for _, p := range s.placements {
		if p.DeletionTimestamp != nil {
			s.Errorf("the deletion of Placement %s does not end", p.Name)
		}
	}
	s.step(time.Hour)
	if c := Plan(s.workspace()); len(c.Create)+len(c.Update)+len(c.Delete)+len(c.Placements)+len(c.Targets)+len(c.Annotations)+len(c.Events) > 0 {
		s.Errorf("at rest something is written: %+v", c)
	}
}

// checkNothingForgotten reports copies, and rights of syncers, of which no Assignment tells.
func (s *simulation) checkNothingForgotten() {
	recorded := map[copyKey]bool{}
	for _, a := range s.assignments {
		recorded[copyKey{a.Spec.Namespace.UID, types.UID(a.Labels[workloadv1alpha1.LabelUID])}] = true
	}
	for _, t := range s.targets {
		for key, c := range s.copies {
			if key.target == t.UID && !recorded[key] && !c.orphaned {
				s.Errorf("copies of Namespace %s on %s are forgotten", key.namespace, t.Name)
			}
		}
		for key := range s.granted {
			if key.target == t.UID && !recorded[key] {
				s.Errorf("rights of the syncer of %s in Namespace %s are forgotten", t.Name, key.namespace)
			}
		}
	}
}

func (s *simulation) checkNamespace(n *Namespace, assignments []*workloadv1alpha1.Assignment) {
	p := s.deciding(n)
	if p == nil || n.Terminating {
		if len(assignments) > 0 {
			s.Errorf("%s is not to run, and has %d Assignments", n.Name, len(assignments))
		}
		return
	}
	if len(assignments) > int(p.Spec.NumberOfClusters) {
		s.Errorf("%s has %d clusters, want %d", n.Name, len(assignments), p.Spec.NumberOfClusters)
	}
	first, writers := 0, 0
	used := map[string]bool{}
	for _, a := range assignments {
		name := a.Annotations[workloadv1alpha1.AnnotationSyncTarget]
		used[name] = true
		if a.Spec.Intent != workloadv1alpha1.IntentRun || a.Spec.Placement.UID != p.UID {
			s.Errorf("%s on %s is not as it should be at rest: %+v", n.Name, name, a.Spec)
		}
		if !s.mayUse(p, s.targets[name]) {
			s.Errorf("%s is on %s, against the affinity %+v", n.Name, name, p.Spec.ClusterAffinity)
		}
		if a.Spec.Order == 0 {
			first++
		}
		if a.Spec.WritesStatus {
			writers++
		}
	}
	if len(assignments) > 0 && (first != 1 || writers != 1) {
		s.Errorf("%s has %d clusters of order 0, and %d that write the status", n.Name, first, writers)
	}
	if len(assignments) < int(p.Spec.NumberOfClusters) {
		s.checkNothingFits(n, p, used)
	}
}

func (s *simulation) mayUse(p *workloadv1alpha1.Placement, t *modelTarget) bool {
	if p.Spec.ClusterAffinity == nil {
		return true
	}
	return slices.ContainsFunc(p.Spec.ClusterAffinity.Required, func(term workloadv1alpha1.ClusterSelectorTerm) bool {
		return string(term.MatchCells["region"])+term.MatchLabels["region"] == string(t.Spec.Cells["region"])
	})
}

// checkNothingFits reports a SyncTarget that a Namespace with too few could use.
func (s *simulation) checkNothingFits(n *Namespace, p *workloadv1alpha1.Placement, used map[string]bool) {
	perRegion := map[workloadv1alpha1.CellValue]int{}
	for name, t := range s.targets {
		if s.mayUse(p, t) {
			perRegion[t.Spec.Cells["region"]] += 0
			if used[name] {
				perRegion[t.Spec.Cells["region"]]++
			}
		}
	}
	for name, t := range s.targets {
		if used[name] || !s.mayUse(p, t) {
			continue
		}
		fewest := slices.Min(slices.Collect(maps.Values(perRegion)))
		if len(p.Spec.SpreadConstraints) > 0 && p.Spec.SpreadConstraints[0].WhenUnsatisfiable == workloadv1alpha1.DoNotSchedule &&
			perRegion[t.Spec.Cells["region"]]+1-fewest > 1 {
			continue
		}
		s.Errorf("%s has too few clusters, and %s fits: %s", n.Name, name, n.Annotation)
	}
}
