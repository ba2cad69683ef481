package synctarget

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// maxMessage keeps a condition readable and within the API's limit of 32768 characters.
const maxMessage = 1024

// setStatus turns verdicts into the status that the controller owns.
func (r *Reconciler) setStatus(target *workloadv1alpha1.SyncTarget, s *scope, verdicts map[string]verdict) {
	status := &target.Status
	status.Key = s.key
	status.ClusterID = s.clusterID
	status.ObservedGeneration = target.Generation
	if s.planned {
		status.Namespaces = boundMessages(s.told())
	}
	now := metav1.NewTime(r.Clock.Now()).Rfc3339Copy()
	lasting := r.hiccups.observe(target.UID, failedByHiccup(verdicts), r.Clock.Now()) >= hiccupTime
	for _, condition := range []string{workloadv1alpha1.ConditionValid, workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ConditionReady} {
		v, found := verdicts[condition]
		undecided := v.undecided && (!v.hiccup || !lasting)
		if !found || undecided && meta.FindStatusCondition(status.Conditions, condition) != nil {
			continue
		}
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: condition, Status: v.status, Reason: v.reason, Message: truncate(v.message, maxMessage),
			ObservedGeneration: target.Generation, LastTransitionTime: now,
		})
	}
	if v, found := syncedVerdict(target, s.key); found {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: workloadv1alpha1.ConditionSynced, Status: v.status, Reason: v.reason, Message: truncate(v.message, maxMessage),
			ObservedGeneration: target.Generation, LastTransitionTime: now,
		})
	} else {
		meta.RemoveStatusCondition(&status.Conditions, workloadv1alpha1.ConditionSynced)
	}
	status.Phase = phaseOf(target)
}

// phaseOf sums a SyncTarget up in a word, from its deletion, its Ready condition and its heartbeat alone.
func phaseOf(target *workloadv1alpha1.SyncTarget) workloadv1alpha1.SyncTargetPhase {
	switch {
	case !target.DeletionTimestamp.IsZero():
		return workloadv1alpha1.PhaseTerminating
	case meta.IsStatusConditionTrue(target.Status.Conditions, workloadv1alpha1.ConditionReady):
		return workloadv1alpha1.PhaseReady
	case target.Status.LastHeartbeatTime != nil:
		return workloadv1alpha1.PhaseNotReady
	default:
		return workloadv1alpha1.PhasePending
	}
}

// updateStatus is the one status write of a pass; it sends nothing when nothing changed.
func (r *Reconciler) updateStatus(ctx context.Context, s *scope, verdicts map[string]verdict) error {
	before, after := s.target, s.target.DeepCopy()
	r.setStatus(after, s, verdicts)
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return nil
	}
	// The resource version makes the write fail when the decision rests on an old object; the fields that the
	// syncer writes do not differ and so are not in the patch.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	changed := after.DeepCopy()
	if err := s.upstream.Status().Patch(ctx, changed, patch); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("updating the status of SyncTarget %q: %w", s.target.Name, err)
	}
	r.announce(s, before, after)
	return nil
}

// announce sends an Event for each condition that changed, and counts a first Ready.
func (r *Reconciler) announce(s *scope, before, after *workloadv1alpha1.SyncTarget) {
	for _, now := range after.Status.Conditions {
		was := meta.FindStatusCondition(before.Status.Conditions, now.Type)
		if was != nil && was.Status == now.Status && was.Reason == now.Reason {
			continue
		}
		eventType := corev1.EventTypeNormal
		if isFault(now.Reason) {
			eventType = corev1.EventTypeWarning
		}
		r.Events.Event(s.clusterName, after, eventType, now.Reason, now.Message)
	}
	for _, n := range after.Status.Namespaces {
		if n.State == workloadv1alpha1.NamespaceRefused && !slices.Contains(before.Status.Namespaces, n) {
			r.Events.Event(s.clusterName, after, corev1.EventTypeWarning, workloadv1alpha1.ReasonNamespaceRefused,
				fmt.Sprintf("Namespace %q is not synced: %s", n.Name, n.Message))
		}
	}
	if before.Status.Phase != workloadv1alpha1.PhaseReady && after.Status.Phase == workloadv1alpha1.PhaseReady &&
		meta.FindStatusCondition(before.Status.Conditions, workloadv1alpha1.ConditionReady) != nil && !wasReady(before) {
		r.Metrics.becameReady(r.Clock.Since(after.CreationTimestamp.Time))
	}
}

// wasReady tells whether the target left Pending before.
func wasReady(target *workloadv1alpha1.SyncTarget) bool {
	return target.Status.Phase == workloadv1alpha1.PhaseNotReady
}

// isFault tells what someone should look at from what is in order or merely under way.
func isFault(reason string) bool {
	switch reason {
	case workloadv1alpha1.ReasonValid, workloadv1alpha1.ReasonDeployed, workloadv1alpha1.ReasonReady, workloadv1alpha1.ReasonSynced,
		workloadv1alpha1.ReasonRollingOut, workloadv1alpha1.ReasonAwaitingInstall, workloadv1alpha1.ReasonAwaitingHeartbeat,
		workloadv1alpha1.ReasonRemoving, workloadv1alpha1.ReasonRemoved, workloadv1alpha1.ReasonTerminating,
		workloadv1alpha1.ReasonAwaitingReport:
		return false
	}
	return true
}

// boundMessages keeps the messages of many Namespaces from making the object too large to be stored.
func boundMessages(namespaces []workloadv1alpha1.NamespaceStatus) []workloadv1alpha1.NamespaceStatus {
	const room = 256 << 10
	size := 0
	for _, n := range namespaces {
		size += len(n.Message)
	}
	if size <= room {
		return namespaces
	}
	limit := room / utf8.UTFMax / len(namespaces)
	bounded := slices.Clone(namespaces)
	for i := range bounded {
		bounded[i].Message = truncate(bounded[i].Message, limit)
	}
	return bounded
}

func truncate(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}

// paragraph joins sentences, as many as there is room for, and says how many more there are.
func paragraph(sentences []string, limit int) string {
	const room = 20 // for the last words
	text := truncate(sentences[0], limit-room)
	for i, sentence := range sentences[1:] {
		if len([]rune(text))+len([]rune(sentence)) > limit-room {
			return fmt.Sprintf("%s. And %d more", text, len(sentences)-1-i)
		}
		text += ". " + sentence
	}
	return text
}
