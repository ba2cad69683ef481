package synctarget

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// releaseTime is the share of a pass in which finalizers are removed in the syncer's place. Where there are more, the next pass goes
// on with the rest.
const releaseTime = 30 * time.Second

// accessRetry is the time between two attempts to enter a workspace that has just given the controller access.
const accessRetry = time.Second

// drainage is what drain returns beside its result.
type drainage struct {
	// namespaces are those that are assigned.
	namespaces namespacePlan
	// withFinalizers are those of them in which the syncer's finalizers could not be removed.
	withFinalizers []string
}

// drain is the first step of a deletion: the scheduler withdraws the Namespaces, and the syncer is given the time to remove its copies.
// Where there is no syncer any more, or the user waits no longer, or its token is about to end, its finalizers are removed from the
// users' objects for it, whatever the Assignments say. Where its token has ended, as it does while a whole workspace is deleted and no
// controller runs, the controller gives itself access for that in its place.
func (r *Reconciler) drain(ctx context.Context, s *scope, d deletion) (drainage, stepResult, error) {
	plan, err := planDraining(ctx, s)
	drained := drainage{namespaces: plan}
	if err != nil {
		return drained, stepResult{}, err
	}
	result, err := r.drainNamespaces(ctx, s, d, &drained)
	if unrecorded := r.writeAdmitted(ctx, s, drained.namespaces.items); err == nil && !d.isForced() {
		err = unrecorded
	}
	return drained, result, err
}

// planDraining decides, by the cache, how far the end of each assigned Namespace of a SyncTarget is that is being deleted. What the
// syncer was never let into is not waited for, though it is not withdrawn yet: nothing lets it in any more.
func planDraining(ctx context.Context, s *scope) (namespacePlan, error) {
	assignments, err := agent.Assignments(ctx, s.cached, s.target, s.key)
	if err != nil {
		return namespacePlan{}, err
	}
	plan := namespacePlan{listed: true, planned: true}
	for i := range assignments {
		a := &assignments[i]
		plan.items = append(plan.items, &assignedNamespace{Assignment: a, Name: a.Spec.Namespace.Name, State: withdrawalState(a)})
	}
	return plan, nil
}

// drainNamespaces takes the syncer's rights back where it has left, or waits no longer for it.
func (r *Reconciler) drainNamespaces(ctx context.Context, s *scope, d deletion, drained *drainage) (stepResult, error) {
	plan := &drained.namespaces
	if err := r.verifyRevoked(ctx, s, *plan); err != nil && !d.isForced() {
		return stepResult{}, err
	}
	if err := r.closeNamespaces(ctx, s, plan, hasLeft); err != nil && !d.isForced() {
		return stepResult{}, err
	}
	if len(plan.undrained()) == 0 {
		if err := r.addNamespacesWithRights(ctx, s, plan); err != nil && !d.isForced() {
			return stepResult{}, err
		}
	}
	if len(plan.undrained()) == 0 {
		return drainResult(*plan), nil
	}
	waits, err := r.waitsForSyncer(ctx, s, d)
	if err != nil {
		return stepResult{}, err
	}
	if waits {
		return drainResult(*plan), nil
	}
	released := r.releaseNamespaces(ctx, s, d, plan)
	drained.withFinalizers = released.withFinalizers
	return released.result(*plan)
}

