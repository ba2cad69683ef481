package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// reasonSyncRefused is the reason of the Warning Event on an object that cannot be synced.
const reasonSyncRefused = "SyncRefused"

// writeReport writes the status and the report that an action stands for, and an Event where the object is newly refused.
func (o *objectReconciler) writeReport(ctx context.Context, next action, desired *unstructured.Unstructured) error {
	before := o.lastReport()
	report := o.reportFor(next, desired)
	switch next {
	case reportDeleting:
		if o.src == nil || len(o.dst.GetFinalizers()) == 0 {
			return nil // the copy goes in a moment
		}
	case reportNotAccepted:
		if o.resource.api.NotServedDownstream() {
			if err := o.clearStatus(ctx); err != nil {
				return err
			}
		}
	case reportCopy:
		if o.isStep(report, before) {
			o.resource.down.RequeuePending(o.name, o.answeredAt)
			o.again = max(stepPace-o.clock.Since(o.answeredAt), immediately)
			return nil
		}
	case reportUnmanaged, reportFinishedJob, reportElsewhere:
		o.noCopy = true
	}
	if err := o.writeUpstream(ctx, report); err != nil {
		return err
	}
	if next == reportRejection || next == reportUnmanaged {
		o.warnRefused(ctx, before, report)
	}
	return nil
}

// reportFor is the report that an action stands for, and sets when the object is looked at again.
func (o *objectReconciler) reportFor(next action, desired *unstructured.Unstructured) rejection.Report {
	report := o.report
	switch next {
	case reportCopy:
		return o.copyReport(desired)
	case reportTerminating:
		if o.runsElsewhere() {
			return o.terminatingReport("and is not created again: " + o.elsewhereMessage())
		}
		return o.terminatingReport("and is created again when it is gone")
	case reportDeleting:
		return o.terminatingReport("and then the finalizer of the syncer is removed from this object")
	case reportFinishedJob:
		return report.WithFinishedJob(o.src)
	case reportElsewhere:
		return rejection.Report{Message: o.elsewhereMessage()}
	case reportUnmanaged:
		report.Refused = fmt.Sprintf("%s %q exists in Namespace %q of the physical cluster and is not a copy; delete it there, or annotate it there with %s=%s to hand it over",
			o.resource.api.Kind, o.name, o.namespace.downstreamNamespace, workloadv1alpha1.AnnotationAdopt, o.owner.Key)
		return report
	case reportNotAccepted:
		report.Refused = o.notSynced(o.resource.api.State, o.resource.api.Message)
	case reportListDenied:
		if refusal := o.resource.down.ListError.Load(); refusal != nil {
			report.Refused = o.notSynced(workloadv1alpha1.ResourceForbidden, *refusal)
		}
		return report
	case reportRejection:
		last := o.state.lastOutcome
		report.Refused, report.Conflict = last.report.Refused, last.report.Conflict
		o.again = max(last.until.Sub(o.clock.Now()), immediately)
	}
	return o.withCopyReadiness(report)
}

// copyReport says how the copy fares, and in what it differs from the object.
func (o *objectReconciler) copyReport(desired *unstructured.Unstructured) rejection.Report {
	report := o.report.WithReadiness(o.dst, o.resource.api.HasStatus)
	report.Allocated = transform.Allocated(o.dst, desired)
	if transform.Matches(o.dst, desired) {
		return report
	}
	last := o.state.lastOutcome
	if o.outcomeState(desired) == outcomeSettled {
		report.Conflict = last.report.Conflict
		o.again = max(last.until.Sub(o.clock.Now()), immediately)
	} else {
		o.again = o.restoreWait(desired)
	}
	expected, _ := transform.Without(desired, last.without)
	return report.WithDiffers(transform.Differences(o.dst, expected)).Settled()
}

// withCopyReadiness adds to a refusal how the copy fares that there is of an earlier state of the object.
func (o *objectReconciler) withCopyReadiness(report rejection.Report) rejection.Report {
	if !report.Rejected() || !o.isManaged(o.dst) {
		return report
	}
	report = report.WithReadiness(o.dst, o.resource.api.HasStatus)
	if report.Ready == string(kstatus.CurrentStatus) {
		report.Ready = rejection.ReadyDiffers
	}
	return report
}

