package sync

import (
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// observe gathers what decide needs, and returns with it what the copy should be; nil for an object that is not wanted.
func (o *objectReconciler) observe() (observation, *unstructured.Unstructured, error) {
	observed := observation{
		source: sourceStateOf(o.src), finalizer: o.hasFinalizer(), report: o.hasReport(),
		copy: o.copyState(), terminating: o.dst != nil && o.dst.GetDeletionTimestamp() != nil, clusterDefault: o.isClusterDefault(),
		intent:   o.intent(),
		accepted: o.resource.api.State == workloadv1alpha1.ResourceAccepted, servedDownstream: o.resource.down != nil,
		listDenied: o.resource.isListDenied(), confirmed: o.confirmed, mustWarnNeverSynced: o.mustWarnNeverSynced(),
	}
	if observed.source != sourceWanted || observed.intent != intentRun || observed.listDenied {
		return observed, nil, nil
	}
	desired, err := o.owner.Copy(o.src)
	if err != nil {
		return observed, nil, err
	}
	observed.finished, observed.elsewhere = naming.HasFinished(o.src), o.runsElsewhere()
	if o.dst != nil {
		observed.matches = transform.Matches(o.dst, desired)
		observed.earlierJob, observed.laterGeneration = o.isEarlierJob(), o.isOfLaterGeneration()
		observed.restoreWait = o.restoreWait(desired)
		observed.reportCanWait = o.reportCanWait()
	}
	observed.outcome = o.outcomeState(desired)
	return observed, desired, nil
}

func sourceStateOf(src *unstructured.Unstructured) sourceState {
	switch {
	case src == nil:
		return sourceAbsent
	case transform.IsWanted(src):
		return sourceWanted
	}
	return sourceUnwanted
}

func (o *objectReconciler) copyState() copyState {
	switch {
	case o.dst == nil:
		return copyAbsent
	case o.isManaged(o.dst):
		return copyManaged
	case o.isClusterDefault(), o.dst.GetAnnotations()[workloadv1alpha1.AnnotationAdopt] == o.owner.Key:
		return copyAdoptable
	}
	return copyUnmanaged
}

func (o *objectReconciler) intent() intent {
	switch {
	case o.namespace.draining() != nil:
		return intentDrain
	case o.resource.api.Removing:
		return intentRemove
	}
	return intentRun
}

// isClusterDefault tells whether the name is that of an object which controllers of the cluster put into every Namespace.
func (o *objectReconciler) isClusterDefault() bool {
	return o.resource.api.Group == "" && naming.IsClusterDefault(o.resource.api.Kind, o.name)
}

// runsElsewhere tells whether objects of the resource run on another of the clusters of the Namespace.
func (o *objectReconciler) runsElsewhere() bool {
	return runsOnFirstAlone(o.resource.api.GroupResource) && !o.namespace.currentRole().first
}

// isEarlierJob tells whether the copy is of an earlier Job of the name. A Job runs once: the next one has not ended because
// the last one has. Any other object is what it says, whoever said so first.
func (o *objectReconciler) isEarlierJob() bool {
	return o.src != nil && o.dst != nil && naming.IsJob(o.src.GroupVersionKind().GroupKind()) &&
		o.dst.GetAnnotations()[workloadv1alpha1.AnnotationSourceUID] != string(o.src.GetUID())
}

// isOfLaterGeneration tells whether the copy was made from a later generation of the object than the cache shows: a server that lags
// behind has answered the last list.
func (o *objectReconciler) isOfLaterGeneration() bool {
	annotations := o.dst.GetAnnotations()
	applied, err := strconv.ParseInt(annotations[workloadv1alpha1.AnnotationSourceGeneration], 10, 64)
	return err == nil && applied > o.src.GetGeneration() && o.src.GetGeneration() > 0 &&
		annotations[workloadv1alpha1.AnnotationSourceUID] == string(o.src.GetUID())
}

// outcomeState is what is known from the last write of the same content.
func (o *objectReconciler) outcomeState(desired *unstructured.Unstructured) outcomeState {
	last := o.state.lastOutcome
	if last.key == "" || last.key != o.applyKey(desired) {
		return outcomeNone
	}
	holds := o.clock.Now().Before(last.until)
	switch {
	case last.deferred && holds:
		return outcomeDeferred
	case last.report.Rejected() && !last.partial && holds:
		return outcomeRejected
	case last.report.Rejected() && !last.partial:
		return outcomeRejectionExpired
	case last.deferred, last.partial && !holds:
		return outcomeNone
	}
	return outcomeSettled
}

// restoreWait is how long a copy is left as it is that somebody changes again and again.
func (o *objectReconciler) restoreWait(desired *unstructured.Unstructured) time.Duration {
	if o.state.restoredAt.IsZero() || !o.isRestored(desired) {
		return 0
	}
	return max(restorePace-o.clock.Since(o.state.restoredAt), 0)
}

// isRestored tells whether an apply would bring a copy back to what was applied to it already.
func (o *objectReconciler) isRestored(desired *unstructured.Unstructured) bool {
	return o.dst != nil && transform.AppliedHash(o.dst) == transform.AppliedHash(desired)
}

// hasNothing tells that neither side has anything of ours but a report.
func (o *objectReconciler) hasNothing() bool { return !o.hasFinalizer() && !o.isManaged(o.dst) }

// hasFinalizer tells whether our finalizer is on the object.
func (o *objectReconciler) hasFinalizer() bool { return o.Controller.hasFinalizer(o.src) }

func (e *Controller) hasFinalizer(src *unstructured.Unstructured) bool {
	return src != nil && slices.Contains(src.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(e.owner.Key))
}

// hasReport tells whether our report is on the object.
func (o *objectReconciler) hasReport() bool { return o.src != nil && o.syncAnnotation(o.src) != "" }

func (e *Controller) syncAnnotation(src *unstructured.Unstructured) string {
	return src.GetAnnotations()[workloadv1alpha1.SyncAnnotation(e.owner.Key)]
}

// lastReport is what the object says now.
func (o *objectReconciler) lastReport() rejection.Report {
	if o.src == nil {
		return rejection.Report{}
	}
	return rejection.ParseReport(o.syncAnnotation(o.src))
}

// hasOurMetadata tells whether anything of ours is on an object of the workspace.
func (e *Controller) hasOurMetadata(src *unstructured.Unstructured) bool {
	return e.hasFinalizer(src) || e.syncAnnotation(src) != ""
}

// isManaged tells whether an object of the physical cluster is a copy of ours.
func (e *Controller) isManaged(dst *unstructured.Unstructured) bool {
	return dst != nil && naming.IsManaged(dst, e.owner.Key)
}
