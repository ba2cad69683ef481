package synctarget

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// A Namespace goes from Opening, when its label is seen, to Open, when the syncer has its rights on both sides, and from
// there to Closing, when the label is seen to be gone. It leaves the status when the syncer has reported it as drained
// and has been taken its rights in the workspace. So what is not Open is never begun, and what is not Closing is never
// ended: the syncer deletes nothing because a Namespace is absent.

// maxOpened is one less than the API's limit for status.namespaces: the last place tells of one that has no room.
const maxOpened = 1023

// followNamespaces opens and closes as far as the workspace alone is concerned. A Namespace that was deleted must not wait
// for a kubeconfig to be mended.
func (r *Reconciler) followNamespaces(ctx context.Context, s *scope) error {
	if !s.sighted {
		return nil
	}
	if err := r.planNamespaces(ctx, s); err != nil {
		return err
	}
	err := r.closeNamespaces(ctx, s)
	if r.isKnownSilent(s) {
		s.tellSilence()
	}
	if err != nil && concernsObject(err) {
		s.unclosed, err = err, nil // it is told on the Namespace, and keeps nothing else from being done
	}
	return err
}

// tellSilence says of the Namespaces that only the syncer can leave that it does not: its finalizers hold what is in them,
// for as long as the SyncTarget is there.
func (s *scope) tellSilence() {
	for i := range s.namespaces {
		if n := &s.namespaces[i]; n.Message == "" && slices.Contains(s.draining, n.Name) {
			n.Message = fmt.Sprintf("the syncer, which is silent, has yet to remove the copies and to take its finalizer %q off the objects; bring it back, as the condition Ready says, or delete the SyncTarget",
				workloadv1alpha1.SyncerFinalizer(s.key))
		}
	}
}

// planNamespaces compares the labels in the workspace with the status and sets s.namespaces and s.namespaceLabels.
func (r *Reconciler) planNamespaces(ctx context.Context, s *scope) error {
	labelled, labels, err := labelledNamespaces(ctx, s)
	if err != nil {
		return err
	}
	plan := make([]workloadv1alpha1.NamespaceStatus, 0, len(labelled))
	for _, n := range s.target.Status.Namespaces {
		if n.State == workloadv1alpha1.NamespaceRefused {
			continue // it is as if it were new
		}
		refusal, wanted := labelled[n.Name]
		delete(labelled, n.Name)
		if !wanted && !isClosing(n) {
			open, err := r.stillOpen(ctx, s, n.Name)
			if err != nil {
				return err
			}
			if open { // the cache does not show it yet
				plan = append(plan, n)
				continue
			}
		}
		plan = append(plan, planNamespace(n, wanted, refusal))
	}
	s.namespaces, s.namespaceLabels, s.planned = withNew(plan, labelled), labels, true
	return nil
}

// planNamespace decides what is to become of a Namespace that was not refused: wanted tells whether it carries the label,
// and refusal why it is refused nevertheless, empty for no reason.
func planNamespace(n workloadv1alpha1.NamespaceStatus, wanted bool, refusal string) workloadv1alpha1.NamespaceStatus {
	switch {
	case !wanted || refusal != "":
		n.State, n.Message = workloadv1alpha1.NamespaceClosing, refusal
	case isClosing(n):
		// It was not yet left: the rights are still there.
		n.State, n.Message = workloadv1alpha1.NamespaceOpen, ""
	default:
		n.Message = ""
	}
	return n
}

// withNew adds new ones to a plan, as many as there is room for, each with the reason to refuse it, empty for none.
func withNew(plan []workloadv1alpha1.NamespaceStatus, labelled map[string]string) []workloadv1alpha1.NamespaceStatus {
	for _, name := range slices.Sorted(maps.Keys(labelled)) {
		refusal := labelled[name]
		switch {
		case len(plan) > maxOpened:
			return plan
		case len(plan) == maxOpened:
			refusal = fmt.Sprintf("the SyncTarget has no room for more than %d Namespaces; close another, or open this one to another SyncTarget", maxOpened)
		}
		plan = append(plan, opening(name, refusal))
	}
	return plan
}

func opening(name, refusal string) workloadv1alpha1.NamespaceStatus {
	if refusal != "" {
		return workloadv1alpha1.NamespaceStatus{Name: name, State: workloadv1alpha1.NamespaceRefused, Message: refusal}
	}
	return workloadv1alpha1.NamespaceStatus{Name: name, State: workloadv1alpha1.NamespaceOpening}
}

// labelledNamespaces returns, by name, the Namespaces that carry the label of this target: the reason to refuse each, empty
// for none, and the labels of each.
func labelledNamespaces(ctx context.Context, s *scope) (labelled map[string]string, labels map[string]map[string]string, err error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := s.cached.List(ctx, list, client.MatchingLabels{workloadv1alpha1.StateLabel(s.key): workloadv1alpha1.StateSync}); err != nil {
		return nil, nil, fmt.Errorf("listing the opened Namespaces: %w", err)
	}
	labelled, labels = map[string]string{}, map[string]map[string]string{}
	if len(list.Items) == 0 {
		return labelled, labels, nil
	}
	var targets workloadv1alpha1.SyncTargetList
	if err := s.cached.List(ctx, &targets); err != nil {
		return nil, nil, fmt.Errorf("listing the workspace's SyncTargets: %w", err)
	}
	for i := range list.Items {
		if namespace := &list.Items[i]; namespace.DeletionTimestamp == nil {
			labelled[namespace.Name] = refusalOf(namespace, targets.Items)
			labels[namespace.Name] = namespace.Labels
		}
	}
	return labelled, labels, nil
}

