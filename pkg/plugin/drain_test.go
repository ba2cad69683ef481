package plugin

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

// placedWorkspace has two SyncTargets; shop and bakery run on the first, and bakery may not leave it.
func placedWorkspace() []client.Object {
	one, two := withConditions(newTarget("edge-1"), readyNow()...), withConditions(newTarget("edge-2"), readyNow()...)
	objects := []client.Object{one, two}
	for name, clusters := range map[string][]string{"shop": nil, "bakery": {"edge-1"}} {
		placement := &workloadv1alpha1.Placement{ObjectMeta: metav1.ObjectMeta{
			Name: "of-" + name, UID: types.UID("of-" + name), Finalizers: []string{workloadv1alpha1.PlacementFinalizer},
		}}
		placement.Spec.NamespaceSelector.MatchLabels = map[string]string{corev1.LabelMetadataName: name}
		placement.Spec.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{ClusterNames: clusters}
		assignment := newAssignment(one, name, condition("Available", "True", "Available", ""))
		assignment.Annotations = map[string]string{workloadv1alpha1.AnnotationSyncTarget: "edge-1"}
		assignment.Spec.Placement = workloadv1alpha1.ObjectReference{Name: placement.Name, UID: placement.UID}
		objects = append(objects, placement, assignment, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), Labels: map[string]string{corev1.LabelMetadataName: name},
		}})
	}
	return objects
}

// TestDrainPlan shows what would move where and what would not, and changes nothing.
func TestDrainPlan(t *testing.T) {
	w := newWorld(t, placedWorkspace()...)
	w.golden("drain-plan", "drain", "edge-1", "--plan")
	w.golden("drain-plan-none", "drain", "edge-2", "--plan")
	if writes := w.workspace.writes(); len(writes) > 0 {
		t.Errorf("a plan wrote %q", writes)
	}
}

