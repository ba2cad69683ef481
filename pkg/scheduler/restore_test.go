package scheduler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// lose takes the Assignments of the Namespace away, as the deletion of the syncers' Namespaces does.
func (f *flow) lose(targets ...string) map[string]workloadv1alpha1.AssignmentSpec {
	f.Helper()
	lost := map[string]workloadv1alpha1.AssignmentSpec{}
	for _, target := range targets {
		a := f.assignment(target)
		if a == nil {
			f.Fatalf("there is no Assignment to %s", target)
		}
		lost[target] = a.Spec
		delete(f.assignments, assignmentKey(a))
		f.order = nil
	}
	return lost
}

// pass is one pass of the scheduler.
func (f *flow) pass() {
	f.Helper()
	if _, err := f.apply(Plan(f.workspace()), -1); err != nil {
		f.Fatal(err)
	}
}

// expectRestored compares Assignments with those that were lost. Their epoch begins anew, and the first pass makes nobody write the
// status.
func (f *flow) expectRestored(lost map[string]workloadv1alpha1.AssignmentSpec) {
	f.Helper()
	for target, want := range lost {
		a := f.assignment(target)
		if a == nil {
			f.Errorf("nothing is restored on %s: %s", target, f.web.Annotation)
			continue
		}
		want.Epoch, want.WritesStatus = 1, false
		if diff := cmp.Diff(want, a.Spec); diff != "" || a.Annotations[workloadv1alpha1.AnnotationRestored] == "" {
			f.Errorf("on %s: -want +got\n%s\nannotations %v", target, diff, a.Annotations)
		}
	}
}

// TestLostAssignments: what was lost is made anew where it runs, whatever keeps new Namespaces away from there.
func TestLostAssignments(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*modelTarget)
		// end is where it runs in the end.
		end string
	}{
		"in order": {func(*modelTarget) {}, "edge-1"},
		"cordoned": {func(m *modelTarget) { m.change(cordon) }, "edge-1"},
		"drained":  {func(m *modelTarget) { m.change(drain) }, "edge-2"},
		"tainted": {func(m *modelTarget) {
			m.change(func(t *workloadv1alpha1.SyncTarget) {
				t.Spec.Taints = []workloadv1alpha1.Taint{{Key: "gpu", Effect: workloadv1alpha1.TaintNoSchedule}}
			})
		}, "edge-1"},
		"not ready": {func(m *modelTarget) {
			m.change(func(t *workloadv1alpha1.SyncTarget) { t.Status.Conditions[0].Status = metav1.ConditionFalse })
		}, "edge-1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, nil)
			lost := f.lose("edge-1")
			c.change(f.targets["edge-1"])
			f.pass()
			f.expect("at once", "edge-1")
			f.expectRestored(lost)
			f.settle()
			f.expect("in the end", c.end)
		})
	}
}

// TestLostBesideAnother: what is left of the record of a Namespace does not stand for the rest of it.
func TestLostBesideAnother(t *testing.T) {
	t.Run("two clusters", func(t *testing.T) {
		f := newFlow(t, nil)
		f.placements["shop"] = f.placements["shop"].DeepCopy()
		f.placements["shop"].Spec.NumberOfClusters = 2
		f.settle()
		f.addTarget("edge-3", "ap")
		lost := f.lose("edge-1")
		f.targets["edge-1"].change(cordon)
		f.pass()
		f.expect("at once", "edge-1", "edge-2")
		f.expectRestored(lost)
		f.settle()
		if first, second := f.assignment("edge-1").Spec, f.assignment("edge-2").Spec; first.Order != 0 || second.Order != 1 || !first.WritesStatus {
			t.Errorf("the clusters have changed places: %+v, %+v", first, second)
		}
	})
	for name, lost := range map[string][]string{
		"a move, the old one": {"edge-1"}, "a move, the replacement": {"edge-2"}, "a move, both": {"edge-1", "edge-2"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, nil)
			f.targets["edge-1"].change(drain)
			f.run(10 * time.Second)
			specs := f.lose(lost...)
			f.pass()
			f.expect("at once", "edge-1", "edge-2")
			f.expectRestored(specs)
			f.run(15 * time.Second)
			f.expect("before the replacement has been available for 30 seconds", "edge-1", "edge-2")
			f.settle()
			f.expect("in the end", "edge-2")
			if len(f.copies) != 1 || len(f.granted) != 1 {
				t.Errorf("copies %v, rights %v", f.copies, f.granted)
			}
		})
	}
}

