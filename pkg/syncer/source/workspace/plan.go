package workspace

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// Plan is what the SyncTarget says in the cache. It is nil if the cache shows none, or another one of the same name.
func (s *Source) Plan() *source.Plan {
	for _, object := range s.targets.GetStore().List() {
		var target workloadv1alpha1.SyncTarget
		o, ok := object.(*unstructured.Unstructured)
		if !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &target) != nil {
			continue
		}
		if string(target.UID) == s.Owner.UID {
			return s.PlanOf(&target)
		}
	}
	return nil
}

// ReadPlan reads the SyncTarget live. Calls at the same time share a read.
func (s *Source) ReadPlan(ctx context.Context) (*source.Plan, error) {
	target, err := s.reads.do(ctx, s.Target.Get)
	if err != nil {
		return nil, err
	}
	if string(target.UID) != s.Owner.UID {
		return nil, fmt.Errorf("SyncTarget %q is another one by now: its UID is %q, not %q", s.Owner.Name, target.UID, s.Owner.UID)
	}
	return s.PlanOf(target), nil
}

// PlanOf is what a SyncTarget says is to be synced.
func (s *Source) PlanOf(target *workloadv1alpha1.SyncTarget) *source.Plan {
	plan := &source.Plan{
		Generation: target.Generation,
		Resources:  target.Spec.Synced(), Leaving: target.Leaving(),
		Withdrawn: s.namespaces(target.Status.DrainedNamespaces),
		Reported:  source.Status{Resources: target.Status.SyncedResources, SyncedNamespaces: s.namespaces(target.Status.SyncedNamespaces)},
	}
	for _, n := range target.Status.Namespaces {
		plan.Assignments = append(plan.Assignments, source.Assignment{Namespace: s.namespace(n.Name), Intent: intent(target, n.State)})
	}
	return plan
}

// intent is what a SyncTarget wants of a Namespace in a state. The deletion policy is about the end of the SyncTarget
// itself: a Namespace that is closed before loses its copies.
func intent(target *workloadv1alpha1.SyncTarget, state workloadv1alpha1.NamespaceState) source.Intent {
	switch {
	case state == workloadv1alpha1.NamespaceOpen:
		return source.Run
	case state != workloadv1alpha1.NamespaceClosing:
		return source.Prepare
	case target.DeletionTimestamp != nil && target.Spec.DeletionPolicy == workloadv1alpha1.DeletionPolicyOrphan:
		return source.Orphan
	}
	return source.Withdraw
}

// namespace is a Namespace of the workspace.
func (s *Source) namespace(name string) source.Namespace {
	return source.Namespace{Cluster: s.Owner.Workspace, Name: name}
}

func (s *Source) namespaces(names []string) []source.Namespace {
	var out []source.Namespace
	for _, name := range names {
		out = append(out, s.namespace(name))
	}
	return out
}
