package synctarget

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/credentials"
)

// What is to become of a Namespace, its Assignment says. With intent Run it goes from Opening to Open, when the syncer has its rights
// on both sides and only then the condition Admitted says so. With intent Withdraw or Orphan it is Draining until the syncer has
// reported that it has left, then its rights are taken back, and its downstream Namespace is removed; only then Admitted says
// Revoked. So what is not Admitted is never begun, and what is not withdrawn is never ended: an Assignment that is absent ends
// nothing.

// reconcileNamespaces opens and closes as far as the workspace alone is concerned. It does not depend on Valid: a Namespace that
// was deleted must not wait for a kubeconfig to be mended.
func (r *Reconciler) reconcileNamespaces(ctx context.Context, s *scope, f facts) (namespacePlan, error) {
	plan, err := planNamespaces(ctx, s)
	if err != nil {
		return namespacePlan{}, err
	}
	if plan.planned = f.claimsAccepted; !plan.planned {
		return plan, nil
	}
	unverified := r.verifyRevoked(ctx, s, plan)
	if err = r.closeNamespaces(ctx, s, &plan, hasLeftWithdrawn); err == nil {
		err = unverified
	}
	if r.isKnownSilent(s) {
		plan.reportSilence(workloadv1alpha1.SyncerFinalizer(s.key))
	}
	if err != nil && concernsObject(err) {
		plan.closeError, err = err, nil // the Namespace's message says so, and it keeps nothing else from being done
	}
	return plan, err
}

// planNamespaces decides, by the cache, what is to become of the assigned Namespaces.
func planNamespaces(ctx context.Context, s *scope) (namespacePlan, error) {
	assignments, err := agent.Assignments(ctx, s.cached, s.target, s.key)
	if err != nil {
		return namespacePlan{}, err
	}
	plan := namespacePlan{listed: true, labels: map[string]map[string]string{}}
	if len(assignments) == 0 {
		return plan, nil
	}
	var targets workloadv1alpha1.SyncTargetList
	if err := s.cached.List(ctx, &targets); err != nil {
		return namespacePlan{}, fmt.Errorf("listing the workspace's SyncTargets: %w", err)
	}
	for i := range assignments {
		namespace := namespaceMeta()
		err := s.cached.Get(ctx, client.ObjectKey{Name: assignments[i].Spec.Namespace.Name}, namespace)
		refusal := ""
		switch {
		case apierrors.IsNotFound(err):
			namespace = nil
		case err != nil:
			return namespacePlan{}, fmt.Errorf("reading Namespace %q: %w", assignments[i].Spec.Namespace.Name, err)
		default:
			plan.labels[namespace.Name] = namespace.Labels
			refusal = credentials.RefusalOf(namespace, targets.Items)
		}
		plan.items = append(plan.items, planNamespace(&assignments[i], namespace, refusal))
	}
	plan.oneOfEachName()
	return plan, nil
}

// planNamespace decides what is to become of the Namespace of an Assignment. namespace is what the workspace shows of it, nil for
// nothing, and refusal is why it is never synced, empty for no reason. What was opened stays open whatever is seen of the Namespace,
// or not seen: it ends by the Assignment alone.
func planNamespace(a *workloadv1alpha1.Assignment, namespace *metav1.PartialObjectMetadata, refusal string) *assignedNamespace {
	n := &assignedNamespace{Assignment: a, Name: a.Spec.Namespace.Name}
	switch {
	case isWithdrawal(a):
		n.State = withdrawalState(a)
	case isAdmitted(a) && returns(a) && refusal == "":
		n.State = namespaceReopening
	case isAdmitted(a):
		n.State, n.Message = namespaceOpen, refusal
	case refusal != "":
		n.State, n.Message = namespaceRefused, refusal
	case namespace == nil:
		n.State, n.Message = namespaceWaiting, fmt.Sprintf("the workspace does not show this Namespace to the service: it is gone, or lacks the label %s=true", workloadv1alpha1.LabelVisible)
	case namespace.UID != a.Spec.Namespace.UID:
		n.State, n.Message = namespaceWaiting, "the Namespace was deleted, and another one of this name was created"
	case namespace.DeletionTimestamp != nil:
		n.State, n.Message = namespaceWaiting, "the Namespace is being deleted"
	default:
		n.State = namespaceOpening
	}
	return n
}

// oneOfEachName lets a Namespace that was created anew wait until the syncer has left the earlier one of its name: the rights, and
// the downstream Namespace, are by name.
func (p namespacePlan) oneOfEachName() {
	taken := map[string]bool{}
	for _, n := range p.in(namespaceReopening, namespaceOpen, namespaceDraining, namespaceDrained, namespaceCleaningUp) {
		taken[n.Name] = true
	}
	for _, n := range p.in(namespaceOpening) {
		if taken[n.Name] {
			n.State, n.Message = namespaceWaiting, "the syncer has yet to leave an earlier Namespace of this name; it is opened after that"
		}
		taken[n.Name] = true
	}
}

