package synctarget

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

type change = func(*workloadv1alpha1.SyncTarget)

func aged(age time.Duration) change {
	return func(target *workloadv1alpha1.SyncTarget) {
		target.CreationTimestamp = metav1.NewTime(time.Unix(1e9, 0).Add(-age))
	}
}

func named(name string) change {
	return func(target *workloadv1alpha1.SyncTarget) { target.Name, target.UID = name, types.UID(name) }
}

func connectedTo(id string) change {
	return func(target *workloadv1alpha1.SyncTarget) { target.Status.ClusterID = id }
}

func deletedAt(target *workloadv1alpha1.SyncTarget) {
	target.DeletionTimestamp = &metav1.Time{Time: time.Unix(1e9, 0)}
}

// TestHasPlace is every rule about who is connected. The SyncTarget in question is called m, and there are two places.
func TestHasPlace(t *testing.T) {
	const limit = 2
	tests := map[string]struct {
		reason string
		target []change
		others [][]change
		want   bool
	}{
		"alone":          {"", nil, nil, true},
		"the second":     {"", nil, [][]change{{named("a"), aged(time.Hour)}}, true},
		"the third":      {"", nil, [][]change{{named("a"), aged(time.Hour)}, {named("b"), aged(time.Hour)}}, false},
		"the oldest":     {"", []change{aged(2 * time.Hour)}, [][]change{{named("a"), aged(time.Hour)}, {named("b"), aged(time.Hour)}}, true},
		"equally old":    {"The name decides.", nil, [][]change{{named("a")}, {named("z")}}, true},
		"the last name":  {"", nil, [][]change{{named("a")}, {named("b")}}, false},
		"connected":      {"It is not thrown out.", []change{connectedTo("m")}, [][]change{{named("a"), aged(time.Hour), connectedTo("a")}, {named("b"), aged(time.Hour), connectedTo("b")}}, true},
		"full of others": {"It throws out no other, though it is older.", []change{aged(time.Hour)}, [][]change{{named("a"), connectedTo("a")}, {named("b"), connectedTo("b")}}, false},
		"pull mode":      {"They need no connection.", nil, [][]change{{named("a"), pull, connectedTo("a")}, {named("b"), pull}}, true},
		"on its way out": {"It is still connected.", nil, [][]change{{named("a"), deletedAt, connectedTo("a")}, {named("b"), connectedTo("b")}}, false},
		"nearly gone":    {"Nothing is installed any more.", nil, [][]change{{named("a"), aged(time.Hour), deletedAt}, {named("b"), connectedTo("b")}}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			target := newTarget(append([]change{named("m"), aged(0)}, tc.target...)...)
			all := []workloadv1alpha1.SyncTarget{*target}
			for _, other := range tc.others {
				all = append(all, *newTarget(append([]change{aged(0)}, other...)...))
			}
			if got := hasPlace(target, all, limit); got != tc.want {
				t.Errorf("%s\nhasPlace() = %t", tc.reason, got)
			}
		})
	}
}

// TestTargetLimit: a SyncTarget that has to wait says why, makes nothing, costs nothing, and goes on when there is a place.
func TestTargetLimit(t *testing.T) {
	var others []client.Object
	for i := range 2 {
		name := fmt.Sprint("older-", i)
		others = append(others, newTarget(named(name), aged(time.Hour), connectedTo(name)))
	}
	w := newWorld(t, newTarget(func(target *workloadv1alpha1.SyncTarget) { target.Finalizers = nil }), append(others, newSecret(), newBinding())...)
	w.r.MaxTargetsPerWorkspace = 2
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "False TargetLimitReached: The service connects to at most 2 SyncTargets of a workspace") {
		t.Errorf("Deployed = %s", got)
	}
	if got := w.condition(workloadv1alpha1.ConditionValid); !strings.HasPrefix(got, "True") {
		t.Errorf("Valid = %s", got)
	}
	if result := w.pass(); result.RequeueAfter != 0 || w.clusters.gets != 0 || len(w.target().Finalizers) != 0 {
		t.Errorf("RequeueAfter = %s, %d calls of the cluster, finalizers %q", result.RequeueAfter, w.clusters.gets, w.target().Finalizers)
	}
	if diff := cmp.Diff([]string{`get Secret "default/edge-1"`}, w.kcp.reads); diff != "" {
		t.Errorf("reads: -want +got\n%s", diff)
	}

	q, older := newQueue(t), others[0].(*workloadv1alpha1.SyncTarget)
	handler := w.r.targetEvents(testCluster, w.cache)
	handler.Update(t.Context(), event.UpdateEvent{ObjectOld: older, ObjectNew: older}, q)
	if got := queued(q); len(got) != 0 {
		t.Errorf("queued %q, and no place is free", got)
	}
	if err := w.kcp.raw.Delete(t.Context(), older.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	var live workloadv1alpha1.SyncTarget
	if err := w.kcp.raw.Get(t.Context(), client.ObjectKeyFromObject(older), &live); err != nil {
		t.Fatal(err)
	}
	handler.Update(t.Context(), event.UpdateEvent{ObjectOld: older, ObjectNew: &live}, q)
	if got := queued(q); len(got) != 1 {
		t.Errorf("queued %q, want the one that is being deleted", got)
	}
	live.Finalizers = nil
	if err := w.kcp.raw.Update(t.Context(), &live); err != nil {
		t.Fatal(err)
	}
	handler.Delete(t.Context(), event.DeleteEvent{Object: &live}, q)
	if diff := cmp.Diff([]string{testCluster + "/" + testName}, queued(q)); diff != "" {
		t.Errorf("queued when there is a place: -want +got\n%s", diff)
	}
	w.settle()
	w.rollOut()
	w.wake()
	w.settle()
	if got := w.condition(workloadv1alpha1.ConditionDeployed); !strings.HasPrefix(got, "True Deployed") {
		t.Errorf("Deployed = %s", got)
	}
}