// refusalOf says why a Namespace is not synced: what is in it would give somebody's credentials away.
func refusalOf(namespace *metav1.PartialObjectMetadata, targets []workloadv1alpha1.SyncTarget) string {
	if namespace.Labels[workloadv1alpha1.LabelKey] != "" {
		return "it holds the identity of a syncer, which is never synced"
	}
	for i := range targets {
		if ref := targets[i].Spec.KubeconfigSecretRef; ref != nil && ref.Namespace == namespace.Name {
			return fmt.Sprintf("it holds the kubeconfig of SyncTarget %q, which is never synced; keep kubeconfigs in a Namespace of their own", targets[i].Name)
		}
	}
	return ""
}

// stillOpen looks at a Namespace that the cache does not show as opened. One that cannot be seen may only be hidden from
// the service: it is gone when the syncer's rights in it, which are held, are gone too.
func (r *Reconciler) stillOpen(ctx context.Context, s *scope, name string) (bool, error) {
	namespace := namespaceMeta()
	err := s.upstream.Get(ctx, client.ObjectKey{Name: name}, namespace)
	if apierrors.IsNotFound(err) {
		return agent.Granted(ctx, s.upstream, s.target.Name, s.key, name)
	}
	if err != nil {
		return false, fmt.Errorf("reading Namespace %q: %w", name, err)
	}
	return namespace.DeletionTimestamp == nil && namespace.Labels[workloadv1alpha1.StateLabel(s.key)] == workloadv1alpha1.StateSync, nil
}

// closeNamespaces takes the syncer's rights in the closing Namespaces of the workspace back, where it has left nothing of
// its own or was never let in. What the syncer and we ourselves have said of that is read live. One that fails keeps no
// other from being closed.
func (r *Reconciler) closeNamespaces(ctx context.Context, s *scope) error {
	if !slices.ContainsFunc(s.namespaces, isClosing) {
		return nil
	}
	live, err := s.live(ctx)
	if err != nil {
		return err
	}
	var failures []error
	for _, n := range slices.Clone(s.namespaces) {
		said := stateIn(live, n.Name)
		// Of one that was open until now it may be an old report, which the syncer has yet to take back.
		drained := said == workloadv1alpha1.NamespaceClosing && slices.Contains(live.Status.DrainedNamespaces, n.Name)
		switch {
		case !isClosing(n) || live.UID != s.target.UID:
		case drained || said == workloadv1alpha1.NamespaceOpening:
			err := r.revoke(ctx, s, n.Name)
			if err != nil && concernsObject(err) {
				s.explain(n.Name, err.Error())
			}
			failures = append(failures, err)
		default:
			s.draining = append(s.draining, n.Name)
		}
	}
	return errors.Join(failures...)
}

// explain says on a Namespace what holds it up.
func (s *scope) explain(name, message string) {
	for i := range s.namespaces {
		if s.namespaces[i].Name == name {
			s.namespaces[i].Message = truncate(message, maxMessage)
		}
	}
}

// live is the SyncTarget as it is now.
func (s *scope) live(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	var live workloadv1alpha1.SyncTarget
	if err := s.upstream.Get(ctx, client.ObjectKeyFromObject(s.target), &live); err != nil {
		return nil, fmt.Errorf("reading SyncTarget %q: %w", s.target.Name, err)
	}
	return &live, nil
}

// stateIn is what a SyncTarget says of a Namespace; empty for nothing.
func stateIn(live *workloadv1alpha1.SyncTarget, name string) workloadv1alpha1.NamespaceState {
	for _, n := range live.Status.Namespaces {
		if n.Name == name {
			return n.State
		}
	}
	return ""
}

// revoke ends a Namespace, but for its counterpart, which is cleared away by the next look at everything: now.
func (r *Reconciler) revoke(ctx context.Context, s *scope, name string) error {
	waiting, done, err := agent.Revoke(ctx, s.upstream, s.target.Name, s.key, name)
	if err != nil {
		return fmt.Errorf("taking the syncer's rights in Namespace %q back: %w", name, err)
	}
	if !done {
		s.waiting = true
		s.explain(name, waiting)
		return nil
	}
	s.namespaces = slices.DeleteFunc(s.namespaces, func(n workloadv1alpha1.NamespaceStatus) bool { return n.Name == name })
	r.installed.forget(s.target.UID)
	return nil
}

func isOpen(n workloadv1alpha1.NamespaceStatus) bool {
	return n.State == workloadv1alpha1.NamespaceOpen
}

func isClosing(n workloadv1alpha1.NamespaceStatus) bool {
	return n.State == workloadv1alpha1.NamespaceClosing
}

// told are the Namespaces as they are told of. One that was never open has nothing that the syncer could leave: it is on its
// way in until its rights have been taken back, or they would be waited for in vain.
func (s *scope) told() []workloadv1alpha1.NamespaceStatus {
	told := slices.Clone(s.namespaces)
	for i := range told {
		if isClosing(told[i]) && stateIn(s.target, told[i].Name) == workloadv1alpha1.NamespaceOpening {
			told[i].State = workloadv1alpha1.NamespaceOpening
		}
	}
	return told
}

// unsettled tells whether a Namespace is still on its way.
func (s *scope) unsettled() bool {
	return s.waiting || slices.ContainsFunc(s.told(), func(n workloadv1alpha1.NamespaceStatus) bool {
		return n.State == workloadv1alpha1.NamespaceOpening || isOpen(n) && n.Message != ""
	})
}
