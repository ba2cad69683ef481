package synctarget

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// assignmentEvents queues the target that an Assignment belongs to. Of what the syncer reports, a pass needs only what may change a
// verdict.
func assignmentEvents(clusterName multicluster.ClusterName, cl cluster.Cluster) handler.TypedEventHandler[client.Object, mcreconcile.Request] {
	add := func(q queue, object client.Object) {
		if name, _, ok := identityOwner(clusterName, object); ok {
			q.Add(request(clusterName, name))
		}
	}
	return handler.TypedFuncs[client.Object, mcreconcile.Request]{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			var target workloadv1alpha1.SyncTarget
			if name, _, ok := identityOwner(clusterName, e.Object); ok && cl.GetCache().Get(ctx, types.NamespacedName{Name: name}, &target) == nil {
				addListed(q, clusterName, &target)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*workloadv1alpha1.Assignment), e.ObjectNew.(*workloadv1alpha1.Assignment)
			if !equality.Semantic.DeepEqual(assignmentInputs(before), assignmentInputs(after)) {
				add(q, before)
				add(q, after)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(q, e.Object) },
	}
}

// assignmentInputs is what a pass follows from of an Assignment.
func assignmentInputs(a *workloadv1alpha1.Assignment) []any {
	inputs := []any{a.UID, a.Labels, a.Annotations, a.Generation, a.Spec, isApplied(a), hasLeft(a)}
	if admitted := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted); admitted != nil {
		inputs = append(inputs, metav1.Condition{Status: admitted.Status, Reason: admitted.Reason, Message: admitted.Message, ObservedGeneration: admitted.ObservedGeneration})
	}
	return inputs
}

// assignedTo returns the names of the targets that a Namespace is assigned to, or was.
func assignedTo(ctx context.Context, clusterName multicluster.ClusterName, cl cluster.Cluster, namespace string) (names []string) {
	var assignments workloadv1alpha1.AssignmentList
	if cl.GetCache().List(ctx, &assignments, client.MatchingFields{indexAssigned: namespace}, client.UnsafeDisableDeepCopy) != nil {
		return nil
	}
	for i := range assignments.Items {
		if name, _, ok := identityOwner(clusterName, &assignments.Items[i]); ok {
			names = append(names, name)
		}
	}
	return names
}
