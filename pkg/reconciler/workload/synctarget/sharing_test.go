package synctarget

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestSharing: SyncTargets of one workspace that stand for one cluster are told of each other, without a request.
func TestSharing(t *testing.T) {
	other := func(name, id string) *workloadv1alpha1.SyncTarget {
		return newTarget(pull, func(target *workloadv1alpha1.SyncTarget) {
			target.Name, target.UID, target.Status.ClusterID = name, "other-"+target.UID, id
		})
	}
	tests := map[string]struct {
		reason string
		others []client.Object
		pull   bool
		want   string
	}{
		"alone":           {"", nil, false, ""},
		"another cluster": {"", []client.Object{other("b", otherCluster), other("c", "")}, false, ""},
		"the same":        {"", []client.Object{other("b", thisCluster)}, false, `; SyncTarget "b" of this workspace stands for the same cluster`},
		"in pull mode":    {"", []client.Object{other("b", thisCluster)}, true, `; SyncTarget "b" of this workspace stands for the same cluster`},
		"several":         {"", []client.Object{other("c", thisCluster), other("b", thisCluster)}, false, `; SyncTargets "b", "c" of this workspace stand for the same cluster`},
		"many": {
			"The message stays when one more comes.",
			[]client.Object{other("b", thisCluster), other("c", thisCluster), other("d", thisCluster), other("e", thisCluster)},
			false, `; SyncTargets "b", "c", "d" and others of this workspace stand for the same cluster`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, newTarget(func(target *workloadv1alpha1.SyncTarget) {
				if tc.pull {
					pull(target)
				}
			}), append(tc.others, newSecret(), newBinding())...)
			w.settle()
			w.beat(w.clock.Now())
			w.settle()
			if diff := cmp.Diff("True Valid: SyncTarget validation passed"+tc.want, w.condition(workloadv1alpha1.ConditionValid)); diff != "" {
				t.Errorf("%s\nValid: -want +got\n%s", tc.reason, diff)
			}
			w.forget()
			w.pass()
			if lists := slices.DeleteFunc(w.kcp.reads, func(request string) bool { return request == `get Secret "default/edge-1"` }); len(lists) > 0 {
				t.Errorf("requests at rest: %q", lists)
			}
		})
	}
}

// TestSharingIsQueued: when a SyncTarget is pinned to a cluster, or goes, those that stand for the same are told.
func TestSharingIsQueued(t *testing.T) {
	pinned := func(name, id string) *workloadv1alpha1.SyncTarget {
		return newTarget(func(target *workloadv1alpha1.SyncTarget) { target.Name, target.Status.ClusterID = name, id })
	}
	fresh, settled := pinned("b", ""), pinned("b", thisCluster)
	settled.ResourceVersion = "2"
	tests := map[string]struct {
		happen func(ctx context.Context, w *world, q queue)
		want   []string
	}{
		"pinned": {func(ctx context.Context, w *world, q queue) {
			w.r.targetEvents(testCluster, w.cache).Update(ctx, event.UpdateEvent{ObjectOld: fresh, ObjectNew: settled}, q)
		}, []string{"b", testName}},
		"unchanged": {func(ctx context.Context, w *world, q queue) {
			w.r.targetEvents(testCluster, w.cache).Update(ctx, event.UpdateEvent{ObjectOld: settled, ObjectNew: settled}, q)
		}, nil},
		"deleted": {func(ctx context.Context, w *world, q queue) {
			w.r.targetEvents(testCluster, w.cache).Delete(ctx, event.DeleteEvent{Object: settled}, q)
		}, []string{testName}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, pinned(testName, thisCluster))
			q := newQueue(t)
			tc.happen(t.Context(), w, q)
			var got []string
			for q.Len() > 0 {
				req, _ := q.Get()
				got = append(got, req.Name)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("queued: -want +got\n%s", diff)
			}
		})
	}
}
