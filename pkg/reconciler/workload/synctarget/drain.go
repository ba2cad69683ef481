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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// stripTime is the share of a pass in which finalizers are taken off in the syncer's place. Where there are more, the rest has
// its turn in the next.
const stripTime = 30 * time.Second

// admission is the time between two tries to enter a workspace that has just admitted the service.
const admission = time.Second

// closeAll plans the end of those Namespaces that are chosen, and of none that is refused. What was said of one that is
// closing already is said anew if it still holds.
func (s *scope) closeAll(chosen func(workloadv1alpha1.NamespaceStatus) bool) {
	s.namespaces, s.planned = nil, true
	for _, n := range s.target.Status.Namespaces {
		if chosen(n) {
			n = workloadv1alpha1.NamespaceStatus{Name: n.Name, State: workloadv1alpha1.NamespaceClosing}
		}
		if isClosing(n) {
			n.Message = ""
		}
		if n.State != workloadv1alpha1.NamespaceRefused {
			s.namespaces = append(s.namespaces, n)
		}
	}
}

// drain is the first step of a deletion: the syncer is given the time to remove its copies. Where there is no syncer any
// more, or the user waits no longer, or its token is about to end, the finalizers are taken off the users' objects for it.
// Where its token has ended, as it does while a whole workspace is deleted and no controller runs, the service admits itself
// for that in its place.
func (r *Reconciler) drain(ctx context.Context, s *scope) (verdict, error) {
	s.closeAll(func(n workloadv1alpha1.NamespaceStatus) bool { return n.State == workloadv1alpha1.NamespaceOpening })
	if err := r.closeNamespaces(ctx, s); err != nil && !s.letGo {
		return verdict{}, err
	}
	if len(s.namespaces) == 0 {
		return drainVerdict(s), nil
	}
	waits, err := r.waitsForSyncer(ctx, s)
	if err != nil {
		return verdict{}, err
	}
	if waits {
		return drainVerdict(s), nil
	}
	return r.drainWithoutSyncer(ctx, s)
}

// drainVerdict is the verdict where nothing fails.
func drainVerdict(s *scope) verdict {
	if len(s.namespaces) == 0 {
		return passed(workloadv1alpha1.ReasonRemoved, "Copies removed")
	}
	if first := s.namespaces[0]; first.Message != "" {
		return blocked(workloadv1alpha1.ReasonRemoving, "Closing Namespace %q: %s", first.Name, first.Message)
	}
	return blocked(workloadv1alpha1.ReasonRemoving, "Waiting for the syncer to leave Namespace %q", s.namespaces[0].Name)
}

// waitsForSyncer tells whether the syncer is there and has time to remove its copies itself.
func (r *Reconciler) waitsForSyncer(ctx context.Context, s *scope) (bool, error) {
	if s.letGo || s.target.Status.LastHeartbeatTime == nil || r.isSilent(s) {
		return false, nil
	}
	// Where the whole workspace is being deleted, the syncer's token is good for seconds yet, and nobody gets another.
	ends, err := r.identityEnds(ctx, s)
	return !ends, err
}

// drainWithoutSyncer takes the syncer's finalizers off in its place.
func (r *Reconciler) drainWithoutSyncer(ctx context.Context, s *scope) (verdict, error) {
	waiting, fault, err := r.endNamespaces(ctx, s)
	if waiting != "" {
		v := blocked(workloadv1alpha1.ReasonRemoving, "Waiting for kcp %s", waiting).after(admission)
		v.begun = true
		return v, nil
	}
	if fault != "" || err != nil {
		return blocked(workloadv1alpha1.ReasonRemovalFailed, "%s", fault), err
	}
	return drainVerdict(s), nil
}

// endNamespaces does what the syncer can no longer do. One Namespace that fails keeps no other from its end. waiting says
// what kcp has yet to do for one; fault says what keeps the first that failed from being stripped; failure is
// the first error of taking rights back.
func (r *Reconciler) endNamespaces(ctx context.Context, s *scope) (waiting, fault string, failure error) {
	short, cancel := context.WithTimeout(ctx, stripTime)
	defer cancel()
	progress := false
	for _, n := range slices.Clone(s.namespaces) {
		soon, err := r.strip(short, s, n.Name)
		progress = progress || err == nil || errors.Is(err, agent.ErrUnfinished)
		anotherPass := short.Err() != nil && (progress || !s.abandoned())
		if awaited := r.stripAwaits(s, soon, err, anotherPass); awaited != "" {
			waiting = awaited
			continue
		}
		if err != nil {
			s.held = append(s.held, n.Name)
			fault = cmp.Or(fault, fmt.Sprintf("The syncer is gone, and its finalizer %q cannot be taken off the objects in Namespace %q: %s",
				workloadv1alpha1.SyncerFinalizer(s.key), n.Name, err))
			if !s.letGo {
				continue // with the syncer's rights, which are still needed
			}
		}
		failure = cmp.Or(failure, r.revoke(ctx, s, n.Name))
	}
	if s.standsIn && len(s.namespaces) == 0 {
		// Should this fail, it goes with the identity.
		failure = agent.Dismiss(ctx, s.upstream, s.target.Name, s.key)
	}
	return waiting, fault, failure
}