// closeNamespaces takes the syncer's rights in the workspace back where it has left nothing of its own or was never let in. Each
// Assignment is read live before, and mayRevoke is asked about that. The failure of one does not stop the others.
func (r *Reconciler) closeNamespaces(ctx context.Context, s *scope, plan *namespacePlan, mayRevoke func(*workloadv1alpha1.Assignment) bool) error {
	drained := plan.in(namespaceDrained)
	if len(drained) == 0 {
		return nil
	}
	live, err := s.live(ctx)
	if err != nil {
		return err
	}
	err = forEachNamespace(drained, func(n *assignedNamespace) error {
		if n.outdated = live.UID != s.target.UID; n.outdated {
			return nil
		}
		if r.revocations.has(s.target.UID, n.Assignment) {
			r.beginCleanup(s, n)
			return nil
		}
		if err := s.readAssignment(ctx, n, mayRevoke); err != nil || n.outdated {
			return err
		}
		return r.revoke(ctx, s, n)
	})
	for _, n := range drained {
		plan.awaitsDeletion = plan.awaitsDeletion || n.State == namespaceDrained && n.Message != ""
	}
	return err
}

// readAssignment reads the Assignment of a Namespace live. It is outdated if it is gone, or another, or does not say any more what
// it is needed for.
func (s *scope) readAssignment(ctx context.Context, n *assignedNamespace, needed func(*workloadv1alpha1.Assignment) bool) error {
	live := &workloadv1alpha1.Assignment{}
	err := s.upstream.Get(ctx, client.ObjectKeyFromObject(n.Assignment), live)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading the Assignment of Namespace %q: %w", n.Name, err)
	}
	n.outdated = err != nil || live.UID != n.Assignment.UID || live.Labels[workloadv1alpha1.LabelKey] != s.key ||
		live.Labels[workloadv1alpha1.LabelUID] != string(s.target.UID) || !needed(live)
	if !n.outdated {
		n.Assignment = live
	}
	return nil
}

// revoke takes the syncer's rights in a Namespace of the workspace back.
func (r *Reconciler) revoke(ctx context.Context, s *scope, n *assignedNamespace) error {
	r.installCache.forgetNamespace(s.target.UID, n.Name)
	waiting, done, err := agent.Revoke(ctx, s.upstream, s.target.Name, s.key, n.Name)
	switch {
	case err != nil:
		err = fmt.Errorf("taking the syncer's rights in Namespace %q back: %w", n.Name, err)
		if concernsObject(err) {
			n.Message = err.Error()
		}
		return err
	case !done:
		n.Message = waiting
		return nil
	}
	r.revocations.add(s.target.UID, n.Assignment)
	r.beginCleanup(s, n)
	return nil
}

// beginCleanup sets what is left to do in a Namespace after the rights of the syncer are gone. The downstream Namespace is removed
// by an installation, or by the second step of a deletion. Nothing is left to do where there is none of the controller's making, or
// where the controller has given up removing it: then the message says what may still run.
func (r *Reconciler) beginCleanup(s *scope, n *assignedNamespace) {
	hasReported := isWithdrawal(n.Assignment) && isWithdrawn(n.Assignment)
	isAbandoned := !s.target.DeletionTimestamp.IsZero() && r.deletions.step(s.target, stepAgent).abandoned
	n.State, n.Message = namespaceRevoked, ""
	switch {
	case s.pullMode() && !hasReported && hasStarted(n.Assignment):
		n.Message = fmt.Sprintf(leftRunningMessage, "the syncer has not said that it has removed the copies, and you have installed it yourself")
	case s.pullMode(), s.target.Status.ClusterID == "", r.deletions.step(s.target, stepAgent).done:
	case isAbandoned && !hasReported:
		n.Message = fmt.Sprintf(leftRunningMessage, "the deletion of the SyncTarget has let them go")
	case isAbandoned:
	default:
		n.State = namespaceCleaningUp
	}
}

// namespaceRemains looks live at a Namespace of the workspace that has no Assignment. One that cannot be seen may only be hidden from
// the service: it is gone when the syncer's rights in it, which have our finalizer, are gone too.
func (s *scope) namespaceRemains(ctx context.Context, name string) (bool, error) {
	err := s.upstream.Get(ctx, client.ObjectKey{Name: name}, namespaceMeta())
	if apierrors.IsNotFound(err) {
		return agent.Granted(ctx, s.upstream, s.target.Name, s.key, name)
	}
	if err != nil {
		return false, fmt.Errorf("reading Namespace %q: %w", name, err)
	}
	return true, nil
}
