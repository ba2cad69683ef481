package synctarget

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/conditions"
	"github.com/synctarget/synctarget/pkg/sanitize"
)

// maxMessage keeps a condition readable and within the API's limit of 32768 characters.
const maxMessage = 1024

// phaseConditions are those that the phases decide, in their order.
var phaseConditions = []string{workloadv1alpha1.ConditionValid, workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ConditionReady}

// setStatus turns what a pass has decided into the status that the controller owns.
func (r *Reconciler) setStatus(target *workloadv1alpha1.SyncTarget, s *scope, found findings, verdicts map[string]verdict) {
	status := &target.Status
	status.Key = s.key
	status.ClusterID = found.clusterID
	if found.credentials != nil {
		status.Credentials = found.credentials
	}
	status.ObservedGeneration = target.Generation
	now := metav1.NewTime(r.Clock.Now()).Rfc3339Copy()
	lasting := r.transientErrors.observe(target.UID, hasTransientFailure(verdicts), r.Clock.Now()) >= transientErrorTime
	for _, condition := range phaseConditions {
		v, has := verdicts[condition]
		keepsEarlier := v.certainty == pending || v.certainty == transientFailure && !lasting
		if !has || keepsEarlier && meta.FindStatusCondition(status.Conditions, condition) != nil {
			continue
		}
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: condition, Status: v.status, Reason: v.reason, Message: sanitize.Truncate(v.message, maxMessage),
			ObservedGeneration: target.Generation, LastTransitionTime: now,
		})
	}
	if v, has := syncedVerdict(target, s.key, found.namespaces); has {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: workloadv1alpha1.ConditionSynced, Status: v.status, Reason: v.reason, Message: sanitize.Truncate(v.message, maxMessage),
			ObservedGeneration: target.Generation, LastTransitionTime: now,
		})
	} else if found.namespaces.listed {
		meta.RemoveStatusCondition(&status.Conditions, workloadv1alpha1.ConditionSynced)
	}
	conditions.SetProgress(&status.Conditions, target.Generation, now, phaseConditions, stalls)
	if due := r.heartbeat(s).reportDue(target, isReady(target) != isReady(s.target), r.Clock.Now(), r.HeartbeatStatusInterval); due != nil {
		status.LastHeartbeatTime = due
	}
	status.Phase = phaseOf(target)
}

func isReady(target *workloadv1alpha1.SyncTarget) bool {
	return meta.IsStatusConditionTrue(target.Status.Conditions, workloadv1alpha1.ConditionReady)
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

// updateStatus is the one status write of a pass; it sends nothing when nothing changed. If the SyncTarget has changed during the
// pass, but nothing that the pass rests on, it writes to the SyncTarget as it is now.
func (r *Reconciler) updateStatus(ctx context.Context, s *scope, found findings, verdicts map[string]verdict) error {
	err := r.writeStatus(ctx, s, s.target, found, verdicts)
	if !apierrors.IsConflict(err) {
		return err
	}
	live, readErr := s.live(ctx)
	if readErr != nil || !restsOnSame(s.target, live, endsReady(s.target, verdicts)) {
		return err
	}
	return r.writeStatus(ctx, s, live, found, verdicts)
}

// endsReady reports whether the verdicts end a condition Ready that is True.
func endsReady(target *workloadv1alpha1.SyncTarget, verdicts map[string]verdict) bool {
	v, has := verdicts[workloadv1alpha1.ConditionReady]
	return has && !v.ok() && isReady(target)
}

// restsOnSame reports whether two states of a SyncTarget differ at most in the counts and taints that the scheduler writes, on which
// nothing here rests, and in what the syncer's report on its resources says but for which it has yet to leave: on that the condition
// Synced alone rests, and each write decides it anew. A later heartbeat counts only where onHeartbeat is set, as for a pass that found
// none: a syncer without a Lease writes to the SyncTarget more often than a slow kcp lets a pass end.
func restsOnSame(a, b *workloadv1alpha1.SyncTarget, onHeartbeat bool) bool {
	comparable := func(target *workloadv1alpha1.SyncTarget) *workloadv1alpha1.SyncTarget {
		target = target.DeepCopy()
		target.ResourceVersion, target.ManagedFields = "", nil
		target.Status.Taints, target.Status.Assignments, target.Status.Drain, target.Status.SyncedResources = nil, nil, nil, nil
		if !onHeartbeat && target.Status.LastHeartbeatTime != nil {
			target.Status.LastHeartbeatTime = &metav1.Time{} // that there was one counts
		}
		return target
	}
	return equality.Semantic.DeepEqual(comparable(a), comparable(b)) && slices.Equal(a.Leaving(), b.Leaving())
}

// writeStatus writes what has changed to the SyncTarget as it was read. The resource version makes the write fail when that is old.
// The fields that others write do not differ and so are not in the patch.
func (r *Reconciler) writeStatus(
	ctx context.Context, s *scope, before *workloadv1alpha1.SyncTarget, found findings, verdicts map[string]verdict,
) error {
	after := before.DeepCopy()
	r.setStatus(after, s, found, verdicts)
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return nil
	}
	if written := after.Status.LastHeartbeatTime; written != nil && !written.Equal(before.Status.LastHeartbeatTime) {
		r.heartbeats.reporting(after.UID, before.Status.LastHeartbeatTime, written.Time)
	}
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
		if conditions.IsProgress(now.Type) {
			continue
		}
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
	if before.Status.Phase != workloadv1alpha1.PhaseReady && after.Status.Phase == workloadv1alpha1.PhaseReady &&
		meta.FindStatusCondition(before.Status.Conditions, workloadv1alpha1.ConditionReady) != nil && !leftPending(before) {
		r.Metrics.becameReady(r.Clock.Since(after.CreationTimestamp.Time))
	}
}

// leftPending reports whether the target left Pending before.
func leftPending(target *workloadv1alpha1.SyncTarget) bool {
	return target.Status.Phase == workloadv1alpha1.PhaseNotReady
}

// isFault reports whether someone should look into a condition: it is neither in order nor merely under way.
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

// stalls reports whether time alone does not make a condition True: of an outage of kcp or of the cluster's API server it may.
func stalls(c metav1.Condition) bool {
	switch c.Reason {
	case workloadv1alpha1.ReasonClusterUnreachable, workloadv1alpha1.ReasonHealthEvaluationPaused, workloadv1alpha1.ReasonHealthCheckFailed:
		return false
	}
	return isFault(c.Reason)
}

// paragraph joins sentences, as many as there is room for, and says how many more there are.
func paragraph(sentences []string, limit int) string {
	const room = 20 // for the last words
	text := sanitize.Truncate(sentences[0], limit-room)
	for i, sentence := range sentences[1:] {
		if len([]rune(text))+len([]rune(sentence)) > limit-room {
			return fmt.Sprintf("%s. And %d more", text, len(sentences)-1-i)
		}
		text += ". " + sentence
	}
	return text
}
