package scheduler

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestInvariants checks what each pass may do, over workspaces in which things happen at random: the invariants of
// docs/design.
func TestInvariants(t *testing.T) {
	seeds, events := uint64(8), 150
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := newSimulation(t, seed+100, 12, 7)
			for range events {
				s.happen()
				s.step(time.Duration(1+s.r.IntN(20)) * time.Second)
				w := s.workspace()
				c := Plan(w)
				checkPure(t, s.r, w, c)
				checkWriter(t, w, c)
				checkWithdrawals(t, w, c)
				checkCrash(t, s, c)
				if !t.Failed() {
					checkVanished(t, s.r, w)
					checkSilence(t, w)
				}
				if t.Failed() {
					t.Fatalf("what happened last: %q", s.log)
				}
				s.schedule()
			}
		})
	}
}

// checkPure is invariant 8: the same input, in whatever order, gives the same decision, and is not changed.
func checkPure(t *testing.T, r *rand.Rand, w Workspace, c Changes) {
	t.Helper()
	other := w
	other.Namespaces, other.Placements = shuffled(r, w.Namespaces), shuffled(r, w.Placements)
	other.Clusters, other.Assignments = shuffled(r, w.Clusters), shuffled(r, w.Assignments)
	before := text(other)
	again := Plan(other)
	if after := text(other); before != after {
		t.Errorf("Plan changes its argument:\n%s\n%s", before, after)
	}
	if difference := cmp.Diff(byNames(c), byNames(again)); difference != "" {
		t.Errorf("the decision depends on the order of the input: %s", difference)
	}
}

func shuffled[T any](r *rand.Rand, of []T) []T {
	of = slices.Clone(of)
	r.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
	return of
}

// byNames makes changes comparable.
func byNames(c Changes) map[string]string {
	result := map[string]string{}
	for what, assignments := range map[string][]workloadv1alpha1.Assignment{"create ": c.Create, "update ": c.Update, "delete ": c.Delete} {
		for i := range assignments {
			result[what+assignmentKey(&assignments[i])] = text(assignments[i].Spec)
		}
	}
	for _, p := range c.Placements {
		result["placement "+p.Name] = text(p)
	}
	for _, t := range c.Targets {
		result["target "+t.Name] = text(t)
	}
	for _, a := range c.Annotations {
		result["annotation "+a.Name] = a.Value
	}
	return result
}