// TestLostWithdrawal: a withdrawal that was lost comes to its end.
func TestLostWithdrawal(t *testing.T) {
	withdraw := func(f *flow) {
		f.placements["shop"] = f.placements["shop"].DeepCopy()
		f.placements["shop"].Spec.NamespaceSelector.MatchLabels = map[string]string{"app": "another"}
	}
	for name, c := range map[string]struct {
		mode   workloadv1alpha1.PurgeMode
		change func(*flow)
		// orphaned: the copies stay. replaced: it runs elsewhere meanwhile.
		orphaned, replaced bool
	}{
		"not selected": {workloadv1alpha1.PurgeGracefully, withdraw, false, false},
		"left to the physical cluster": {workloadv1alpha1.PurgeNever, func(f *flow) {
			f.targets["edge-1"].change(drain)
			f.run(45 * time.Second)
		}, true, true},
		"Namespace deleted": {workloadv1alpha1.PurgeGracefully, func(f *flow) { f.web.Terminating = true }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, func(spec *workloadv1alpha1.PlacementSpec) { spec.Move.PurgeMode = c.mode })
			f.targets["edge-1"].down = f.now // so that it does not end
			c.change(f)
			f.pass()
			f.pass()
			lost := f.lose("edge-1")
			if lost["edge-1"].Intent == workloadv1alpha1.IntentRun {
				t.Fatalf("it is not withdrawn: %+v", lost)
			}
			f.pass()
			f.expectRestored(lost)
			f.targets["edge-1"].down = time.Time{}
			f.settle()
			left := f.copies[copyKey{f.web.UID, f.targets["edge-1"].UID}]
			if (left != nil) != c.orphaned || left != nil && !left.orphaned || f.assignment("edge-1") != nil || (len(f.granted) > 0) != c.replaced {
				t.Errorf("copies %+v, rights %v", left, f.granted)
			}
		})
	}
}

// TestAnnotationAlone: without the rights of the syncer the annotation places nothing.
func TestAnnotationAlone(t *testing.T) {
	f := newFlow(t, nil)
	f.targets["edge-2"].change(cordon)
	f.web.Annotation = `{"placement":"shop","clusters":[{"name":"edge-1","state":"Running"},{"name":"edge-2","state":"Running"}]}`
	f.settle()
	f.expect("edited by a user", "edge-1")

	f.lose("edge-1")
	f.web.Annotation = `{"placement":"shop","clusters":[{"name":"edge-1","state":"Running"},{"name":"edge-2","state":"Running"}]}`
	f.pass()
	f.expect("edited by a user, while an Assignment is lost", "edge-1")
	f.settle()

	f.web.Annotation = `{"placement":"shop","clusters":[{"name":"edge-1","state":"Running"}]}`
	f.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.UID, t.Spec.Unschedulable = "made anew", true })
	f.targets["edge-2"].change(func(t *workloadv1alpha1.SyncTarget) { t.Spec.Unschedulable = false })
	f.settle()
	f.expect("the SyncTarget is another one", "edge-2")
}

