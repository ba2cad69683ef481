package scheduler

import (
	"strings"
	"testing"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestScheduled(t *testing.T) {
	for name, c := range map[string]struct {
		change          func(*world)
		reason, message string
	}{
		"no Namespace": {func(w *world) { w.addNamespace("web", "other") },
			workloadv1alpha1.ReasonNoNamespaces, "spec.namespaceSelector selects no Namespace of the workspace"},
		"never synced": {func(w *world) { w.addNamespace("keys", "shop").Refusal = "it holds a kubeconfig" },
			workloadv1alpha1.ReasonNoNamespaces, `spec.namespaceSelector selects only Namespaces that are never synced. Namespace "keys": it holds a kubeconfig`},
		"invalid": {func(w *world) {
			w.placements["shop"].Spec.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
		}, workloadv1alpha1.ReasonInvalidPlacement, `spec.namespaceSelector cannot be used: "Like" is not a valid label selector operator`},
		"another counts, by priority": {func(w *world) {
			w.addNamespace("web", "shop")
			w.addPlacement("important", "shop", func(spec *workloadv1alpha1.PlacementSpec) { spec.Priority = 1 })
		}, workloadv1alpha1.ReasonConflict, `For Namespace "web" Placement "important" counts instead, since it has the higher priority. So it is with all that this Placement selects`},
		"another counts, by age": {func(w *world) {
			w.addNamespace("web", "shop")
			w.addPlacement("older", "shop", nil).CreationTimestamp = metav1.NewTime(start.Add(-time.Hour))
		}, workloadv1alpha1.ReasonConflict, `For Namespace "web" Placement "older" counts instead, since it has the same priority and is older. So it is with all that this Placement selects`},
		"another counts for one": {func(w *world) {
			w.addNamespace("blog", "shop")
			w.addNamespace("web", "shop").Labels["tier"] = "front"
			w.addPlacement("front", "", func(spec *workloadv1alpha1.PlacementSpec) {
				spec.Priority, spec.NamespaceSelector.MatchLabels = 1, map[string]string{"tier": "front"}
			})
		}, workloadv1alpha1.ReasonScheduled, `Each selected Namespace has its clusters. For Namespace "web" Placement "front" counts instead, since it has the higher priority.`},
		"no such cluster": {func(w *world) {
			w.addNamespace("web", "shop")
			w.placements["shop"].Spec.ClusterAffinity = &workloadv1alpha1.ClusterAffinity{ClusterNames: []string{"typo"}}
		}, workloadv1alpha1.ReasonUnschedulable, `Namespace "web": 0/1 clusters: 1 does not match clusterAffinity`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.addTarget("edge-1", "eu")
			w.addPlacement("shop", "shop", nil)
			c.change(w)
			w.settle(t.Fatalf)
			conditions := w.placements["shop"].Status.Conditions
			got := conditionOf(conditions, workloadv1alpha1.ConditionScheduled)
			if got.Reason != c.reason || got.Message != c.message || (got.Status == metav1.ConditionTrue) != (c.reason == workloadv1alpha1.ReasonScheduled) {
				t.Errorf("%s %s %q,\nwant %s %q", got.Status, got.Reason, got.Message, c.reason, c.message)
			}
			for _, other := range []string{workloadv1alpha1.ConditionApplied, workloadv1alpha1.ConditionAvailable} {
				if conditionOf(conditions, other).Status != got.Status {
					t.Errorf("%s is %+v beside Scheduled %s", other, conditionOf(conditions, other), got.Status)
				}
			}
		})
	}
}

// TestAvailable: it is True only where each Namespace has as many clusters as it is to have, and runs on them.
func TestAvailable(t *testing.T) {
	w := newWorld()
	w.addTarget("edge-1", "eu")
	w.addTarget("edge-2", "us")
	n := w.addNamespace("web", "shop")
	w.broken[copyKey{n.UID, w.targets["edge-2"].UID}] = true
	w.addPlacement("shop", "shop", func(spec *workloadv1alpha1.PlacementSpec) { spec.NumberOfClusters = 2 })
	w.settle(t.Fatalf)
	available := func() metav1.Condition {
		return conditionOf(w.placements["shop"].Status.Conditions, workloadv1alpha1.ConditionAvailable)
	}
	if got := available(); got.Status != metav1.ConditionFalse || got.Reason != workloadv1alpha1.ReasonNotAvailable || !strings.Contains(got.Message, "edge-2") {
		t.Errorf("with one that does not run: %+v", got)
	}
	clear(w.broken)
	w.settle(t.Fatalf)
	got := available()
	if got.Status != metav1.ConditionTrue {
		t.Errorf("with both: %+v", got)
	}
	if counts := w.targets["edge-1"].Status.Assignments; *counts != (workloadv1alpha1.AssignmentCounts{Running: 1}) {
		t.Errorf("counts %+v", counts)
	}
	if want := `{"placement":"shop","clusters":[{"name":"edge-1","state":"Running"},{"name":"edge-2","state":"Running","order":1}]}`; n.Annotation != want {
		t.Errorf("annotation %s", n.Annotation)
	}
	w.step(time.Hour)
	if writes := w.settle(t.Fatalf); writes != 0 || available() != got {
		t.Errorf("%d writes at rest, %+v", writes, available())
	}
}

// TestPending: FailedScheduling is told when it begins, and not with every pass.
func TestPending(t *testing.T) {
	w := newWorld()
	w.addTarget("edge-1", "eu").change(cordon)
	w.addNamespace("web", "shop")
	w.addPlacement("shop", "shop", nil)
	w.settle(t.Fatalf)
	if len(w.events) != 1 || w.events[0].Reason != EventFailedScheduling || !w.events[0].Warning || w.events[0].Message != "0/1 clusters: 1 cordoned" {
		t.Errorf("Events %+v", w.events)
	}
	w.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.Spec.Unschedulable = false })
	w.settle(t.Fatalf)
	if len(w.events) != 2 || w.events[1].Reason != EventScheduled {
		t.Errorf("Events %+v", w.events)
	}
}

// TestKstatus: a tool that knows only the conventions of kstatus tells a Placement that cannot be fulfilled from one that is under way
// and from one that runs.
func TestKstatus(t *testing.T) {
	w := newWorld()
	w.addTarget("edge-1", "eu").change(cordon)
	w.addPlacement("shop", "shop", nil).Generation = 1
	requireStatus := func(situation string, want kstatus.Status) {
		t.Helper()
		w.settle(t.Fatalf)
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(w.placements["shop"])
		if err != nil {
			t.Fatal(err)
		}
		got, err := kstatus.Compute(&unstructured.Unstructured{Object: object})
		if err != nil {
			t.Fatal(err)
		}
		if got.Status != want {
			t.Errorf("%s: %s (%s), want %s", situation, got.Status, got.Message, want)
		}
	}
	requireStatus("no Namespace", kstatus.InProgressStatus)
	n := w.addNamespace("web", "shop")
	w.broken[copyKey{n.UID, w.targets["edge-1"].UID}] = true
	requireStatus("no SyncTarget fits", kstatus.InProgressStatus)
	w.targets["edge-1"].change(func(t *workloadv1alpha1.SyncTarget) { t.Spec.Unschedulable = false })
	requireStatus("it does not run yet", kstatus.InProgressStatus)
	clear(w.broken)
	requireStatus("it runs", kstatus.CurrentStatus)
	w.addPlacement("other", "shop", func(spec *workloadv1alpha1.PlacementSpec) { spec.Priority = 1 })
	requireStatus("another Placement counts", kstatus.FailedStatus)
}
