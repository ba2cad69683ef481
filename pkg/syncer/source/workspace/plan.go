package workspace

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// Plan is what the SyncTarget and its Assignments say in the cache. It is nil until both have been listed, since a list
// that was not read must not look like an empty one; and if the cache shows no SyncTarget, or another one of the same name.
func (s *Source) Plan() *source.Plan {
	if !s.targets.HasSynced() || !s.assignments.HasSynced() {
		return nil
	}
	s.cached.mu.Lock()
	defer s.cached.mu.Unlock()
	if !s.cached.known {
		s.cached.plan, s.cached.known = s.storedPlan(), true
	}
	return s.cached.plan
}

// storedPlan is the Plan by what the informers have stored.
func (s *Source) storedPlan() *source.Plan {
	for _, object := range s.targets.GetStore().List() {
		var target workloadv1alpha1.SyncTarget
		o, ok := object.(*unstructured.Unstructured)
		if !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &target) != nil {
			continue
		}
		if string(target.UID) == s.Owner.UID {
			return s.PlanOf(&target, s.storedAssignments())
		}
	}
	return nil
}

// ReadPlan reads the SyncTarget and its Assignments live. Calls at the same time share a read.
func (s *Source) ReadPlan(ctx context.Context) (*source.Plan, error) {
	return s.reads.do(ctx, s.readPlan)
}

// readPlan reads the Assignments first. So whoever was withdrawn because the SyncTarget is being deleted is seen together
// with that, and with the policy that says what becomes of the copies.
func (s *Source) readPlan(ctx context.Context) (*source.Plan, error) {
	assignments, err := s.listAssignments(ctx)
	if err != nil {
		return nil, err
	}
	target, err := s.Target.Get(ctx)
	if err != nil {
		return nil, err
	}
	if string(target.UID) != s.Owner.UID {
		return nil, fmt.Errorf("SyncTarget %q is another one by now: its UID is %q, not %q", s.Owner.Name, target.UID, s.Owner.UID)
	}
	return s.PlanOf(target, assignments), nil
}

// PlanOf is what a SyncTarget and its Assignments say is to be synced. The Assignments are put into order.
func (s *Source) PlanOf(target *workloadv1alpha1.SyncTarget, assignments []*workloadv1alpha1.Assignment) *source.Plan {
	plan := &source.Plan{
		Generation: target.Generation,
		Resources:  target.Spec.Synced(), Leaving: target.Leaving(), Reported: target.Status.SyncedResources,
	}
	slices.SortFunc(assignments, comparePrecedence)
	for _, a := range assignments {
		namespace := s.namespace(a.Spec.Namespace.Name)
		if s.counts(a) && plan.Assignment(namespace) == nil {
			plan.Assignments = append(plan.Assignments, assignmentOf(target, a, namespace))
		}
	}
	return plan
}

// counts tells whether an Assignment is one of this SyncTarget.
func (s *Source) counts(a *workloadv1alpha1.Assignment) bool {
	return a.Namespace == s.syncerNamespace() && a.Labels[workloadv1alpha1.LabelKey] == s.Owner.Key && a.Labels[workloadv1alpha1.LabelUID] == s.Owner.UID
}

// comparePrecedence puts Assignments of one Namespace into the order in which they count: those of which everything is over
// come last, and of the others the oldest first. There are several if a Namespace was deleted and created again.
func comparePrecedence(a, b *workloadv1alpha1.Assignment) int {
	return cmp.Or(
		cmp.Compare(a.Spec.Namespace.Name, b.Spec.Namespace.Name),
		compareBool(isRevoked(a), isRevoked(b)),
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		cmp.Compare(a.Name, b.Name),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// isRevoked tells whether a Namespace was withdrawn, and the syncer has lost its rights in it.
func isRevoked(a *workloadv1alpha1.Assignment) bool {
	admitted := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	return a.Spec.Intent != workloadv1alpha1.IntentRun && admitted != nil && admitted.Status == metav1.ConditionFalse &&
		admitted.Reason == workloadv1alpha1.ReasonRevoked
}

// assignmentOf is what an Assignment says of its Namespace.
func assignmentOf(target *workloadv1alpha1.SyncTarget, a *workloadv1alpha1.Assignment, namespace source.Namespace) source.Assignment {
	return source.Assignment{
		Namespace: namespace, Intent: intent(target, a), Epoch: a.Spec.Epoch,
		First: a.Spec.Order == 0, WritesStatus: a.Spec.WritesStatus, Reported: reportOf(a),
		Record: source.Record{Name: a.Name, UID: a.UID, Version: a.ResourceVersion},
	}
}

// intent is what an Assignment wants of its Namespace. Without the rights in it nothing can be started, and nothing ended. The
// deletion policy is about the end of the SyncTarget itself: a Namespace that is withdrawn before loses its copies.
func intent(target *workloadv1alpha1.SyncTarget, a *workloadv1alpha1.Assignment) source.Intent {
	switch isWithdrawal := a.Spec.Intent == workloadv1alpha1.IntentWithdraw; {
	case !meta.IsStatusConditionTrue(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted), isBeingRevoked(a):
		return source.Prepare
	case a.Spec.Intent == workloadv1alpha1.IntentRun:
		return source.Run
	case isWithdrawal && target.DeletionTimestamp != nil && target.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan,
		a.Spec.Intent == workloadv1alpha1.IntentOrphan:
		return source.Orphan
	case isWithdrawal:
		return source.Withdraw
	}
	return source.Prepare
}

// isBeingRevoked tells whether a Namespace that is to run again was reported as withdrawn, and the controller has not seen
// since that it is to run: it may be about to take the rights back, and to delete the downstream Namespace.
func isBeingRevoked(a *workloadv1alpha1.Assignment) bool {
	admitted := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	return a.Spec.Intent == workloadv1alpha1.IntentRun && admitted.ObservedGeneration != a.Generation &&
		meta.IsStatusConditionTrue(a.Status.Conditions, workloadv1alpha1.ConditionWithdrawn)
}

// reportOf is what was last reported of an Assignment.
func reportOf(a *workloadv1alpha1.Assignment) source.Report {
	report := source.Report{Epoch: a.Status.ObservedEpoch, DownstreamNamespace: a.Status.DownstreamNamespace}
	if a.Status.Objects != nil {
		report.Objects = *a.Status.Objects
	}
	for _, kind := range []string{workloadv1alpha1.ConditionApplied, workloadv1alpha1.ConditionAvailable, workloadv1alpha1.ConditionWithdrawn} {
		if c := meta.FindStatusCondition(a.Status.Conditions, kind); c != nil {
			report.Conditions = append(report.Conditions, *c)
		}
	}
	return report
}

// namespace is a Namespace of the workspace.
func (s *Source) namespace(name string) source.Namespace {
	return source.Namespace{Cluster: s.Owner.Workspace, Name: name}
}
