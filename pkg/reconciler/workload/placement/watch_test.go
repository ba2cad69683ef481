package placement

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workspacewatch"
)

func newQueue(t *testing.T) workspacewatch.Queue {
	t.Helper()
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[mcreconcile.Request]())
	t.Cleanup(q.ShutDown)
	return q
}

// queued empties a queue.
func queued(q workspacewatch.Queue) (names []string) {
	for q.Len() > 0 {
		req, _ := q.Get()
		q.Done(req)
		names = append(names, fmt.Sprintf("%s/%s", req.ClusterName, req.Name))
	}
	return names
}

// updated changes a copy of an object.
func updated[T client.Object](object T, change func(T)) (before, after client.Object) {
	changed := object.DeepCopyObject().(T)
	change(changed)
	changed.SetResourceVersion("2")
	return object, changed
}

func testAssignment() *workloadv1alpha1.Assignment {
	return &workloadv1alpha1.Assignment{Status: workloadv1alpha1.AssignmentStatus{Objects: &workloadv1alpha1.AssignmentObjects{Applied: 1, Failing: 1}}}
}

func testNamespaceMeta() *metav1.PartialObjectMetadata {
	namespace := namespaceMeta()
	namespace.Name = "a"
	return namespace
}

// TestUpdates: what happens all the time makes no pass, and what decisions follow from does.
func TestUpdates(t *testing.T) {
	type target = workloadv1alpha1.SyncTarget
	type assignment = workloadv1alpha1.Assignment
	type testCase struct {
		pair func() (before, after client.Object)
		want bool
	}
	tests := map[string]testCase{}
	add := func(name string, want bool, pair func() (before, after client.Object)) {
		tests[name] = testCase{pair, want}
	}
	ofTarget := func(name string, want bool, change func(*target)) {
		add("SyncTarget: "+name, want, func() (client.Object, client.Object) { return updated(newTarget("edge-1"), change) })
	}
	ofTarget("heartbeat", false, func(t *target) { t.Status.LastHeartbeatTime = &metav1.Time{} })
	ofTarget("version of the syncer", false, func(t *target) { t.Status.Syncer = &workloadv1alpha1.SyncerStatus{Version: "v2"} })
	ofTarget("another finalizer", false, func(t *target) { t.Finalizers = nil })
	ofTarget("message of Ready", false, func(t *target) { t.Status.Conditions[0].Message = "other" })
	ofTarget("Ready", true, func(t *target) { t.Status.Conditions[0].Reason = workloadv1alpha1.ReasonUnhealthy })
	ofTarget("cordoned", true, func(t *target) { t.Spec.Unschedulable = true })
	ofTarget("label", true, func(t *target) { t.Labels = map[string]string{"tier": "gold"} })
	ofTarget("deleted", true, func(t *target) { t.DeletionTimestamp = &metav1.Time{} })
	ofTarget("abandoned", true, func(t *target) { t.Annotations = map[string]string{workloadv1alpha1.AnnotationAbandon: "true"} })
	ofTarget("taint taken off", true, func(t *target) { t.Status.Taints = []workloadv1alpha1.ObservedTaint{{Key: "k"}} })
	ofTarget("room", true, func(t *target) {
		t.Status.Syncer = &workloadv1alpha1.SyncerStatus{Allocatable: map[string]resource.Quantity{"cpu": resource.MustParse("1")}}
	})
	ofTarget("resource", true, func(t *target) {
		t.Status.SyncedResources = []workloadv1alpha1.SyncedResourceStatus{{Resource: "pods", State: workloadv1alpha1.ResourceMissing}}
	})
	ofTarget("another of its name", true, func(t *target) { t.UID = "another" })

	ofAssignment := func(name string, want bool, change func(*assignment)) {
		add("Assignment: "+name, want, func() (client.Object, client.Object) { return updated(testAssignment(), change) })
	}
	ofAssignment("one more object", false, func(a *assignment) { a.Status.Objects.Applied++ })
	ofAssignment("one more failing", false, func(a *assignment) { a.Status.Objects.Failing++ })
	ofAssignment("none failing", true, func(a *assignment) { a.Status.Objects.Failing = 0 })
	ofAssignment("bound", true, func(a *assignment) { a.Status.Objects.BoundClaims++ })
	ofAssignment("condition", true, func(a *assignment) {
		meta.SetStatusCondition(&a.Status.Conditions, metav1.Condition{Type: workloadv1alpha1.ConditionAvailable})
	})
	ofAssignment("intent", true, func(a *assignment) { a.Spec.Intent = workloadv1alpha1.IntentWithdraw })

	ofNamespace := func(name string, want bool, change func(*metav1.PartialObjectMetadata)) {
		add("Namespace: "+name, want, func() (client.Object, client.Object) { return updated(testNamespaceMeta(), change) })
	}
	ofNamespace("another annotation", false, func(n *metav1.PartialObjectMetadata) { n.Annotations = map[string]string{"other": "x"} })
	ofNamespace("our annotation", true, func(n *metav1.PartialObjectMetadata) {
		n.Annotations = map[string]string{workloadv1alpha1.AnnotationPlacement: "x"}
	})
	ofNamespace("label", true, func(n *metav1.PartialObjectMetadata) { n.Labels = map[string]string{"app": "shop"} })

	add("Placement", true, func() (client.Object, client.Object) {
		return updated(newPlacement("shop"), func(p *workloadv1alpha1.Placement) { p.Spec.Priority = 1 })
	})
	ofBinding := func(name string, want bool, change func(*apisv1alpha2.APIBinding)) {
		add("APIBinding: "+name, want, func() (client.Object, client.Object) { return updated(newBinding(), change) })
	}
	ofBinding("label", false, func(b *apisv1alpha2.APIBinding) { b.Labels = map[string]string{"a": "b"} })
	ofBinding("claim", true, func(b *apisv1alpha2.APIBinding) { b.Spec.PermissionClaims[0].State = apisv1alpha2.ClaimRejected })
	ofBinding("deleted", true, func(b *apisv1alpha2.APIBinding) { b.DeletionTimestamp = &metav1.Time{} })

	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			before, after := tc.pair()
			q := newQueue(t)
			handled := 0
			for _, kind := range WatchedKinds() {
				if fmt.Sprintf("%T", kind.Object) == fmt.Sprintf("%T", before) {
					handled++
					kind.Events(testCluster, nil).Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
				}
			}
			if got := len(queued(q)) == 1; got != tc.want || handled != 1 {
				t.Errorf("a pass: %t, want %t; handled by %d watches", got, tc.want, handled)
			}
		})
	}
}

// TestOneRequest: whatever happens in a workspace is one request.
func TestOneRequest(t *testing.T) {
	q := newQueue(t)
	events := whenChanged(placementInput)(testCluster, nil)
	for _, name := range []string{"a", "b"} {
		events.Create(t.Context(), event.CreateEvent{Object: newPlacement(name)}, q)
		events.Delete(t.Context(), event.DeleteEvent{Object: newPlacement(name)}, q)
	}
	if diff := cmp.Diff([]string{testCluster + "/"}, queued(q)); diff != "" {
		t.Errorf("queued: -want +got\n%s", diff)
	}
}