// stripAwaits says what kcp has yet to do before a Namespace can be stripped, empty where nothing is waited for. soon and
// err are what strip has returned. anotherPass tells whether the time of this pass has ended and the rest has its turn in
// the next.
func (r *Reconciler) stripAwaits(s *scope, soon bool, err error, anotherPass bool) string {
	switch {
	case errors.Is(err, agent.ErrUnfinished):
		return "to let the syncer's finalizer be taken off the many objects" // of which each pass leaves fewer
	case soon:
		return "to admit the service in the place of the syncer, whose token is no longer good"
	case err != nil && (s.letGo && isBusy(err) || anotherPass) && r.mayWait(s):
		return fmt.Sprintf("to let the syncer's finalizer be taken off: %s", err)
	}
	return ""
}

// isBusy tells an answer of kcp that is another a moment later: what is stripped halfway is not given up for it.
func isBusy(err error) bool {
	var answer apierrors.APIStatus
	return errors.As(err, &answer) && isHiccup(err)
}

// identityEnds tells whether the syncer's identity is being deleted, as it is with the whole workspace.
func (r *Reconciler) identityEnds(ctx context.Context, s *scope) (bool, error) {
	secret := secretMeta()
	name := client.ObjectKey{Namespace: workloadv1alpha1.SyncerNamespace(s.target.Name, s.key), Name: agent.TokenSecretName}
	if err := s.upstream.Get(ctx, name, secret); err != nil {
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, fmt.Errorf("reading the syncer's token: %w", err)
	}
	return secret.DeletionTimestamp != nil, nil
}

// strip takes the syncer's finalizer off the objects of a Namespace, with the rights of the syncer itself: the service
// has none there. Where the syncer's token is no longer good, the service is given them for that; waiting means that kcp
// does not know of it yet.
func (r *Reconciler) strip(ctx context.Context, s *scope, namespace string) (waiting bool, err error) {
	granted, err := agent.Granted(ctx, s.upstream, s.target.Name, s.key, namespace)
	if err != nil || !granted {
		return false, err
	}
	cfg := r.agentConfig(s)
	if !s.standsIn {
		refused, err := r.stripAsSyncer(ctx, s, cfg, namespace)
		if err != nil || !refused {
			return false, err
		}
		s.standsIn = true
	}
	return r.stripAsController(ctx, s, cfg, namespace)
}

// stripAsSyncer strips with the syncer's token. refused means that it is no longer good, or that there is none.
func (r *Reconciler) stripAsSyncer(ctx context.Context, s *scope, cfg agent.Config, namespace string) (refused bool, err error) {
	token, err := syncerToken(ctx, s)
	if err != nil {
		return false, err
	}
	if len(token) == 0 {
		return true, nil
	}
	err = r.stripWith(ctx, cfg, cfg.AsSyncer(token), namespace)
	if apierrors.IsUnauthorized(err) {
		return true, nil
	}
	return false, err
}

// stripAsController strips as the service, which is given the syncer's rights in the Namespace first.
func (r *Reconciler) stripAsController(ctx context.Context, s *scope, cfg agent.Config, namespace string) (waiting bool, err error) {
	user, err := r.self.user(ctx)
	if err != nil {
		return false, err
	}
	if err := agent.Admit(ctx, s.upstream, cfg, user, namespace); err != nil {
		return false, err
	}
	refusal := r.stripWith(ctx, cfg, r.self.in(s.clusterName), namespace)
	if !apierrors.IsForbidden(refusal) || !r.mayWait(s) {
		return false, refusal
	}
	since, err := agent.Admitted(ctx, s.upstream, s.target.Name, s.key)
	if err != nil || r.Clock.Since(since) < issuing {
		return err == nil, err
	}
	return false, refusal
}

// syncerToken is empty if there is none any more.
func syncerToken(ctx context.Context, s *scope) ([]byte, error) {
	var secret corev1.Secret
	name := client.ObjectKey{Namespace: workloadv1alpha1.SyncerNamespace(s.target.Name, s.key), Name: agent.TokenSecretName}
	if err := s.upstream.Get(ctx, name, &secret); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading the syncer's token: %w", err)
	}
	return secret.Data[corev1.ServiceAccountTokenKey], nil
}

// mayWait tells whether a deletion has time for one more look: as long as what settles has after the deadline, or after this
// process first tried to drain, whichever is later.
func (r *Reconciler) mayWait(s *scope) bool {
	due := r.deletions.start(s.target).Add(r.DeleteDeadline)
	tried := r.deletions.step(s.target, stepCopies).tried
	if tried.After(due) {
		due = tried
	}
	return tried.IsZero() || r.Clock.Since(due) < settling
}

func leftInNamespaces(s *scope) string {
	var left []string
	if len(s.held) > 0 {
		left = append(left, fmt.Sprintf("finalizer %q on the objects in Namespace %s of the workspace", workloadv1alpha1.SyncerFinalizer(s.key), strings.Join(s.held, ", ")))
	}
	var names []string
	for _, n := range s.namespaces {
		names = append(names, n.Name)
	}
	if len(names) > 0 {
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