// TestDrain waits until all has left that can.
func TestDrain(t *testing.T) {
	w := newWorld(t, placedWorkspace()...)
	w.tick = func(n int) {
		target := w.target("edge-1")
		switch n {
		case 1:
			target.Status.Drain = &workloadv1alpha1.DrainStatus{Remaining: 2, Moving: 1}
		case 2:
			target.Status.Drain = &workloadv1alpha1.DrainStatus{Remaining: 1, Held: []workloadv1alpha1.HeldNamespace{{Namespace: "bakery", Reason: "0/2 clusters fit"}}}
			target.Status.Assignments = &workloadv1alpha1.AssignmentCounts{Running: 1, Withdrawing: 1}
		case 3:
			target.Status.Assignments = &workloadv1alpha1.AssignmentCounts{Running: 1}
		default:
			t.Fatal("it waits although nothing moves any more")
		}
		if err := w.workspace.raw.Status().Update(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	w.golden("drain-held", "drain", "edge-1", "--max-concurrent=2")
	if got := w.target("edge-1").Spec.Drain; got == nil || got.MaxConcurrent != 2 {
		t.Errorf("spec.drain is %v", got)
	}

	target := w.target("edge-1")
	target.Status.Drain = &workloadv1alpha1.DrainStatus{}
	if err := w.workspace.raw.Status().Update(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	w.golden("drain", "drain", "edge-1")
	w.golden("drain-uncordon", "uncordon", "edge-1")
	if w.target("edge-1").Spec.Drain != nil {
		t.Error("the drain goes on")
	}
	w.golden("drain-usage", "drain", "edge-1", "--max-concurrent=0")
}

func TestTaint(t *testing.T) {
	target := newTarget("edge-1")
	target.Spec.Taints = []workloadv1alpha1.Taint{{Key: "dedicated", Value: "gpu", Effect: workloadv1alpha1.TaintNoSchedule}}
	w := newWorld(t, target)
	w.golden("taint-dry-run", "taint", "edge-1", "arch=arm:NoExecute", "--dry-run=client")
	if len(w.target("edge-1").Spec.Taints) != 1 {
		t.Error("a dry run tainted it")
	}
	w.golden("taint", "taint", "edge-1", "dedicated=db:NoSchedule", "arch=arm:NoExecute")
	want := []workloadv1alpha1.Taint{
		{Key: "dedicated", Value: "db", Effect: workloadv1alpha1.TaintNoSchedule}, {Key: "arch", Value: "arm", Effect: workloadv1alpha1.TaintNoExecute},
	}
	if got := w.target("edge-1").Spec.Taints; !slices.Equal(got, want) {
		t.Errorf("taints are %v, want %v", got, want)
	}
	w.golden("taint-again", "taint", "edge-1", "arch=arm:NoExecute")
	w.golden("taint-remove", "taint", "edge-1", "dedicated-", "arch:NoExecute-")
	if got := w.target("edge-1").Spec.Taints; len(got) != 0 {
		t.Errorf("taints are %v", got)
	}
	for name, taint := range map[string]string{"none": "", "effect": "a=b:Never", "no-effect": "a=b", "value": "a=b:NoSchedule-"} {
		args := []string{"taint", "edge-1"}
		if taint != "" {
			args = append(args, taint)
		}
		w.golden("taint-wrong-"+name, args...)
	}
}

// TestTaintMeanwhile: a taint that somebody else sets between the read and the write is kept.
func TestTaintMeanwhile(t *testing.T) {
	w := newWorld(t, newTarget("edge-1"))
	others := workloadv1alpha1.Taint{Key: "others", Effect: workloadv1alpha1.TaintNoSchedule}
	once := true
	w.workspace.refuse = func(request string) error {
		if !strings.HasPrefix(request, "patch SyncTarget") || !once {
			return nil
		}
		once = false
		target := &workloadv1alpha1.SyncTarget{}
		if err := w.workspace.raw.Get(t.Context(), client.ObjectKey{Name: "edge-1"}, target); err != nil {
			return err
		}
		target.Spec.Taints = []workloadv1alpha1.Taint{others}
		return w.workspace.raw.Update(t.Context(), target)
	}
	if code := w.run("taint", "edge-1", "dedicated=db:NoSchedule"); code != exitOK || once {
		t.Fatalf("exit code %d, changed meanwhile: %t: %s", code, !once, &w.err)
	}
	want := []workloadv1alpha1.Taint{others, {Key: "dedicated", Value: "db", Effect: workloadv1alpha1.TaintNoSchedule}}
	if got := w.target("edge-1").Spec.Taints; !slices.Equal(got, want) {
		t.Errorf("taints are %v, want %v", got, want)
	}
}

// TestDrainManyHeld: of more Namespaces than status.drain.held can name, those that are named are not taken for all.
func TestDrainManyHeld(t *testing.T) {
	w := newWorld(t, placedWorkspace()...)
	w.tick = func(int) {
		target := w.target("edge-1")
		target.Status.Drain = &workloadv1alpha1.DrainStatus{Remaining: 250}
		for i := range maxHeld {
			target.Status.Drain.Held = append(target.Status.Drain.Held, workloadv1alpha1.HeldNamespace{Namespace: fmt.Sprintf("shop-%03d", i), Reason: "0/2 clusters fit"})
		}
		if err := w.workspace.raw.Status().Update(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	w.golden("drain-many-held", "drain", "edge-1")
}

// TestPlanManyHeld: what is neither moved nor named as held stays, too.
func TestPlanManyHeld(t *testing.T) {
	target := newTarget("edge-1")
	planned := target.DeepCopy()
	planned.Status.Drain = &workloadv1alpha1.DrainStatus{}
	var workspace scheduler.Workspace
	for i := range maxHeld + 2 {
		name := fmt.Sprintf("shop-%03d", i)
		workspace.Assignments = append(workspace.Assignments, *newAssignment(target, name))
		if i < maxHeld {
			planned.Status.Drain.Held = append(planned.Status.Drain.Held, workloadv1alpha1.HeldNamespace{Namespace: name, Reason: "0/2 clusters fit"})
		}
	}
	rows, held := planOf(scheduler.Changes{Targets: []*workloadv1alpha1.SyncTarget{planned}}, workspace, target)
	if len(rows) != maxHeld+2 || held != len(rows) || rows[maxHeld][2] != "cannot leave; the reason is told of 100 Namespaces only" {
		t.Errorf("%d rows, %d held, the last %q", len(rows), held, rows[len(rows)-1])
	}
}