// TestReleasedWhenTold: an Assignment is let go when the annotation says all that it is made anew from, and nothing takes its place
// meanwhile.
func TestReleasedWhenTold(t *testing.T) {
	f := newFlow(t, nil)
	a := f.assignment("edge-1")
	a.DeletionTimestamp = ptr.To(metav1.NewTime(f.now))
	identity := f.addNamespace(a.Namespace, "")
	identity.Terminating = true
	f.step(releaseGrace)
	told := f.web.Annotation
	f.web.Annotation = ""
	c := Plan(f.workspace())
	if len(c.Create)+len(c.Update)+len(c.Delete) > 0 || len(c.Annotations) != 1 || c.Annotations[0].Value != told {
		t.Fatalf("before it is told: %+v", c)
	}
	f.web.Annotation = told
	f.targets["edge-1"].change(drain)
	if c = Plan(f.workspace()); len(c.Create)+len(c.Update) > 0 || len(c.Delete) != 1 {
		t.Fatalf("when it is told: %+v", c)
	}
	if _, err := f.apply(c, -1); err != nil {
		t.Fatal(err)
	}
	if c = Plan(f.workspace()); len(c.Create)+len(c.Update)+len(c.Delete) > 0 {
		t.Errorf("while the Namespace of the syncer is being deleted: %+v", c)
	}
	f.pass()
	if !strings.Contains(f.web.Annotation, "is lost, and made anew when") {
		t.Errorf("annotation %s", f.web.Annotation)
	}
	delete(f.namespaces, identity.UID)
	f.pass()
	f.expect("when that is made anew", "edge-1")
	f.settle()
	f.expect("in the end", "edge-2")
}

// TestReleasedWhileDeleted: of a Namespace that is being deleted, too, an Assignment is let go only when the annotation says what it is
// made anew from: nobody would take the rights of the syncer back.
func TestReleasedWhileDeleted(t *testing.T) {
	f := newFlow(t, nil)
	f.targets["edge-1"].down = f.now // so that the syncer does not leave
	f.web.Terminating, f.web.Annotation = true, ""
	f.pass()
	a := f.assignment("edge-1")
	if a.Spec.Intent != workloadv1alpha1.IntentWithdraw {
		t.Fatalf("%+v", a.Spec)
	}
	a.DeletionTimestamp = ptr.To(metav1.NewTime(f.now))
	identity := f.addNamespace(a.Namespace, "")
	identity.Terminating = true
	f.step(releaseGrace)
	c := Plan(f.workspace())
	if len(c.Delete) > 0 || len(c.Annotations) != 1 {
		t.Fatalf("before it is told: %+v", c)
	}
	f.web.Annotation = c.Annotations[0].Value
	if c = Plan(f.workspace()); len(c.Delete) != 1 {
		t.Fatalf("when it is told: %+v", c)
	}
	if _, err := f.apply(c, -1); err != nil {
		t.Fatal(err)
	}
	delete(f.namespaces, identity.UID)
	f.pass()
	if a := f.assignment("edge-1"); a.Spec.Intent != workloadv1alpha1.IntentWithdraw {
		t.Errorf("made anew as %+v", a.Spec)
	}
}

// TestLostWhileThePlacementIsDeleted: a Placement is let go only when it has been written that what was lost is withdrawn.
func TestLostWhileThePlacementIsDeleted(t *testing.T) {
	f := newFlow(t, nil)
	f.targets["edge-1"].down = f.now
	f.lose("edge-1")
	f.deletePlacement(f.placements["shop"])
	if c := Plan(f.workspace()); len(c.Create) != 1 || len(c.Placements) != 0 {
		t.Errorf("%d Assignments, Placements %+v", len(c.Create), c.Placements)
	}
	f.pass()
	f.pass()
	if a := f.assignment("edge-1"); a.Spec.Reason != workloadv1alpha1.AssignmentPlacementDeleted {
		t.Errorf("%+v, want it withdrawn", a.Spec)
	}
	f.targets["edge-1"].down = time.Time{}
	f.settle()
	if len(f.assignments)+len(f.copies)+len(f.placements) > 0 {
		t.Errorf("left: %v, %v, %v", f.assignments, f.copies, f.placements)
	}
}

