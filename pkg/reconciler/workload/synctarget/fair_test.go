package synctarget

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"
)

// TestFairQueue: workspaces take turns, however much waits in one of them.
func TestFairQueue(t *testing.T) {
	tests := map[string]struct {
		reason string
		added  []string
		want   []string
	}{
		"one workspace":          {"First come, first served.", []string{"a1", "a2", "a3"}, []string{"a1", "a2", "a3"}},
		"a burst before another": {"The other waits for one of them, not for all.", []string{"a1", "a2", "a3", "a4", "b1", "b2"}, []string{"a1", "b1", "a2", "b2", "a3", "a4"}},
		"three":                  {"", []string{"a1", "a2", "b1", "c1", "c2"}, []string{"a1", "b1", "c1", "a2", "c2"}},
		"added again":            {"What waits keeps its place.", []string{"a1", "a2", "a1"}, []string{"a1", "a2"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			q := newFairQueue("", workqueue.DefaultTypedControllerRateLimiter[mcreconcile.Request]())
			defer q.ShutDown()
			for _, item := range tc.added {
				q.Add(request(multicluster.ClusterName(item[:1]), item))
			}
			var got []string
			for q.Len() > 0 {
				req, _ := q.Get()
				got = append(got, req.Name)
				q.Done(req)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestLanes(t *testing.T) {
	l := newLanes(5)
	leave, ok := l.enter("a")
	if !ok {
		t.Fatal("the first lane is taken")
	}
	if _, ok := l.enter("a"); !ok {
		t.Error("2 of 5 workers are too many for one workspace")
	}
	if _, ok := l.enter("a"); ok {
		t.Error("more than half of the workers for one workspace")
	}
	if _, ok := l.enter("b"); !ok {
		t.Error("another workspace has to wait")
	}
	leave()
	leave, ok = l.enter("a")
	if !ok {
		t.Error("a lane that was left is taken")
	}
	leave()
	if len(l.taken) != 2 {
		t.Errorf("taken: %v", l.taken)
	}
	if newLanes(1).width != 1 {
		t.Error("a single worker can do nothing")
	}
}

// TestBusyWorkspace: a pass that finds no lane says nothing new, asks nothing of the cluster, and comes again soon.
func TestBusyWorkspace(t *testing.T) {
	w := usual(t)
	w.ready()
	leave, _ := w.r.lanes.enter(testCluster)
	w.r.installed.forget(testUID)
	w.forget()
	result := w.pass()
	if len(w.kcp.writes) != 0 || w.clusters.gets != 0 {
		t.Errorf("it wrote %q and asked for the cluster %d times", w.kcp.writes, w.clusters.gets)
	}
	if result.RequeueAfter < laneRetry || result.RequeueAfter > 2*laneRetry {
		t.Errorf("RequeueAfter = %s", result.RequeueAfter)
	}
	leave()
	w.pass()
	if w.clusters.gets != 1 {
		t.Error("it did not get on when the lane was free")
	}
}
