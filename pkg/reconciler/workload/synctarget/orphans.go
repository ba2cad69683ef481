package synctarget

import (
	"context"
	"errors"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// deleteOrphans deletes the downstream Namespaces that stand for nothing any more: of a Namespace that the syncer has left, or that
// was closed before it was open. The Assignments are read live. done reports whether none is still being deleted. A refusal is what
// the physical cluster keeps it from, an error what kcp does. In the plan, a Namespace of which nothing remains becomes Revoked.
func (r *Reconciler) deleteOrphans(ctx context.Context, s *scope, plan *namespacePlan, cluster physicalCluster) (done bool, refusal, err error) {
	orphans, refusal := agent.DownstreamNamespaces{Client: cluster.Client(), Key: s.key}.Orphans(ctx, plan.hasDownstream)
	if refusal != nil {
		return true, refusal, nil
	}
	var found orphanResults
	if len(orphans) > 0 {
		live, isSame, err := s.liveAssignments(ctx)
		if err != nil || !isSame {
			return true, nil, err
		}
		var left []string
		o := orphanDeletion{scope: s, downstream: downstreamNamespacesOf(ctx, s, cluster, &left), plan: *plan, live: live}
		for i := range orphans {
			found.add(o.delete(ctx, orphans[i:i+1]))
		}
		r.announceLeft(ctx, s, left)
	}
	for _, n := range plan.in(namespaceCleaningUp) {
		if !slices.Contains(found.remaining, n.Name) {
			n.State = namespaceRevoked
		}
	}
	return !found.deleting, errors.Join(found.refusals...), errors.Join(found.failures...)
}

// liveAssignments reads the Assignments of a SyncTarget live. isSame is false if there is another SyncTarget of its name by now, whose
// downstream Namespaces have the same key.
func (s *scope) liveAssignments(ctx context.Context) (live []workloadv1alpha1.Assignment, isSame bool, err error) {
	target, err := s.live(ctx)
	if err != nil || target.UID != s.target.UID {
		return nil, false, err
	}
	live, err = agent.Assignments(ctx, s.upstream, s.target, s.key)
	return live, err == nil, err
}

// orphanDeletion decides about downstream Namespaces that the plan does not need.
type orphanDeletion struct {
	scope      *scope
	downstream agent.DownstreamNamespaces
	plan       namespacePlan
	// live are the Assignments, read after the plan was made.
	live []workloadv1alpha1.Assignment
}

// orphanResult is what has become of one downstream Namespace.
type orphanResult struct {
	namespace string
	// remains: it is there, with something of ours in it.
	remains bool
	// deleting: it is being deleted.
	deleting     bool
	refusal, err error
}

// orphanResults sums up several.
type orphanResults struct {
	remaining          []string
	deleting           bool
	refusals, failures []error
}

func (o *orphanResults) add(one orphanResult) {
	if one.remains || one.refusal != nil || one.err != nil {
		o.remaining = append(o.remaining, one.namespace)
	}
	o.deleting = o.deleting || one.deleting
	o.refusals, o.failures = append(o.refusals, one.refusal), append(o.failures, one.err)
}

// delete deletes one downstream Namespace, the only item of one, if mayDelete. What an earlier SyncTarget of this name left running in
// it stays: that is not ours to end before this one ends too.
func (o orphanDeletion) delete(ctx context.Context, one []metav1.PartialObjectMetadata) orphanResult {
	result := orphanResult{namespace: one[0].Annotations[workloadv1alpha1.AnnotationNamespace]}
	if one[0].DeletionTimestamp != nil {
		// Where the plan still has it, there were copies in it, which may run until it is gone.
		result.remains, result.deleting = true, o.plan.clearing(result.namespace) != nil
		return result
	}
	may, orphan, err := o.mayDelete(ctx, result.namespace)
	if err != nil || !may {
		result.remains, result.err = true, err
		return result
	}
	holds, refusal := o.downstream.RemoveOrphan(ctx, &one[0])
	if refusal != nil || !holds || one[0].Labels[workloadv1alpha1.LabelUID] != string(o.scope.target.UID) {
		result.refusal = refusal
		return result
	}
	// The syncer could not remove what is in it, as of a resource that the workspace serves no more.
	_, _, done, refusal := o.downstream.Remove(ctx, one, orphan)
	result.remains, result.deleting, result.refusal = !done, !done, refusal
	return result
}

// mayDelete decides whether a downstream Namespace stands for nothing, with orphan such that what is in it stays without our marks:
// where every Assignment of its Namespace is withdrawn and the syncer has left; or, where there is none, the Namespace of the workspace
// is known to be gone. That an Assignment is absent is no reason.
func (o orphanDeletion) mayDelete(ctx context.Context, namespace string) (may, orphan bool, err error) {
	if n := o.plan.clearing(namespace); n != nil && !o.isNeeded(namespace) {
		return true, n.Assignment.Spec.Intent == workloadv1alpha1.IntentOrphan, nil
	}
	assigned := false
	for i := range o.live {
		if a := &o.live[i]; a.Spec.Namespace.Name == namespace {
			if !hasLeftWithdrawn(a) {
				return false, false, nil
			}
			assigned, orphan = true, orphan || a.Spec.Intent == workloadv1alpha1.IntentOrphan
		}
	}
	if assigned {
		return true, orphan, nil
	}
	remains, err := o.scope.namespaceRemains(ctx, namespace)
	return !remains && err == nil, false, err
}

// isNeeded reports whether the syncer has, or may have, something in a downstream Namespace by an Assignment that the plan does not
// show yet. One that waits until the syncer has left an earlier Namespace of its name does not need it.
func (o orphanDeletion) isNeeded(namespace string) bool {
	return slices.ContainsFunc(o.live, func(a workloadv1alpha1.Assignment) bool {
		return a.Spec.Namespace.Name == namespace && !hasLeft(&a)
	})
}
