package scheduler

import (
	"cmp"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// steadyPeriod is how long a replacement has been available before what it replaces is withdrawn.
const steadyPeriod = 30 * time.Second

// assignment is an Assignment that counts, as it was read and as it is to be.
type assignment struct {
	// read is nil for one that this pass creates.
	read    *workloadv1alpha1.Assignment
	cluster *cluster
	// created is when it was first created; zero for one that is new.
	created metav1.Time
	// spec is what it is to be.
	spec workloadv1alpha1.AssignmentSpec
	// availableSince is when it was first seen to be available; zero if that is not known.
	availableSince time.Time
	// deleted: the record is not needed any more.
	deleted bool
	// released: the record is deleted, though what it records goes on.
	released bool
	// restored: it was lost, and is made anew; with waits not yet, since the Namespace that it belongs in is still being deleted.
	restored, waits bool

	// mustLeave is why the Namespace is to leave the cluster; empty for no reason.
	mustLeave workloadv1alpha1.AssignmentReason
	// replaces and replacedBy connect the two Assignments of a move, while both have the intent Run.
	replaces, replacedBy *assignment
}

func (a *assignment) runs() bool { return a.spec.Intent == workloadv1alpha1.IntentRun }

// withdraw ends the intent Run.
func (a *assignment) withdraw(intent workloadv1alpha1.AssignmentIntent, reason workloadv1alpha1.AssignmentReason) {
	a.spec.Intent, a.spec.Reason, a.spec.WritesStatus = intent, reason, false
	a.spec.Epoch++
}

// condition returns a condition that the syncer has reported of the present epoch; nil if it has not.
func (a *assignment) condition(conditionType string) *metav1.Condition {
	if a.read == nil || a.read.Status.ObservedEpoch != a.spec.Epoch {
		return nil
	}
	return meta.FindStatusCondition(a.read.Status.Conditions, conditionType)
}

func (a *assignment) isTrue(conditionType string) bool {
	c := a.condition(conditionType)
	return c != nil && c.Status == metav1.ConditionTrue
}

// reportedAvailable reports whether the syncer has last said that everything runs. Of a cluster that is not ready this
// may not be so any more.
func (a *assignment) reportedAvailable() bool { return a.isTrue(workloadv1alpha1.ConditionAvailable) }

// available reports whether everything is known to run.
func (a *assignment) available() bool { return a.cluster.ready && a.reportedAvailable() }

// seemsToRun reports whether everything is available, or was when last heard of on a SyncTarget that is being deleted.
func (a *assignment) seemsToRun() bool {
	return a.available() || a.cluster.terminating() && a.reportedAvailable() && !a.cluster.unreachable(workloadv1alpha1.TaintNoSchedule)
}

// steadyAt returns when a replacement that stays available has been so for long enough.
func (a *assignment) steadyAt() time.Time {
	if !a.availableSince.IsZero() {
		return a.availableSince.Add(steadyPeriod)
	}
	return a.condition(workloadv1alpha1.ConditionAvailable).LastTransitionTime.Add(steadyPeriod)
}

// steady reports whether the Assignment may take over from the one that it replaces.
func (a *assignment) steady(now time.Time) bool { return a.available() && !now.Before(a.steadyAt()) }

// revocation returns the condition by which the rights of the syncer have been taken back after a withdrawal; nil if
// they have not.
func (a *assignment) revocation() *metav1.Condition {
	if a.runs() || a.read == nil || a.spec.Epoch != a.read.Spec.Epoch {
		return nil
	}
	c := meta.FindStatusCondition(a.read.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != workloadv1alpha1.ReasonRevoked || c.ObservedGeneration != a.read.Generation {
		return nil
	}
	return c
}

// withdrawing reports whether copies may still be there, or the rights of the syncer.
func (a *assignment) withdrawing() bool { return !a.runs() && a.revocation() == nil }

// isPresent reports whether the Namespace runs, or may run, by an Assignment.
func (a *assignment) isPresent() bool { return a.runs() || a.withdrawing() }

// createdOf returns when an Assignment was first created. One that was made anew says when the lost one was.
func createdOf(read *workloadv1alpha1.Assignment) metav1.Time {
	if first, err := time.Parse(time.RFC3339, read.Annotations[workloadv1alpha1.AnnotationRestored]); err == nil {
		return metav1.NewTime(first)
	}
	return read.CreationTimestamp
}

// isNew reports whether this pass creates the Assignment, of something that was not there before.
func (a *assignment) isNew() bool { return a.read == nil && !a.restored }

// mayReplace reports whether the Assignment can be the one that replaces another: it was created after that.
func (a *assignment) mayReplace(other *assignment) bool {
	switch {
	case other.isNew():
		return false
	case a.isNew():
		return true
	case a.created.Equal(&other.created):
		return other.spec.Replaces != a.cluster.name
	}
	return other.created.Before(&a.created)
}

// isUnreported reports whether the syncer has not said yet what there is, as of an Assignment that was made anew.
func (a *assignment) isUnreported() bool { return a.read != nil && a.read.Status.Objects == nil }

// awaitsReport reports whether an Assignment was made anew, and the syncer has yet to report all that is there. Until then it is not
// known whether volumes hold the Namespace.
func (a *assignment) awaitsReport() bool {
	if a.read == nil || a.read.Annotations[workloadv1alpha1.AnnotationRestored] == "" {
		return false
	}
	applied := a.condition(workloadv1alpha1.ConditionApplied)
	return applied == nil || applied.Reason == workloadv1alpha1.ReasonApplying
}

func (a *assignment) boundClaims() int32 {
	if a.read == nil || a.read.Status.Objects == nil {
		return 0
	}
	return a.read.Status.Objects.BoundClaims
}

// isMove reports whether a reason to withdraw is one for which the Namespace goes to another cluster.
func isMove(reason workloadv1alpha1.AssignmentReason) bool {
	switch reason {
	case workloadv1alpha1.AssignmentDrain, workloadv1alpha1.AssignmentFailover, workloadv1alpha1.AssignmentFailback,
		workloadv1alpha1.AssignmentPlacementChanged, workloadv1alpha1.AssignmentTargetDeleted:
		return true
	}
	return false
}

// newAssignment returns an Assignment that is to be created.
func newAssignment(n *namespace, c *cluster, reason workloadv1alpha1.AssignmentReason, replaces string) *assignment {
	return &assignment{cluster: c, spec: workloadv1alpha1.AssignmentSpec{
		Namespace: workloadv1alpha1.ObjectReference{Name: n.Name, UID: n.UID},
		Placement: n.policy.reference(),
		Epoch:     1,
		Intent:    workloadv1alpha1.IntentRun,
		Reason:    reason,
		Replaces:  replaces,
		Order:     unordered,
	}}
}

// object returns the Assignment as it is created.
func (a *assignment) object() workloadv1alpha1.Assignment {
	return workloadv1alpha1.Assignment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.cluster.syncerNamespace,
			Name:      workloadv1alpha1.AssignmentName(a.spec.Namespace.UID),
			Labels: map[string]string{
				workloadv1alpha1.LabelVisible: "true",
				workloadv1alpha1.LabelKey:     a.cluster.key,
				workloadv1alpha1.LabelUID:     string(a.cluster.target.UID),
			},
			Annotations: a.annotations(),
			Finalizers:  []string{workloadv1alpha1.AssignmentFinalizer},
		},
		Spec: a.spec,
	}
}

func (a *assignment) annotations() map[string]string {
	annotations := map[string]string{workloadv1alpha1.AnnotationSyncTarget: a.cluster.name}
	if a.restored {
		annotations[workloadv1alpha1.AnnotationRestored] = cmp.Or(formatTime(a.created), "true")
	}
	return annotations
}