// addNamespacesWithRights adds the Namespaces of the workspace in which the syncer has its rights though no Assignment names them:
// with a whole workspace its Assignments are deleted before the SyncTarget, and a Namespace that our finalizer holds would never
// end. They are searched until there is none: while a SyncTarget is deleted, no right is given.
func (r *Reconciler) addNamespacesWithRights(ctx context.Context, s *scope, plan *namespacePlan) error {
	if r.deletions.step(s.target, stepCopies).searched {
		return nil
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := s.cached.List(ctx, list); err != nil {
		return fmt.Errorf("listing the Namespaces of the workspace: %w", err)
	}
	var candidates []*assignedNamespace
	for i := range list.Items {
		name := list.Items[i].Name
		if slices.ContainsFunc(plan.items, func(n *assignedNamespace) bool { return n.Name == name }) {
			continue
		}
		unrecorded := &workloadv1alpha1.Assignment{Spec: workloadv1alpha1.AssignmentSpec{
			Namespace: workloadv1alpha1.ObjectReference{Name: name, UID: list.Items[i].UID}, Intent: workloadv1alpha1.IntentRun,
		}}
		candidates = append(candidates, &assignedNamespace{Assignment: unrecorded, Name: name, State: namespaceRevoked, outdated: true})
	}
	err := forEachNamespace(candidates, func(n *assignedNamespace) error {
		granted, err := agent.Granted(ctx, s.upstream, s.target.Name, s.key, n.Name)
		if granted {
			n.State = namespaceDraining
		}
		return err
	})
	found := slices.DeleteFunc(candidates, func(n *assignedNamespace) bool { return n.State == namespaceRevoked })
	plan.items = append(plan.items, found...)
	if err == nil && len(found) == 0 {
		record := r.deletions.step(s.target, stepCopies)
		record.searched = true
		r.deletions.setStep(s.target, stepCopies, record)
	}
	return err
}

// drainResult is the result where nothing fails.
func drainResult(plan namespacePlan) stepResult {
	undrained := plan.undrained()
	if len(undrained) == 0 {
		return stepDone("Copies removed")
	}
	switch first := undrained[0]; {
	case first.Message != "":
		return stepWaits(inProgress, "Closing Namespace %q: %s", first.Name, first.Message)
	case !isWithdrawal(first.Assignment):
		return stepWaits(inProgress, "Waiting for Namespace %q to be withdrawn; where another SyncTarget fits, it moves there first", first.Name)
	default:
		return stepWaits(inProgress, "Waiting for the syncer to leave Namespace %q", first.Name)
	}
}

// waitsForSyncer reports whether the syncer is there and has time to remove its copies itself.
func (r *Reconciler) waitsForSyncer(ctx context.Context, s *scope, d deletion) (bool, error) {
	if d.isForced() || !hasHeartbeat(&s.target.Status, r.heartbeat(s)) || r.isSilent(s) {
		return false, nil
	}
	// Where the whole workspace is being deleted, the syncer's token is good for seconds yet, and nobody gets another.
	ends, err := r.identityEnds(ctx, s)
	return !ends, err
}

// release is what has come of releasing Namespaces in the syncer's place.
type release struct {
	// waiting is what kcp has yet to do for one of them.
	waiting string
	// fault is why the syncer's finalizers could not be removed from the first that failed, and withFinalizers are all that failed.
	fault          string
	withFinalizers []string
	// err is the first error of taking rights back.
	err error
}

// result is that of the step, with the Namespaces that have yet to be closed.
func (r release) result(plan namespacePlan) (stepResult, error) {
	switch {
	case r.waiting != "":
		return stepContinues(accessRetry, "Waiting for kcp %s", r.waiting), nil
	case r.err != nil:
		return stepResult{}, r.err
	case r.fault != "":
		return stepFailed("%s", r.fault), nil
	}
	return drainResult(plan), nil
}

// releaseNamespaces does what the syncer can no longer do. The failure of one does not stop the others.
func (r *Reconciler) releaseNamespaces(ctx context.Context, s *scope, d deletion, plan *namespacePlan) (out release) {
	short, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	progress, asController := false, false
	if out.err = r.announceRelease(ctx, s, plan); out.err != nil {
		return out
	}
	for _, n := range plan.undrained() {
		name := n.Name
		access, err := r.removeFinalizers(short, s, d, name, asController)
		asController = asController || access != asSyncer
		progress = progress || err == nil || errors.Is(err, agent.ErrUnfinished)
		anotherPass := short.Err() != nil && (progress || d.urgency != abandonedByUser)
		if waiting := r.releaseAwaits(s, d, access, err, anotherPass); waiting != "" {
			out.waiting = waiting
			continue
		}
		if err != nil {
			out.withFinalizers = append(out.withFinalizers, name)
			out.fault = cmp.Or(out.fault, fmt.Sprintf("The syncer is gone, and its finalizer %q cannot be taken off the objects in Namespace %q: %s",
				workloadv1alpha1.SyncerFinalizer(s.key), name, err))
			if !d.isForced() {
				continue // with the syncer's rights, which are still needed
			}
		}
		out.err = cmp.Or(out.err, r.revoke(ctx, s, n))
	}
	if asController && len(plan.undrained()) == 0 {
		// Should this fail, it goes with the identity.
		out.err = agent.Dismiss(ctx, s.upstream, s.target.Name, s.key)
	}
	return out
}

// announceRelease tells a syncer that may be well all the same that the controller acts in its place: where it believes to be let in,
// it would add its finalizers again. An answer of kcp that is final, as to a status that it does not store, keeps nothing from its end.
func (r *Reconciler) announceRelease(ctx context.Context, s *scope, plan *namespacePlan) error {
	running := slices.DeleteFunc(plan.in(namespaceDraining), func(n *assignedNamespace) bool { return isWithdrawal(n.Assignment) })
	for _, n := range running {
		n.State = namespaceReleasing
	}
	if err := r.writeAdmitted(ctx, s, running); err != nil && isTransient(err) {
		return err
	}
	return nil
}

// releaseAwaits says what kcp has yet to do before finalizers can be removed from a Namespace, empty where nothing is waited for.
// access and err are what removeFinalizers has returned. anotherPass reports whether the time of this pass has ended and the next
// goes on with the rest.
func (r *Reconciler) releaseAwaits(s *scope, d deletion, access workspaceAccess, err error, anotherPass bool) string {
	switch {
	case errors.Is(err, agent.ErrUnfinished):
		return "to let the syncer's finalizer be taken off the many objects" // of which each pass leaves fewer
	case access == accessPending:
		return "to admit the service in the place of the syncer, whose token is no longer good"
	case err != nil && (d.isForced() && isBusy(err) || anotherPass) && r.hasTimeToDrain(s, d):
		return fmt.Sprintf("to let the syncer's finalizer be taken off: %s", err)
	}
	return ""
}

// isBusy reports whether kcp has given an answer that may be another a moment later: a Namespace that is released halfway is not
// abandoned for it.
func isBusy(err error) bool {
	return isAnswer(err) && isTransient(err)
}

// identityEnds reports whether the syncer's identity is being deleted, as it is with the whole workspace: then no token stays.
func (r *Reconciler) identityEnds(ctx context.Context, s *scope) (bool, error) {
	tokens, _, err := readTokens(ctx, s)
	return len(tokens) == 0, err
}

// workspaceAccess is with whose rights the controller enters a workspace to remove the syncer's finalizers.
type workspaceAccess int

const (
	// asSyncer: with the syncer's token. The controller has no rights there itself.
	asSyncer workspaceAccess = iota
	// ownAccess: the syncer's token is no longer good, and the controller was given the syncer's rights.
	ownAccess
	// accessPending: as ownAccess, and kcp does not know of it yet.
	accessPending
)

// removeFinalizers removes the syncer's finalizer from the objects of a Namespace. asController is set where the syncer's token
// is known to be no longer good.
func (r *Reconciler) removeFinalizers(ctx context.Context, s *scope, d deletion, namespace string, asController bool) (workspaceAccess, error) {
	granted, err := agent.Granted(ctx, s.upstream, s.target.Name, s.key, namespace)
	if err != nil || !granted {
		return asSyncer, err
	}
	cfg := r.agentConfig(s, nil)
	if !asController {
		refused, err := r.removeFinalizersAsSyncer(ctx, s, cfg, namespace)
		if err != nil || !refused {
			return asSyncer, err
		}
	}
	return r.removeFinalizersAsController(ctx, s, d, cfg, namespace)
}

// removeFinalizersAsSyncer uses the syncer's token. refused means that none is good any more, or that there is none.
func (r *Reconciler) removeFinalizersAsSyncer(ctx context.Context, s *scope, cfg agent.Config, namespace string) (refused bool, err error) {
	tokens, err := agent.ReadTokens(ctx, s.upstream, s.target.Name, s.key, s.target.UID)
	if err != nil {
		return false, err
	}
	for _, token := range tokens {
		if len(token.Value) == 0 {
			continue
		}
		err := r.stripWith(ctx, cfg, cfg.AsSyncer(token.Value), namespace)
		if !apierrors.IsUnauthorized(err) {
			return false, err
		}
	}
	return true, nil
}

// removeFinalizersAsController uses the controller's own user, which is given the syncer's rights in the Namespace first.
func (r *Reconciler) removeFinalizersAsController(ctx context.Context, s *scope, d deletion, cfg agent.Config, namespace string) (workspaceAccess, error) {
	user, err := r.ownUser.user(ctx)
	if err != nil {
		return ownAccess, err
	}
	if err := agent.Admit(ctx, s.upstream, cfg, user, namespace); err != nil {
		return ownAccess, err
	}
	refusal := r.stripWith(ctx, cfg, r.ownUser.in(s.clusterName), namespace)
	if !apierrors.IsForbidden(refusal) || !r.hasTimeToDrain(s, d) {
		return ownAccess, refusal
	}
	since, err := agent.Admitted(ctx, s.upstream, s.target.Name, s.key)
	switch {
	case err != nil:
		return ownAccess, err
	case r.Clock.Since(since) < issuing:
		return accessPending, nil
	}
	return ownAccess, refusal
}

// hasTimeToDrain reports whether a deletion has time for another attempt to drain.
func (r *Reconciler) hasTimeToDrain(s *scope, d deletion) bool {
	return d.hasTime(r.deletions.step(s.target, stepCopies).tried, r.Clock.Now())
}

func leftInNamespaces(s *scope, removed removal) string {
	var left []string
	if len(removed.withFinalizers) > 0 {
		left = append(left, fmt.Sprintf("finalizer %q on the objects in Namespace %s of the workspace", workloadv1alpha1.SyncerFinalizer(s.key), strings.Join(removed.withFinalizers, ", ")))
	}
	if names := removed.namespaces.undrainedNames(); len(names) > 0 {
		left = append(left, fmt.Sprintf("RoleBinding %q in Namespace %s of the workspace", workloadv1alpha1.SyncerNamespace(s.target.Name, s.key), strings.Join(names, ", ")))
	}
	if s.pullMode() {
		left = append(left, fmt.Sprintf("the copies of what was synced in the physical cluster %q", s.target.Spec.Cluster))
	}
	if len(left) == 0 {
		return "nothing"
	}
	return strings.Join(left, ", and ")
}
