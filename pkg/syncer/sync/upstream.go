package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// reportTimeout bounds what is written to the workspace after the time of a pass is over.
const reportTimeout = 5 * time.Second

// writeUpstream writes the status and the report upstream, each if it differs from what is there.
func (o *objectReconciler) writeUpstream(ctx context.Context, report rejection.Report) error {
	if deadline, bounded := ctx.Deadline(); bounded && deadline.Sub(o.clock.Now()) < reportTimeout && !errors.Is(ctx.Err(), context.Canceled) {
		// The report may say that the physical cluster has used up the time of the pass.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
		defer cancel()
	}
	refused, err := o.patchStatus(ctx)
	if err != nil && refused == "" {
		return err
	}
	report.Message = cmp.Or(refused, report.Message)
	return errors.Join(err, o.patchReport(ctx, report))
}

// patchReport writes the report upstream, and takes the finalizer off where there is no copy and is to be none.
func (o *objectReconciler) patchReport(ctx context.Context, report rejection.Report) error {
	if report.Time == "" && !report.Rejected() && !o.noCopy {
		report.Time = timestamp(o.clock.Now())
	}
	releases := o.noCopy && o.hasFinalizer()
	if report.Equal(o.lastReport()) && !releases {
		o.state.unreportedSince = time.Time{}
		return nil
	}
	if releases {
		if err := o.clearStatus(ctx); err != nil {
			return err
		}
		return o.release(ctx, report.String())
	}
	reported, err := o.resource.source.WriteReport(ctx, o.src, report.String())
	if err != nil {
		return &metadataRejectedError{fmt.Errorf("reporting on %s: %w", o, err)}
	}
	o.assume(reported, false)
	o.state.unreportedSince = time.Time{}
	return nil
}

// timestamp is a time as it stands in a report.
func timestamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// addFinalizer puts our finalizer on the object, also if the cache shows it there: the cache may lag, and the source compares
// versions.
func (o *objectReconciler) addFinalizer(ctx context.Context) error {
	held, err := o.resource.source.AddFinalizer(ctx, o.src)
	if err != nil {
		return &metadataRejectedError{fmt.Errorf("adding our finalizer to %s: %w", o, err)}
	}
	o.assume(held, true)
	o.confirmed.finalizerWritten = true
	return nil
}

// patchStatus writes the copy's status upstream if it differs, and returns why the workspace does not take it; with an error
// where another attempt may change that.
func (o *objectReconciler) patchStatus(ctx context.Context) (refused string, err error) {
	if !o.isManaged(o.dst) || o.isEarlierJob() || !o.resource.api.HasStatus || !o.namespace.currentRole().writesStatus {
		return "", nil
	}
	status := rejection.StatusUp(o.dst)
	if status == nil {
		return "", o.patchAbsentStatus(ctx)
	}
	if equality.Semantic.DeepEqual(status, o.src.Object["status"]) {
		return "", nil
	}
	// What the workspace leaves out of a status, as of a newer API, it would leave out again.
	hash, err := transform.Hash([]any{status, o.src.Object["status"]})
	if err != nil {
		return "", fmt.Errorf("encoding the status of %s: %w", o, err)
	}
	if o.state.prunedStatus == hash {
		return "", nil
	}
	version := o.src.GetResourceVersion()
	written, err := o.resource.source.WriteStatus(ctx, o.src, status)
	if err != nil {
		return o.statusFailure(err)
	}
	o.assume(written, false)
	if o.src.GetResourceVersion() == version {
		o.state.prunedStatus = hash
		return "", nil
	}
	o.metrics.statusLatency(o.resource.api.GroupResource, o.clock, o.answeredAt)
	return "", nil
}

// statusFailure says why the workspace does not take a status. With an error another attempt may change that.
func (o *objectReconciler) statusFailure(err error) (refused string, failure error) {
	answer, class := rejection.Classify(err)
	if class == rejection.Terminal || class == rejection.Persistent && o.failures() >= rejection.ReportAfter {
		refused = "the workspace does not take the copy's status: " + answer.Refused
	}
	if class == rejection.Terminal {
		o.again = rejection.RetryAfter
		return refused, nil
	}
	return refused, fmt.Errorf("writing the status of %s: %w", o, err)
}

// patchAbsentStatus removes a status that was written of an earlier copy, where the copy has none.
func (o *objectReconciler) patchAbsentStatus(ctx context.Context) error {
	if !hasStatus(o.src) || naming.HasFinished(o.src) {
		return nil
	}
	hash, err := transform.Hash(o.src.Object["status"])
	if err != nil || o.state.prunedStatus == hash {
		return err
	}
	if err := o.removeStatus(ctx); err != nil {
		return err
	}
	o.state.prunedStatus = hash // of somebody else it stays, and need not be read again
	return nil
}

func hasStatus(src *unstructured.Unstructured) bool {
	status, _ := src.Object["status"].(map[string]any)
	return len(status) > 0
}

// clearStatus removes the status that the syncer has written, where its copy is not followed any more. That a Job has ended
// stays on it.
func (o *objectReconciler) clearStatus(ctx context.Context) error {
	if !hasStatus(o.src) || !o.resource.api.HasStatus || !o.hasFinalizer() || o.src.GetDeletionTimestamp() != nil ||
		naming.HasFinalizerOfOthers(o.src, o.owner.Key) || naming.HasFinished(o.src) {
		return nil
	}
	return o.removeStatus(ctx)
}

// removeStatus removes a status that a syncer has written.
func (o *objectReconciler) removeStatus(ctx context.Context) error {
	before := o.src
	cleared, err := o.resource.source.RemoveStatus(ctx, before)
	if _, class := rejection.Classify(err); err != nil && class != rejection.Transient {
		return nil // a refusal does not keep the finalizer on the object
	}
	if err != nil {
		return fmt.Errorf("clearing the status of %s: %w", o, err)
	}
	if cleared != before {
		o.assume(cleared, false)
	}
	return nil
}

// releaseSource takes our finalizer and our report off the object, and the status that told of the copy.
func (o *objectReconciler) releaseSource(ctx context.Context) error {
	if err := o.clearStatus(ctx); err != nil {
		return err
	}
	return o.release(ctx, "")
}

// release takes our finalizer off the object, and replaces or removes the report, unless the object has changed since it was read:
// then the next pass decides anew.
func (o *objectReconciler) release(ctx context.Context, report string) error {
	released, err := o.resource.source.Release(ctx, o.src, report)
	if err != nil {
		return &metadataRejectedError{fmt.Errorf("taking our finalizer off %s: %w", o, err)}
	}
	o.assume(released, true)
	return nil
}

// metadataRejectedError is why the syncer could not change its metadata on an object, which is where everything else is reported.
type metadataRejectedError struct{ error }

func (e *metadataRejectedError) Unwrap() error { return e.error }

// assume goes on with an object as a write has left it; nil for one that is gone. knew tells that the write fails for any other
// version than the one that this pass has observed, so that the answer contains nothing new.
func (o *objectReconciler) assume(written *unstructured.Unstructured, knew bool) {
	if written != nil && (written.GetDeletionTimestamp() == nil || len(written.GetFinalizers()) > 0) {
		o.resource.up.Objects.Assume(o.namespace.upstream.Key(o.name), written, knew)
	}
	o.src = written
}
