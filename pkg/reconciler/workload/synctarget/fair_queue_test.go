package synctarget

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func newFairQueue(t *testing.T) fairQueue {
	t.Helper()
	r := &Reconciler{physical: &physicals{}}
	q := r.newFairQueue("", workqueue.DefaultTypedControllerRateLimiter[mcreconcile.Request](), 10).(fairQueue)
	t.Cleanup(q.ShutDown)
	return q
}

// TestPriorityIsPassedOn: as controller-runtime adds an item, so it comes.
func TestPriorityIsPassedOn(t *testing.T) {
	for name, tc := range map[string]struct {
		opts  priorityqueue.AddOpts
		after time.Duration
		want  int
	}{
		"none":        {priorityqueue.AddOpts{}, 0, 0},
		"low":         {priorityqueue.AddOpts{Priority: ptr.To(handler.LowPriority)}, 0, handler.LowPriority},
		"low, later":  {priorityqueue.AddOpts{Priority: ptr.To(handler.LowPriority), After: time.Minute}, time.Minute, handler.LowPriority},
		"later":       {priorityqueue.AddOpts{Priority: ptr.To(0), After: time.Minute}, time.Minute, 0},
		"low, failed": {priorityqueue.AddOpts{Priority: ptr.To(handler.LowPriority), RateLimited: true}, 5 * time.Millisecond, handler.LowPriority},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, began := newFairQueue(t), time.Now()
				defer q.ShutDown()
				q.AddWithOpts(tc.opts, request("a", "edge"))
				item, priority, _ := q.GetWithPriority()
				if took := time.Since(began); item.Name != "edge" || priority != tc.want || took != tc.after {
					t.Errorf("%q of priority %d after %s", item.Name, priority, took)
				}
				q.Done(item)
			})
		})
	}
}

// TestUserGoesFirst: what a user has just changed is reconciled before what the first list of a watch has brought.
func TestUserGoesFirst(t *testing.T) {
	settled := func(name string) *workloadv1alpha1.SyncTarget {
		target := newTarget(named(name))
		target.Status.ObservedGeneration = target.Generation
		for _, condition := range []string{workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ConditionReady} {
			target.Status.Conditions = append(target.Status.Conditions, metav1.Condition{Type: condition, Status: metav1.ConditionTrue})
		}
		return target
	}
	changed := settled("changed")
	changed.Generation++
	notReady := settled("not-ready")
	notReady.Status.Conditions[1].Status = metav1.ConditionFalse
	listed := []*workloadv1alpha1.SyncTarget{settled("settled"), changed, newTarget(named("new")), notReady}
	var objects []client.Object
	for _, target := range listed {
		objects = append(objects, target)
	}
	w := newWorld(t, newTarget(), append(objects, newSecret(), newBinding())...)

	q := newFairQueue(t)
	targets, secrets := w.r.targetEvents(testCluster, w.cache), w.r.secretEvents(testCluster, w.cache)
	secrets.Create(t.Context(), event.CreateEvent{Object: newSecret()}, q)
	for _, target := range listed {
		targets.Create(t.Context(), event.CreateEvent{Object: target}, q)
	}
	order := queued(q)
	if last := order[len(order)-1]; len(order) != 5 || last != testCluster+"/settled" {
		t.Errorf("order: %q, want the settled one to be the last", order)
	}

	targets.Create(t.Context(), event.CreateEvent{Object: settled("settled")}, q)
	targets.Create(t.Context(), event.CreateEvent{Object: settled("edited")}, q)
	before := settled("edited")
	before.ResourceVersion = "1"
	after := before.DeepCopy()
	after.Generation, after.ResourceVersion, after.Spec.Unschedulable = 2, "2", true
	targets.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
	if diff := cmp.Diff([]string{testCluster + "/edited", testCluster + "/settled"}, queued(q)); diff != "" {
		t.Errorf("order: -want +got\n%s", diff)
	}
}

// TestPriorityOfRest: the scheduled pass over a SyncTarget in order is of low priority, and that of any other is not.
func TestPriorityOfRest(t *testing.T) {
	w := usual(t)
	w.settle()
	if result := w.pass(); result.Priority != nil {
		t.Errorf("priority %d while the syncer is rolled out", *result.Priority)
	}
	w.ready()
	if result := w.pass(); ptr.Deref(result.Priority, 0) != handler.LowPriority || result.RequeueAfter == 0 {
		t.Errorf("priority %d, RequeueAfter = %s", ptr.Deref(result.Priority, 0), result.RequeueAfter)
	}
}
