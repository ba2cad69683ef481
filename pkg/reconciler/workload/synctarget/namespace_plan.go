package synctarget

import (
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/sanitize"
)

// namespaceState is how far one Namespace is, of which an Assignment says what is to become of it.
type namespaceState string

const (
	// namespaceRefused: it is never synced.
	namespaceRefused namespaceState = "Refused"
	// namespaceWaiting: something else must happen before it can be opened, and an event tells of it.
	namespaceWaiting namespaceState = "Waiting"
	// namespaceOpening: the syncer has yet to be given its rights.
	namespaceOpening namespaceState = "Opening"
	// namespaceReopening: it is to run again after the syncer had left it, and its rights may have been taken back already. Until they
	// are seen to stand nothing is recorded, and the syncer does nothing.
	namespaceReopening namespaceState = "Reopening"
	// namespaceOpen: the syncer has its rights on both sides.
	namespaceOpen namespaceState = "Open"
	// namespaceDraining: the syncer has yet to leave it, and needs its rights for that.
	namespaceDraining namespaceState = "Draining"
	// namespaceReleasing: the syncer has not left it, and a deletion does not wait: the controller does it in its place.
	namespaceReleasing namespaceState = "Releasing"
	// namespaceDrained: the syncer has left it, or was never let in. Its rights in the workspace are to be taken back.
	namespaceDrained namespaceState = "Drained"
	// namespaceCleaningUp: these have been taken back. Its downstream Namespace is to be removed.
	namespaceCleaningUp namespaceState = "CleaningUp"
	// namespaceRevoked: nothing is left to do.
	namespaceRevoked namespaceState = "Revoked"
)

// What the condition Admitted says where nothing is in the way.
const (
	admittingMessage  = "The syncer has yet to be given its rights; what that waits for, the condition Deployed of the SyncTarget says"
	admittedMessage   = "The syncer has its rights in the Namespace"
	drainingMessage   = "The syncer keeps its rights in the Namespace until it has left it"
	revokingMessage   = "The syncer's rights are being taken back"
	cleaningUpMessage = "The syncer's rights in the workspace have been taken back; its Namespace in the physical cluster has yet to be removed, and what that waits for, the condition Deployed of the SyncTarget says"
	revokedMessage    = "The syncer has no rights in the Namespace"
	// leftRunningMessage is for Revoked, with why nobody knows whether the copies are gone.
	leftRunningMessage = "The syncer has no rights in the Namespace; its copies may still run in the physical cluster: %s"
)

// assignedNamespace is a Namespace of the workspace as its Assignment has it, and what has become of it in this pass.
type assignedNamespace struct {
	// Assignment is the record, as it was read. It is not changed.
	Assignment *workloadv1alpha1.Assignment
	// Name of the Namespace.
	Name  string
	State namespaceState
	// Message says what is in the way; empty for nothing.
	Message string
	// granted: the syncer has its rights in the workspace, as this pass has seen or made sure of before.
	granted bool
	// outdated: the Assignment is another by now, so nothing is written to it. The event of that brings the next pass.
	outdated bool
}

// namespacePlan is what is to become of the assigned Namespaces. The zero value knows of none, and leaves all as they are.
type namespacePlan struct {
	// listed: the Assignments are known.
	listed bool
	// planned: the states are those that they are to have. Otherwise nothing is written to the Assignments.
	planned bool
	items   []*assignedNamespace
	// labels of the assigned Namespaces that the workspace shows, by name.
	labels map[string]map[string]string
	// awaitsDeletion: a downstream Namespace that the syncer needs, or a RoleBinding that it needs no more, is still being deleted.
	awaitsDeletion bool
	// closeError is why the syncer's rights in a Namespace that it has left could not be taken back. It is tried again.
	closeError error
}