// terminatingReport says what a copy that is being deleted waits for.
func (o *objectReconciler) terminatingReport(then string) rejection.Report {
	report := o.report
	report.Ready, report.Message = string(kstatus.TerminatingStatus), "the copy is being deleted "+then
	if finalizers := o.dst.GetFinalizers(); len(finalizers) > 0 {
		report.Message = rejection.Clip(fmt.Sprintf("the copy is being deleted in the physical cluster, waits there for finalizers %q, %s", finalizers, then))
	}
	return report
}

// elsewhereMessage says why the object has no copy here.
func (o *objectReconciler) elsewhereMessage() string {
	return fmt.Sprintf("a %s runs on the first of the clusters of its Namespace alone, which is another one; Namespace %q of the workspace tells which",
		o.resource.api.Kind, o.namespace.upstream.Name)
}

// notSynced says why no object of the resource is synced.
func (o *objectReconciler) notSynced(state workloadv1alpha1.SyncedResourceState, why string) string {
	return rejection.Clip(fmt.Sprintf("%s is not synced (%s): %s", o.resource.api.GroupResource, state, why))
}

// isStep tells whether a rollout that was in progress, and still is, has made progress a moment ago.
func (o *objectReconciler) isStep(report, before rejection.Report) bool {
	inProgress := report.Ready == string(kstatus.InProgressStatus) && !report.Rejected()
	same := report.Ready == before.Ready && report.Generation == before.Generation && report.Time == before.Time
	return inProgress && same && o.hasFinalizer() && !o.answeredAt.IsZero() && o.clock.Since(o.answeredAt) < stepPace
}

// warnRefused writes a Warning Event on an object that is refused for another reason than before.
func (o *objectReconciler) warnRefused(ctx context.Context, before, report rejection.Report) {
	if report.Refused == "" || report.Refused == before.Refused {
		return
	}
	if err := o.writeWarning(ctx, report.Refused); err != nil {
		log.FromContext(ctx).V(1).Info("A refusal is in the report of the object, but not in an Event", "object", o.String(), "cause", err.Error())
	}
}

// warnMetadataRejected says in an Event what cannot be said on the object itself: that the workspace refuses our metadata, again
// and again.
func (o *objectReconciler) warnMetadataRejected(ctx context.Context, failure error) {
	var rejected *metadataRejectedError
	if !errors.As(failure, &rejected) || o.src == nil || o.failures() < rejection.ReportAfter {
		return
	}
	answer, class := rejection.Classify(rejected)
	if last := o.state.metadataRejectedAt; class == rejection.Transient || !last.IsZero() && o.clock.Since(last) < rejection.RetryAfter {
		return
	}
	o.state.metadataRejectedAt = o.clock.Now()
	message := "the workspace refuses the syncer's finalizer and annotation on this object, without which it is not synced; " +
		"the admission policy or webhook that refuses them must let them pass: " + answer.Refused
	if err := o.writeWarning(ctx, message); err != nil {
		log.FromContext(ctx).Info("An object is not synced, which cannot be reported in its workspace", "object", o.String(), "cause", failure.Error(), "refused", err.Error())
	}
}

// writeWarning writes the one Warning Event about the sync of an object.
func (o *objectReconciler) writeWarning(ctx context.Context, message string) error {
	return o.source.WriteEvent(ctx, o.namespace.upstream, o.warning(message))
}

// warning is the one Warning Event about the sync of an object.
func (o *objectReconciler) warning(message string) *corev1.Event {
	now := metav1.NewTime(o.clock.Now().Truncate(time.Second))
	event := o.eventOn(o.src, string(o.src.GetUID()))
	event.Type, event.Reason, event.Message = corev1.EventTypeWarning, reasonSyncRefused, message
	event.Count, event.FirstTimestamp, event.LastTimestamp = 1, now, now
	return event
}
