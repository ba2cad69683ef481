package synctarget

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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

// maxNamespaces is the API's limit for status.namespaces.
const maxNamespaces = 1024

// planNamespaces compares the labels in the workspace with the status and sets s.namespaces.
func (r *Reconciler) planNamespaces(ctx context.Context, s *scope) error {
	labelled, err := labelledNamespaces(ctx, s)
	if err != nil {
		return err
	}
	plan := make([]workloadv1alpha1.NamespaceStatus, 0, len(labelled))
	for _, n := range s.target.Status.Namespaces {
		refusal, wanted := labelled[n.Name]
		delete(labelled, n.Name)
		switch {
		case n.State == workloadv1alpha1.NamespaceRefused && !wanted:
			continue
		case n.State == workloadv1alpha1.NamespaceRefused:
			n = opening(n.Name, refusal)
		case wanted && refusal == "" && n.State == workloadv1alpha1.NamespaceClosing:
			// It was not yet left: the rights are still there.
			n.State, n.Message = workloadv1alpha1.NamespaceOpen, ""
		case wanted && refusal == "":
			n.Message = ""
		case n.State == workloadv1alpha1.NamespaceClosing:
			n.Message = refusal
		default:
			if !wanted {
				if wanted, err = r.stillOpen(ctx, s, n.Name); err != nil {
					return err
				}
			}
			if !wanted || refusal != "" {
				n.State, n.Message = workloadv1alpha1.NamespaceClosing, refusal
			}
		}
		plan = append(plan, n)
	}
	for _, name := range slices.Sorted(maps.Keys(labelled)) {
		if len(plan) < maxNamespaces {
			plan = append(plan, opening(name, labelled[name]))
		}
	}
	s.namespaces, s.planned = plan, true
	return nil
}

func opening(name, refusal string) workloadv1alpha1.NamespaceStatus {
	if refusal != "" {
		return workloadv1alpha1.NamespaceStatus{Name: name, State: workloadv1alpha1.NamespaceRefused, Message: refusal}
	}
	return workloadv1alpha1.NamespaceStatus{Name: name, State: workloadv1alpha1.NamespaceOpening}
}