// isAdmitted reports whether the syncer has its rights by an Assignment.
func isAdmitted(a *workloadv1alpha1.Assignment) bool {
	return meta.IsStatusConditionTrue(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
}

// isRestored reports whether an Assignment was lost and made anew, and does not tell yet of the rights, which the lost one has given.
func isRestored(a *workloadv1alpha1.Assignment) bool {
	if a.Annotations[workloadv1alpha1.AnnotationRestored] == "" {
		return false
	}
	admitted := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	return admitted == nil || admitted.Status == metav1.ConditionFalse &&
		admitted.Reason != workloadv1alpha1.ReasonRevoking && admitted.Reason != workloadv1alpha1.ReasonRevoked
}

// hasLeft reports whether nothing of the syncer is left by an Assignment: it was never let in, or its rights were taken back, or it
// has reported so at the present epoch. Admitted is False only where it was never let in or has left; it is Unknown from when the
// controller begins to release the Namespace in its place.
func hasLeft(a *workloadv1alpha1.Assignment) bool {
	admitted := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	if !isRestored(a) && (admitted == nil || admitted.Status == metav1.ConditionFalse) {
		return true
	}
	return isWithdrawal(a) && isWithdrawn(a)
}

// isWithdrawn reports whether the syncer says that nothing of its own is left in a Namespace, at the present epoch.
func isWithdrawn(a *workloadv1alpha1.Assignment) bool {
	return a.Status.ObservedEpoch == a.Spec.Epoch && meta.IsStatusConditionTrue(a.Status.Conditions, workloadv1alpha1.ConditionWithdrawn)
}

// hasStarted reports whether the syncer may have made something of a Namespace.
func hasStarted(a *workloadv1alpha1.Assignment) bool {
	return a.Status.ObservedEpoch > 0 || a.Annotations[workloadv1alpha1.AnnotationRestored] != ""
}

// isWithdrawal reports whether a Namespace is to leave the SyncTarget.
func isWithdrawal(a *workloadv1alpha1.Assignment) bool {
	return a.Spec.Intent != workloadv1alpha1.IntentRun
}

// hasLeftWithdrawn reports whether the syncer's rights are to be taken back while the SyncTarget lives.
func hasLeftWithdrawn(a *workloadv1alpha1.Assignment) bool { return isWithdrawal(a) && hasLeft(a) }

// isRevoked reports whether an Assignment says that nothing is left to do for its present generation. After a change of it, something
// may have been given of which a lost write does not tell.
func isRevoked(a *workloadv1alpha1.Assignment) bool {
	admitted := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	return admitted != nil && admitted.Status == metav1.ConditionFalse && admitted.Reason == workloadv1alpha1.ReasonRevoked &&
		admitted.ObservedGeneration == a.Generation
}

// returns reports whether a Namespace is to run again that the syncer has reported to have left, and no pass has seen since that its
// rights stand.
func returns(a *workloadv1alpha1.Assignment) bool {
	admitted := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	return !isWithdrawal(a) && admitted != nil && admitted.ObservedGeneration != a.Generation &&
		meta.IsStatusConditionTrue(a.Status.Conditions, workloadv1alpha1.ConditionWithdrawn)
}

// withdrawalState is how far the end of a Namespace is by its Assignment.
func withdrawalState(a *workloadv1alpha1.Assignment) namespaceState {
	switch {
	case isRevoked(a):
		return namespaceRevoked
	case hasLeft(a):
		return namespaceDrained
	}
	return namespaceDraining
}

// clone returns a plan whose items can be changed without changing those of p.
func (p namespacePlan) clone() namespacePlan {
	p.items = slices.Clone(p.items)
	for i, n := range p.items {
		changed := *n
		p.items[i] = &changed
	}
	return p
}

// mergeGranted takes over from a clone of the plan in which of the Namespaces the syncer was given its rights in the workspace. One in
// which it was not is not opened.
func (p namespacePlan) mergeGranted(clone namespacePlan) {
	for i, n := range clone.items {
		switch {
		case n.Message != "":
			p.items[i].Message, p.items[i].State = n.Message, n.State
		case !n.granted && p.items[i].State == namespaceOpen:
			p.items[i].State = n.State
		}
	}
}

// in returns the Namespaces in one of these states.
func (p namespacePlan) in(states ...namespaceState) (found []*assignedNamespace) {
	for _, n := range p.items {
		if slices.Contains(states, n.State) {
			found = append(found, n)
		}
	}
	return found
}

// isUnsettled reports whether a Namespace is still to be opened, or its rights are still to be taken back.
func (p namespacePlan) isUnsettled() bool {
	return p.awaitsDeletion || len(p.in(namespaceOpening, namespaceReopening, namespaceCleaningUp)) > 0 ||
		slices.ContainsFunc(p.in(namespaceOpen), func(n *assignedNamespace) bool { return n.Message != "" })
}

// admitted are the Namespaces that the syncer is, or is to be, let into: first those that wait for it.
func (p namespacePlan) admitted() []*assignedNamespace {
	return append(p.in(namespaceOpening, namespaceReopening), p.in(namespaceOpen)...)
}

// downstreamInput is what the downstream Namespace of a Namespace follows from: the labels that it carries, as far as they are known.
func (p namespacePlan) downstreamInput(namespace string) string {
	labels, known := p.labels[namespace]
	if !known {
		return ""
	}
	return fmt.Sprint(agent.CarriedLabels(labels)) // which prints a map in the order of its keys
}

// hasDownstream reports whether a Namespace has, or is to have, a downstream Namespace.
func (p namespacePlan) hasDownstream(namespace string) bool {
	needed := p.in(namespaceOpening, namespaceReopening, namespaceOpen, namespaceDraining, namespaceReleasing, namespaceDrained)
	return slices.ContainsFunc(needed, func(n *assignedNamespace) bool { return n.Name == namespace })
}

// clearing is the Namespace of this name of which the downstream Namespace is to be removed; nil for none.
func (p namespacePlan) clearing(namespace string) *assignedNamespace {
	for _, n := range p.in(namespaceCleaningUp) {
		if n.Name == namespace {
			return n
		}
	}
	return nil
}

// pending are the Namespaces for which something is left to do before the SyncTarget can go.
func (p namespacePlan) pending() []*assignedNamespace {
	return slices.DeleteFunc(slices.Clone(p.items), func(n *assignedNamespace) bool { return n.State == namespaceRevoked })
}

// undrained are those of them in which the syncer has, or may have, its rights.
func (p namespacePlan) undrained() []*assignedNamespace {
	return slices.DeleteFunc(p.pending(), func(n *assignedNamespace) bool { return n.State == namespaceCleaningUp })
}

// undrainedNames are their names.
func (p namespacePlan) undrainedNames() (names []string) {
	for _, n := range p.undrained() {
		names = append(names, n.Name)
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// reportSilence says of the Namespaces that only the syncer can leave that it does not: its finalizer stays on what is in them
// for as long as the SyncTarget is there.
func (p namespacePlan) reportSilence(finalizer string) {
	for _, n := range p.in(namespaceDraining) {
		if n.Message == "" {
			n.Message = fmt.Sprintf("the syncer, which is silent, has yet to remove the copies and to take its finalizer %q off the objects; bring it back, as the condition Ready says, or delete the SyncTarget",
				finalizer)
		}
	}
}

// setObstacle sets the message to an error that concerns this Namespace alone, and returns every other error: that there was no
// answer, one that passes by itself, and that of a server that does not know us.
func (n *assignedNamespace) setObstacle(err error) error {
	var foreign *agent.ForeignError
	var terminating *agent.TerminatingError
	switch {
	case err == nil:
	case errors.As(err, &foreign), errors.As(err, &terminating), concernsObject(err) && !apierrors.IsUnauthorized(err):
		n.Message = sanitize.Truncate(err.Error(), maxMessage)
	default:
		return err
	}
	return nil
}
