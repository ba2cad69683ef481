package synctarget

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/sanitize"
)

// The condition Admitted of Assignments is the record of what the syncer has been given. It says True only after the rights were
// given on both sides, and False only where they never were, or were taken back.

// admittedCondition decides the condition Admitted of a Namespace's Assignment, with the time at which it changes. It reports whether
// that is another than the Assignment has.
func (n *assignedNamespace) admittedCondition(now time.Time) (metav1.Condition, bool) {
	before := meta.FindStatusCondition(n.Assignment.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	if before == nil {
		before = &metav1.Condition{Status: metav1.ConditionFalse}
	}
	status, reason, message := n.admittedReason(before.Status)
	if n.State == namespaceRevoked && isRevoked(n.Assignment) {
		message = before.Message // which may say what still runs
	}
	after := metav1.Condition{
		Type: workloadv1alpha1.ConditionAdmitted, Status: status, Reason: reason, Message: sanitize.Truncate(cmp.Or(n.Message, message), maxMessage),
		ObservedGeneration: n.Assignment.Generation, LastTransitionTime: metav1.NewTime(now).Rfc3339Copy(),
	}
	if before.Status == after.Status && !before.LastTransitionTime.IsZero() {
		after.LastTransitionTime = before.LastTransitionTime
	}
	changes := after.Status != before.Status || after.Reason != before.Reason || after.Message != before.Message || after.ObservedGeneration != before.ObservedGeneration
	return after, changes
}

// admittedReason maps the state of a Namespace to its condition, and to what that says where nothing is in the way. Until the rights
// have been taken back the status stays what it was.
func (n *assignedNamespace) admittedReason(before metav1.ConditionStatus) (status metav1.ConditionStatus, reason, message string) {
	switch n.State {
	case namespaceOpen:
		return metav1.ConditionTrue, workloadv1alpha1.ReasonAdmitted, admittedMessage
	case namespaceDraining, namespaceDrained:
		if before == metav1.ConditionTrue || n.State == namespaceDraining && isRestored(n.Assignment) {
			return metav1.ConditionTrue, workloadv1alpha1.ReasonAdmitted, drainingMessage
		}
		return before, workloadv1alpha1.ReasonRevoking, revokingMessage
	case namespaceReleasing:
		return metav1.ConditionUnknown, workloadv1alpha1.ReasonRevoking, revokingMessage
	case namespaceCleaningUp:
		return metav1.ConditionFalse, workloadv1alpha1.ReasonRevoking, cleaningUpMessage
	case namespaceRevoked:
		return metav1.ConditionFalse, workloadv1alpha1.ReasonRevoked, revokedMessage
	case namespaceRefused:
		return metav1.ConditionFalse, workloadv1alpha1.ReasonNamespaceRefused, ""
	}
	return metav1.ConditionFalse, workloadv1alpha1.ReasonAdmitting, admittingMessage
}

// writeAdmitted writes the condition Admitted of each of these Namespaces of which it changes. The failure of one does not stop the
// others.
func (r *Reconciler) writeAdmitted(ctx context.Context, s *scope, namespaces []*assignedNamespace) error {
	now := r.Clock.Now()
	var changed []*assignedNamespace
	for _, n := range namespaces {
		if _, changes := n.admittedCondition(now); changes && !n.outdated && n.State != namespaceReopening {
			changed = append(changed, n)
		}
	}
	return forEachNamespace(changed, func(n *assignedNamespace) error {
		condition, _ := n.admittedCondition(now)
		written, err := applyAdmitted(ctx, s, n.Assignment, condition)
		if err != nil {
			n.outdated = true
			return client.IgnoreNotFound(err) // with one that is gone nothing is recorded
		}
		was := meta.FindStatusCondition(n.Assignment.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
		n.Assignment = written
		if condition.Reason == workloadv1alpha1.ReasonNamespaceRefused && (was == nil || was.Reason != condition.Reason || was.Message != condition.Message) {
			r.Events.Event(s.clusterName, s.target, corev1.EventTypeWarning, workloadv1alpha1.ReasonNamespaceRefused,
				fmt.Sprintf("Namespace %q is not synced: %s", n.Name, n.Message))
		}
		return nil
	})
}

// applyAdmitted writes the condition to the Assignment that the decision rests on, and returns it as it is then.
// If it is another by now, as the cache may not show yet, kcp refuses with a conflict: what was given since must not be taken for
// never given.
func applyAdmitted(ctx context.Context, s *scope, a *workloadv1alpha1.Assignment, condition metav1.Condition) (*workloadv1alpha1.Assignment, error) {
	body, err := json.Marshal(map[string]any{
		"apiVersion": workloadv1alpha1.SchemeGroupVersion.String(), "kind": "Assignment",
		"metadata": map[string]any{"namespace": a.Namespace, "name": a.Name, "uid": a.UID, "resourceVersion": a.ResourceVersion},
		"status":   map[string]any{"conditions": []metav1.Condition{condition}},
	})
	if err != nil {
		return nil, err
	}
	written := &workloadv1alpha1.Assignment{ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Name}}
	err = s.upstream.Status().Patch(ctx, written, client.RawPatch(types.ApplyPatchType, body), client.FieldOwner(workloadv1alpha1.FieldOwnerController), client.ForceOwnership)
	if err != nil {
		return nil, fmt.Errorf("writing the condition %s of the Assignment of Namespace %q: %w", condition.Type, a.Spec.Namespace.Name, err)
	}
	return written, nil
}