// labelledNamespaces are those that carry the label of this target, with the reason to refuse each, empty for none.
func labelledNamespaces(ctx context.Context, s *scope) (map[string]string, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := s.cached.List(ctx, list, client.MatchingLabels{workloadv1alpha1.StateLabel(s.key): workloadv1alpha1.StateSync}); err != nil {
		return nil, fmt.Errorf("listing the opened Namespaces: %w", err)
	}
	labelled := map[string]string{}
	if len(list.Items) == 0 {
		return labelled, nil
	}
	var targets workloadv1alpha1.SyncTargetList
	if err := s.cached.List(ctx, &targets); err != nil {
		return nil, fmt.Errorf("listing the workspace's SyncTargets: %w", err)
	}
	for i := range list.Items {
		if namespace := &list.Items[i]; namespace.DeletionTimestamp == nil {
			labelled[namespace.Name] = refusalOf(namespace, targets.Items)
		}
	}
	return labelled, nil
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

// admit lets the syncer into the opened Namespaces of the workspace.
func (r *Reconciler) admit(ctx context.Context, s *scope, cfg agent.Config) error {
	for n := range s.admitted() {
		_, err := agent.Apply(ctx, s.upstream, agent.Grant(cfg, n.Name), workloadv1alpha1.FieldOwnerController)
		if err := n.obstructed(err); err != nil {
			return err
		}
		if s.pullMode() && n.Message == "" {
			n.State = workloadv1alpha1.NamespaceOpen
		}
	}
	return nil
}

// furnish makes the counterparts of the opened Namespaces in the physical cluster.
func (r *Reconciler) furnish(ctx context.Context, s *scope, cfg agent.Config, cluster physicalCluster) error {
	for n := range s.admitted() {
		if n.Message != "" {
			continue
		}
		objects := agent.Counterpart(cfg, n.Name)
		changed, err := agent.Apply(ctx, cluster.Client(), objects, workloadv1alpha1.FieldOwnerController)
		r.Metrics.applied(changed, err)
		if err := n.obstructed(err); err != nil {
			return err
		}
		if n.Message != "" {
			continue
		}
		n.State = workloadv1alpha1.NamespaceOpen
		// The binding goes with its Namespace.
		if err := cluster.Watch(objects[len(objects)-1]); err != nil {
			return fmt.Errorf("watching what is installed: %w", err)
		}
	}
	return nil
}

// admitted are the Namespaces that the syncer is, or is to be, let into.
func (s *scope) admitted() func(yield func(*openedNamespace) bool) {
	return func(yield func(*openedNamespace) bool) {
		for i := range s.namespaces {
			n := (*openedNamespace)(&s.namespaces[i])
			if (n.State == workloadv1alpha1.NamespaceOpening || n.State == workloadv1alpha1.NamespaceOpen) && !yield(n) {
				return
			}
		}
	}
}

type openedNamespace workloadv1alpha1.NamespaceStatus

// obstructed notes what concerns this Namespace alone, and returns every other error.
func (n *openedNamespace) obstructed(err error) error {
	var foreign *agent.ForeignError
	var terminating *agent.TerminatingError
	switch {
	case errors.As(err, &foreign), errors.As(err, &terminating), apierrors.IsNotFound(err):
		n.Message = truncate(err.Error(), maxMessage)
		return nil
	}
	return err
}

// closeNamespaces takes the syncer's rights in the closing Namespaces of the workspace back, where it has left nothing of
// its own or was never let in. What the syncer and we ourselves have said of that is read live.
func (r *Reconciler) closeNamespaces(ctx context.Context, s *scope) error {
	if !slices.ContainsFunc(s.namespaces, isClosing) {
		return nil
	}
	var live workloadv1alpha1.SyncTarget
	if err := s.upstream.Get(ctx, client.ObjectKeyFromObject(s.target), &live); err != nil {
		return fmt.Errorf("reading SyncTarget %q: %w", s.target.Name, err)
	}
	wasOpening := func(name string) bool {
		return slices.ContainsFunc(live.Status.Namespaces, func(n workloadv1alpha1.NamespaceStatus) bool {
			return n.Name == name && n.State == workloadv1alpha1.NamespaceOpening
		})
	}
	for _, n := range slices.Clone(s.namespaces) {
		if !isClosing(n) || live.UID != s.target.UID || !slices.Contains(live.Status.DrainedNamespaces, n.Name) && !wasOpening(n.Name) {
			continue
		}
		if err := r.revoke(ctx, s, n.Name); err != nil {
			return err
		}
	}
	return nil
}

// revoke ends a Namespace.
func (r *Reconciler) revoke(ctx context.Context, s *scope, name string) error {
	_, done, err := agent.Revoke(ctx, s.upstream, s.target.Name, s.key, s.target.UID, name)
	if err != nil {
		return fmt.Errorf("taking the syncer's rights in Namespace %q back: %w", name, err)
	}
	if done {
		s.namespaces = slices.DeleteFunc(s.namespaces, func(n workloadv1alpha1.NamespaceStatus) bool { return n.Name == name })
	}
	return nil
}

func isClosing(n workloadv1alpha1.NamespaceStatus) bool {
	return n.State == workloadv1alpha1.NamespaceClosing
}

// unsettled tells whether a Namespace is still on its way.
func (s *scope) unsettled() bool {
	return slices.ContainsFunc(s.namespaces, func(n workloadv1alpha1.NamespaceStatus) bool {
		return n.State == workloadv1alpha1.NamespaceOpening || n.State == workloadv1alpha1.NamespaceOpen && n.Message != ""
	})
}

// openings is what an installation follows from: which Namespaces are opened.
func (s *scope) openings() string {
	var names []string
	for n := range s.admitted() {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// drain is the first step of a deletion: everything is closed, and the syncer given the time to remove its copies. Where
// there is no syncer any more, or the user waits no longer, or its token is about to end, the finalizers are taken off the users' objects for it.
func (r *Reconciler) drain(ctx context.Context, s *scope) (verdict, error) {
	s.namespaces, s.planned = nil, true
	for _, n := range s.target.Status.Namespaces {
		if n.State != workloadv1alpha1.NamespaceRefused {
			s.namespaces = append(s.namespaces, workloadv1alpha1.NamespaceStatus{Name: n.Name, State: workloadv1alpha1.NamespaceClosing})
		}
	}
	err := r.closeNamespaces(ctx, s)
	if err != nil {
		return verdict{}, err
	}
	silent := s.target.Status.LastHeartbeatTime == nil || r.Clock.Since(r.pulses.get(s.target).since()) >= r.HeartbeatThreshold
	if len(s.namespaces) > 0 && !silent && !s.letGo {
		// Where the whole workspace is being deleted, the syncer's token is good for seconds yet, and nobody gets another.
		if silent, err = r.identityEnds(ctx, s); err != nil {
			return verdict{}, err
		}
	}
	if silent || s.letGo {
		for _, n := range slices.Clone(s.namespaces) {
			if err := r.strip(ctx, s, n.Name); err != nil {
				return blocked(workloadv1alpha1.ReasonRemovalFailed, "The syncer is gone, and its finalizer %q cannot be taken off the objects in Namespace %q: %s",
					workloadv1alpha1.SyncerFinalizer(s.key), n.Name, err), nil
			}
			if err := r.revoke(ctx, s, n.Name); err != nil {
				return verdict{}, err
			}
		}
	}
	if len(s.namespaces) == 0 {
		return passed(workloadv1alpha1.ReasonRemoved, "Copies removed"), nil
	}
	return blocked(workloadv1alpha1.ReasonRemoving, "Waiting for the syncer to leave Namespace %q", s.namespaces[0].Name), nil
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
// has none there.
func (r *Reconciler) strip(ctx context.Context, s *scope, namespace string) error {
	granted, err := agent.Granted(ctx, s.upstream, s.target.Name, s.key, namespace)
	if err != nil || !granted {
		return err
	}
	var secret corev1.Secret
	name := client.ObjectKey{Namespace: workloadv1alpha1.SyncerNamespace(s.target.Name, s.key), Name: agent.TokenSecretName}
	if err := s.upstream.Get(ctx, name, &secret); err != nil {
		return fmt.Errorf("reading the syncer's token: %w", err)
	}
	return r.stripWith(ctx, r.agentConfig(s), secret.Data[corev1.ServiceAccountTokenKey], namespace)
}

func leftInNamespaces(s *scope) string {
	var names []string
	for _, n := range s.namespaces {
		names = append(names, n.Name)
	}
	if len(names) == 0 {
		names = []string{"(none)"}
	}
	return fmt.Sprintf("finalizer %q on the objects in Namespace %s of the workspace, and their copies in the physical cluster %q",
		workloadv1alpha1.SyncerFinalizer(s.key), strings.Join(names, ", "), s.target.Spec.Cluster)
}