func text(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// checkWriter is invariant 7: nothing but the scheduler's own fields changes, and an epoch rises with each change of
// intent alone.
func checkWriter(t *testing.T, w Workspace, c Changes) {
	t.Helper()
	for i := range c.Update {
		before := readOf(w, &c.Update[i])
		after := c.Update[i].DeepCopy()
		rise := after.Spec.Epoch - before.Spec.Epoch
		if (after.Spec.Intent != before.Spec.Intent) != (rise == 1) || rise < 0 || rise > 1 {
			t.Errorf("intent and epoch: %+v to %+v", before.Spec, after.Spec)
		}
		after.Spec = before.Spec
		if !equality.Semantic.DeepEqual(*after, *before) {
			t.Errorf("an update changes more than the spec: %s", cmp.Diff(*before, *after))
		}
	}
	for i := range c.Delete {
		before := readOf(w, &c.Delete[i])
		admitted := meta.FindStatusCondition(before.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
		if before.Spec.Intent == workloadv1alpha1.IntentRun || admitted.Reason != workloadv1alpha1.ReasonRevoked || admitted.ObservedGeneration != before.Generation {
			t.Errorf("deleted before its rights are taken back: %+v", before)
		}
	}
	for _, after := range c.Targets {
		i := slices.IndexFunc(w.Clusters, func(c Cluster) bool { return c.Target.UID == after.UID })
		before, after := w.Clusters[i].Target, after.DeepCopy()
		after.Status.Taints, after.Status.Assignments, after.Status.Drain = before.Status.Taints, before.Status.Assignments, before.Status.Drain
		if !equality.Semantic.DeepEqual(after, before) {
			t.Errorf("a SyncTarget changes in more than its fields: %s", cmp.Diff(before, after))
		}
	}
}

func readOf(w Workspace, a *workloadv1alpha1.Assignment) *workloadv1alpha1.Assignment {
	for i := range w.Assignments {
		if assignmentKey(&w.Assignments[i]) == assignmentKey(a) {
			return &w.Assignments[i]
		}
	}
	return nil
}

// checkWithdrawals are the invariants 1, 3 and 4: each withdrawal is what the user has said, or something has taken
// over.
func checkWithdrawals(t *testing.T, w Workspace, c Changes) {
	t.Helper()
	after := map[string]workloadv1alpha1.AssignmentSpec{}
	for i := range w.Assignments {
		after[assignmentKey(&w.Assignments[i])] = w.Assignments[i].Spec
	}
	for i := range c.Update {
		after[assignmentKey(&c.Update[i])] = c.Update[i].Spec
	}
	for i := range c.Update {
		before := readOf(w, &c.Update[i])
		if before.Spec.Intent != workloadv1alpha1.IntentRun || c.Update[i].Spec.Intent == workloadv1alpha1.IntentRun {
			continue
		}
		if why := justification(w, before, c.Update[i].Spec.Reason, after); why == "" {
			t.Errorf("nothing justifies to withdraw %+v: %s", before.Spec, c.Update[i].Spec.Reason)
			for key, spec := range after {
				if spec.Namespace == before.Spec.Namespace {
					t.Logf("then: %s %+v", key, spec)
				}
			}
		}
	}
}

// justification says why an Assignment may be withdrawn; empty for no reason.
func justification(w Workspace, a *workloadv1alpha1.Assignment, reason workloadv1alpha1.AssignmentReason, after map[string]workloadv1alpha1.AssignmentSpec) string {
	n, known := Namespace{}, false
	for _, other := range w.Namespaces {
		switch {
		case other.UID == a.Spec.Namespace.UID:
			n, known = other, true
		case other.Name == a.Spec.Namespace.Name && !other.Gone:
			return "there is another Namespace of the name"
		}
	}
	target := targetOf(w, a)
	switch {
	case !known:
		return justifiedUnseen(w, target, reason)
	case n.Terminating || n.Gone:
		return "the Namespace is deleted"
	case reason == workloadv1alpha1.AssignmentTargetDeleted:
		if target.DeletionTimestamp != nil {
			return "the SyncTarget is deleted"
		}
		return ""
	}
	p := decidingIn(w, n)
	if p == nil {
		for _, named := range w.Placements {
			if named.UID == a.Spec.Placement.UID {
				return "its Placement is deleted, or does not select it"
			}
		}
		return ""
	}
	if p.Spec.Move.PurgeMode == workloadv1alpha1.PurgeDirectly && reason == leaves(p, w, target) {
		return "it moves directly"
	}
	return takenOver(w, a, p, after)
}

// justifiedUnseen is justification for an Assignment of which the Namespace is not to be seen.
func justifiedUnseen(w Workspace, target *workloadv1alpha1.SyncTarget, reason workloadv1alpha1.AssignmentReason) string {
	last := !slices.ContainsFunc(w.Placements, func(p workloadv1alpha1.Placement) bool { return p.DeletionTimestamp == nil })
	switch {
	case reason == workloadv1alpha1.AssignmentTargetDeleted && target.DeletionTimestamp != nil:
		return "the SyncTarget is deleted"
	case reason == workloadv1alpha1.AssignmentPlacementDeleted && last && len(w.Placements) > 0:
		return "all Placements are deleted"
	}
	return ""
}

// takenOver says what else runs, where that is enough to withdraw an Assignment.
func takenOver(w Workspace, a *workloadv1alpha1.Assignment, p *workloadv1alpha1.Placement, after map[string]workloadv1alpha1.AssignmentSpec) string {
	target := targetOf(w, a)
	remaining := 0
	for i := range w.Assignments {
		other := &w.Assignments[i]
		on := targetOf(w, other)
		if on == nil || other.Spec.Namespace.UID != a.Spec.Namespace.UID || assignmentKey(other) == assignmentKey(a) ||
			other.Spec.Intent != workloadv1alpha1.IntentRun {
			continue
		}
		if then := after[assignmentKey(other)]; then.Intent != workloadv1alpha1.IntentRun {
			if p.Spec.Move.PurgeMode == workloadv1alpha1.PurgeDirectly && then.Reason == leaves(p, w, on) {
				remaining++
			}
			continue
		}
		available := meta.FindStatusCondition(other.Status.Conditions, workloadv1alpha1.ConditionAvailable)
		isAvailable := available != nil && available.Status == metav1.ConditionTrue && other.Status.ObservedEpoch == other.Spec.Epoch
		switch {
		case other.Spec.Replaces == target.Name && isAvailable && !w.Now.Before(available.LastTransitionTime.Add(30*time.Second)) &&
			meta.IsStatusConditionTrue(on.Status.Conditions, workloadv1alpha1.ConditionReady):
			return "its replacement has been available for 30 seconds"
		case a.Spec.Replaces == on.Name && other.CreationTimestamp.Before(&a.CreationTimestamp):
			return "what it was to replace stays"
		}
		remaining++
	}
	if remaining >= int(p.Spec.NumberOfClusters) {
		return "it is one too many"
	}
	return ""
}

func targetOf(w Workspace, a *workloadv1alpha1.Assignment) *workloadv1alpha1.SyncTarget {
	for _, c := range w.Clusters {
		if string(c.Target.UID) == a.Labels[workloadv1alpha1.LabelUID] {
			return c.Target
		}
	}
	return nil
}

func decidingIn(w Workspace, n Namespace) *workloadv1alpha1.Placement {
	s := simulation{world: &world{placements: map[string]*workloadv1alpha1.Placement{}}}
	for i := range w.Placements {
		s.placements[w.Placements[i].Name] = &w.Placements[i]
	}
	return s.deciding(&n)
}

// leaves returns the reason for which a Namespace is to leave a SyncTarget, that of its owner before that of its
// silence.
func leaves(p *workloadv1alpha1.Placement, w Workspace, t *workloadv1alpha1.SyncTarget) workloadv1alpha1.AssignmentReason {
	switch {
	case t.Spec.Drain != nil || slices.ContainsFunc(t.Spec.Taints, func(t workloadv1alpha1.Taint) bool { return t.Effect == workloadv1alpha1.TaintNoExecute }):
		return workloadv1alpha1.AssignmentDrain
	case !(&simulation{}).mayUse(p, &modelTarget{SyncTarget: t}):
		return workloadv1alpha1.AssignmentPlacementChanged
	}
	paused := slices.ContainsFunc(w.Clusters, func(c Cluster) bool { return c.Target == t && c.EvictionPaused })
	ready := meta.IsStatusConditionTrue(t.Status.Conditions, workloadv1alpha1.ConditionReady)
	if len(p.Spec.Tolerations) > 0 && !paused && !ready {
		return workloadv1alpha1.AssignmentFailover
	}
	if p.Spec.Failback == workloadv1alpha1.FailbackAutomatic {
		return workloadv1alpha1.AssignmentFailback
	}
	return ""
}

// checkCrash is the end of invariant 8: after a crash between any two writes the next passes come to rest at as many
// clusters.
func checkCrash(t *testing.T, s *simulation, c Changes) {
	t.Helper()
	counts := func(limit int) map[types.UID]int {
		w := s.clone()
		if _, err := w.apply(c, limit); err != nil {
			t.Errorf("a pass over the present state conflicts: %v", err)
		}
		for range 3 {
			if _, err := w.apply(Plan(w.workspace()), -1); err != nil {
				t.Errorf("a pass over the present state conflicts: %v", err)
			}
		}
		result := map[types.UID]int{}
		for _, a := range w.assignments {
			if a.Spec.Intent == workloadv1alpha1.IntentRun {
				result[a.Spec.Namespace.UID]++
			}
		}
		return result
	}
	whole := counts(-1)
	if total := len(c.Create) + len(c.Update) + len(c.Delete); total > 0 {
		if crashed := counts(s.r.IntN(total)); !maps.Equal(whole, crashed) {
			t.Errorf("a crash is not mended: %s", cmp.Diff(whole, crashed))
		}
	}
}

// clone copies what passes change; the clocks of the two go on together.
func (w *world) clone() *world {
	c := *w
	c.assignments, c.placements, c.order = maps.Clone(w.assignments), maps.Clone(w.placements), nil
	c.targets, c.namespaces = map[string]*modelTarget{}, map[types.UID]*Namespace{}
	for name, t := range w.targets {
		copied := *t
		c.targets[name] = &copied
	}
	for uid, n := range w.namespaces {
		copied := *n
		c.namespaces[uid] = &copied
	}
	return &c
}

// checkVanished is invariant 2: what is not to be seen any more ends nothing.
func checkVanished(t *testing.T, r *rand.Rand, w Workspace) {
	t.Helper()
	drop := func(what string, hidden Workspace) {
		for _, a := range Plan(hidden).Update {
			before := readOf(hidden, &a)
			if before.Spec.Intent != workloadv1alpha1.IntentRun || a.Spec.Intent == workloadv1alpha1.IntentRun {
				continue
			}
			after := map[string]workloadv1alpha1.AssignmentSpec{}
			for i := range hidden.Assignments {
				after[assignmentKey(&hidden.Assignments[i])] = hidden.Assignments[i].Spec
			}
			for _, changed := range Plan(hidden).Update {
				after[assignmentKey(&changed)] = changed.Spec
			}
			if justification(hidden, before, a.Spec.Reason, after) == "" {
				t.Errorf("since %s is not to be seen, %+v is withdrawn: %s", what, before.Spec, a.Spec.Reason)
			}
		}
	}
	none := w
	none.Namespaces = nil
	drop("any Namespace", none)
	none = w
	none.Placements = nil
	drop("any Placement", none)
	if len(w.Clusters) > 0 {
		i := r.IntN(len(w.Clusters))
		one := w
		one.Clusters = slices.Delete(slices.Clone(w.Clusters), i, i+1)
		drop("a SyncTarget", one)
		for _, a := range slices.Concat(Plan(one).Update, Plan(one).Delete) {
			if a.Labels[workloadv1alpha1.LabelUID] == string(w.Clusters[i].Target.UID) {
				t.Errorf("an Assignment of a SyncTarget that is not to be seen changes: %+v", a)
			}
		}
	}
	if len(w.Assignments) > 0 {
		i := r.IntN(len(w.Assignments))
		one := w
		one.Assignments = slices.Delete(slices.Clone(w.Assignments), i, i+1)
		drop("an Assignment", one)
	}
}

// checkSilence are the invariants 5 and 6: when all clusters fall silent together, or are cordoned, nothing leaves or
// comes because of that; and of one whose Placement does not say for how long it tolerates silence nothing leaves ever.
func checkSilence(t *testing.T, w Workspace) {
	t.Helper()
	silent := w
	silent.Now = w.Now.Add(240 * time.Hour)
	silent.Clusters = slices.Clone(w.Clusters)
	for i := range silent.Clusters {
		c := &silent.Clusters[i]
		c.Target, c.EvictionPaused = c.Target.DeepCopy(), true
		c.Target.Spec.Unschedulable = true
		meta.SetStatusCondition(&c.Target.Status.Conditions, metav1.Condition{
			Type: workloadv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: workloadv1alpha1.ReasonUnhealthy,
		})
	}
	c := Plan(silent)
	for i := range c.Create {
		if c.Create[i].Annotations[workloadv1alpha1.AnnotationRestored] == "" {
			t.Errorf("in a mass disconnect an Assignment is made: %+v", c.Create[i])
		}
	}
	for _, a := range c.Update {
		if a.Spec.Intent != workloadv1alpha1.IntentRun && a.Spec.Reason == workloadv1alpha1.AssignmentFailover &&
			readOf(w, &a).Spec.Intent == workloadv1alpha1.IntentRun {
			t.Errorf("in a mass disconnect something is withdrawn: %+v", a.Spec)
		}
	}
	for _, target := range c.Targets {
		if slices.ContainsFunc(target.Status.Taints, func(t workloadv1alpha1.ObservedTaint) bool {
			return t.Key == workloadv1alpha1.TaintUnreachable && t.Effect == workloadv1alpha1.TaintNoExecute
		}) {
			t.Errorf("in a mass disconnect %s has a NoExecute taint", target.Name)
		}
	}
}