// TestLostVolumes: until the syncer of the old cluster has reported, the replacement keeps the volumes that it has made.
func TestLostVolumes(t *testing.T) {
	f := newFlow(t, func(spec *workloadv1alpha1.PlacementSpec) { spec.Move.Volumes = workloadv1alpha1.VolumesLeaveBehind })
	f.claims[f.web.UID] = true
	f.step(time.Second)
	f.targets["edge-1"].change(drain)
	f.run(10 * time.Second)
	f.lose("edge-1", "edge-2")
	f.pass()
	f.pass()
	if old, replacement := f.assignment("edge-1").Spec, f.assignment("edge-2").Spec; old.Order != 0 || replacement.Order != 0 {
		t.Errorf("old %+v, replacement %+v", old, replacement)
	}
}

// TestLostHeldByVolumes: what is held by its volumes does not leave them since its Assignment was lost.
func TestLostHeldByVolumes(t *testing.T) {
	for _, mode := range []workloadv1alpha1.PurgeMode{workloadv1alpha1.PurgeGracefully, workloadv1alpha1.PurgeDirectly} {
		f := newFlow(t, func(spec *workloadv1alpha1.PlacementSpec) { spec.Move.PurgeMode = mode })
		f.claims[f.web.UID] = true
		f.step(time.Second)
		f.targets["edge-1"].change(drain)
		f.settle()
		f.targets["edge-1"].down = f.now // so that nothing is reported
		f.lose("edge-1")
		f.pass()
		f.pass()
		f.expect(string(mode)+", before the syncer has reported", "edge-1")
		if a := f.assignment("edge-1"); a.Spec.Intent != workloadv1alpha1.IntentRun || !strings.Contains(f.web.Annotation, "has yet to report whether PersistentVolumeClaims") {
			t.Errorf("%s: %+v, %s", mode, a.Spec, f.web.Annotation)
		}
	}
}

// TestEditedAnnotation: what the API would refuse is not taken over from an annotation, and a name counts once.
func TestEditedAnnotation(t *testing.T) {
	f := newFlow(t, nil)
	f.web.Annotation = `{"placement":"shop","clusters":[{"name":"edge-2","reason":"Whim","replaces":"nobody"},{"name":"edge-2"}]}`
	w := f.workspace()
	if missing := MissingAssignments(&w); len(missing) != 1 {
		t.Errorf("%d are missing", len(missing))
	}
	w.Namespaces[0].Unrecorded = []types.UID{f.targets["edge-2"].UID}
	c := Plan(w)
	if len(c.Create) != 1 || c.Create[0].Spec.Reason != workloadv1alpha1.AssignmentScheduled || c.Create[0].Spec.Replaces != "" {
		t.Errorf("created: %+v", c.Create)
	}
}

// TestMissingAssignments are those that the annotation names, of SyncTargets that stay.
func TestMissingAssignments(t *testing.T) {
	f := newFlow(t, nil)
	missing := func() (found []string) {
		w := f.workspace()
		for _, m := range MissingAssignments(&w) {
			found = append(found, w.Namespaces[m.Namespace].Name+" "+m.Cluster.Target.Name)
		}
		return found
	}
	if got := missing(); len(got) > 0 {
		t.Errorf("with all of them: %q", got)
	}
	f.web.Annotation = `{"clusters":[{"name":"edge-1"},{"name":"edge-2"},{"name":"edge-9"}]}`
	if diff := cmp.Diff([]string{"web edge-2"}, missing()); diff != "" {
		t.Error(diff)
	}
	f.targets["edge-2"].change(func(t *workloadv1alpha1.SyncTarget) { t.DeletionTimestamp = ptr.To(metav1.NewTime(f.now)) })
	if got := missing(); len(got) > 0 {
		t.Errorf("of one that is being deleted: %q", got)
	}
}
