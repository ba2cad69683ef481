package sync

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// reportNotAccepted tells on the object why objects of its resource do not travel. A copy that there is stays, and its status is told.
func (o *objectReconciler) reportNotAccepted(ctx context.Context) error {
	if o.resource.api.NotServedDownstream() {
		if err := o.clearStatus(ctx); err != nil {
			return err
		}
	}
	report := o.lastReport().WithoutOutcome()
	report.Refused = o.notSynced(o.resource.api.State, o.resource.api.Message)
	return o.writeUpstream(ctx, o.withCopyReadiness(report))
}

// reportListDenied tells on the object that the physical cluster does not let its resource be looked at.
func (o *objectReconciler) reportListDenied(ctx context.Context) (again time.Duration, err error) {
	switch {
	case o.src == nil:
		return 0, nil
	case o.hasFinalizer(), transform.IsWanted(o.src) && o.namespace.draining() == nil && !o.resource.api.Removing:
	case o.hasReport():
		return 0, o.releaseSource(ctx)
	default:
		return 0, nil
	}
	refusal := o.resource.down.ListError.Load()
	if refusal == nil {
		return time.Second, nil // it has just been lifted
	}
	report := o.lastReport().WithoutOutcome()
	report.Refused = o.notSynced(workloadv1alpha1.ResourceForbidden, *refusal)
	return 0, o.writeUpstream(ctx, report)
}

// notSynced says why no object of the resource is.
func (o *objectReconciler) notSynced(state workloadv1alpha1.SyncedResourceState, why string) string {
	return rejection.Clip(fmt.Sprintf("%s is not synced (%s): %s", o.resource.api.GroupResource, state, why))
}

// lastReport is what was last told on the object.
func (o *objectReconciler) lastReport() rejection.Report {
	return rejection.ParseReport(o.syncAnnotation(o.src))
}

// writeUpstream writes the status and the report upstream, each if it differs from what is there.
func (o *objectReconciler) writeUpstream(ctx context.Context, report rejection.Report) error {
	if deadline, bounded := ctx.Deadline(); bounded && time.Until(deadline) < reportTimeout && !errors.Is(ctx.Err(), context.Canceled) {
		// That the physical cluster has used up the time of the pass has yet to be told.
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

// patchReport writes the report upstream, and with it the finalizer where the copy has come or gone without it.
func (o *objectReconciler) patchReport(ctx context.Context, report rejection.Report) error {
	if report.Time == "" && !report.Rejected() {
		report.Time = o.clock.Now().UTC().Format(time.RFC3339)
	}
	holding := o.isManaged(o.dst) && !o.hasFinalizer() && transform.IsWanted(o.src)
	freeing := o.noCopy && o.hasFinalizer()
	if report == o.lastReport() && !holding && !freeing {
		return nil
	}
	metadata := map[string]any{"annotations": map[string]any{workloadv1alpha1.SyncAnnotation(o.owner.Key): report.String()}}
	switch {
	case holding:
		metadata["finalizers"] = o.withFinalizer()
		return o.patchMetadata(ctx, metadata)
	case freeing:
		if err := o.clearStatus(ctx); err != nil {
			return err
		}
		metadata["finalizers"] = o.withoutFinalizer()
		return o.patchMetadata(ctx, metadata)
	}
	metadata["uid"] = string(o.src.GetUID())
	if err := o.patchUp(ctx, types.MergePatchType, map[string]any{"metadata": metadata}, false); err != nil {
		return fmt.Errorf("reporting on %s: %w", o, err)
	}
	return nil
}

// addFinalizer puts our finalizer on the object, whether the cache shows it there or not: it may lag behind, and the server compares.
func (o *objectReconciler) addFinalizer(ctx context.Context) error {
	return o.patchMetadata(ctx, map[string]any{"finalizers": o.withFinalizer()})
}

// withFinalizer are the object's finalizers with ours.
func (o *objectReconciler) withFinalizer() []string {
	if o.hasFinalizer() {
		return o.src.GetFinalizers()
	}
	return append(slices.Clone(o.src.GetFinalizers()), workloadv1alpha1.SyncerFinalizer(o.owner.Key))
}

// withoutFinalizer are the object's finalizers without ours.
func (o *objectReconciler) withoutFinalizer() []string {
	return slices.DeleteFunc(slices.Clone(o.src.GetFinalizers()), func(f string) bool { return f == workloadv1alpha1.SyncerFinalizer(o.owner.Key) })
}

// patchStatus writes the copy's status upstream if it differs, and returns why the workspace does not take it; with an error
// where another attempt may change that.
func (o *objectReconciler) patchStatus(ctx context.Context) (refused string, err error) {
	if !o.isManaged(o.dst) || o.isEarlierJob() || !o.resource.api.HasStatus || !o.ownsStatus() {
		return "", nil
	}
	status := rejection.StatusUp(o.dst)
	if status == nil || equality.Semantic.DeepEqual(status, o.src.Object["status"]) {
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
	patch := []map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": string(o.src.GetUID())},
		{"op": "add", "path": "/status", "value": status},
	}
	version := o.src.GetResourceVersion()
	err = o.patchUp(ctx, types.JSONPatchType, patch, false, "status")
	if err != nil {
		answer, kind := rejection.Classify(err)
		if kind == rejection.Terminal || kind == rejection.Persistent && o.queue.NumRequeues(o.key()) >= rejection.ReportAfter {
			refused = "the workspace does not take the copy's status: " + answer.Refused
		}
		if kind == rejection.Terminal {
			o.again = rejection.RetryAfter
			return refused, nil
		}
		return refused, fmt.Errorf("writing the status of %s: %w", o, err)
	}
	if o.src.GetResourceVersion() == version {
		o.state.prunedStatus = hash
		return "", nil
	}
	o.metrics.statusLatency(o.resource.api.GroupResource, o.clock, o.answeredAt)
	return "", nil
}

// clearStatus takes a status off that we have written, for what it tells of is not followed any more. That a Job has run
// stays so.
func (o *objectReconciler) clearStatus(ctx context.Context) error {
	status, _ := o.src.Object["status"].(map[string]any)
	if len(status) == 0 || naming.HasFinalizerOfOthers(o.src, o.owner.Key) || !o.resource.api.HasStatus || !o.hasFinalizer() || o.src.GetDeletionTimestamp() != nil || naming.HasFinished(o.src) {
		return nil
	}
	live, err := o.resource.up.Client.Get(ctx, o.name, metav1.GetOptions{})
	if isGone(err, o.name) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s in the workspace: %w", o, err)
	}
	if !naming.HasStatusFromSyncer(live) {
		return nil
	}
	patch := []map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": string(o.src.GetUID())},
		{"op": "remove", "path": "/status"},
	}
	err = o.patchUp(ctx, types.JSONPatchType, patch, false, "status")
	if _, kind := rejection.Classify(err); err == nil || kind != rejection.Transient {
		return nil // what is refused holds the object up no longer
	}
	return fmt.Errorf("clearing the status of %s: %w", o, err)
}

// ownsStatus: if several targets hold one object, the lowest key writes its status.
func (o *objectReconciler) ownsStatus() bool {
	for _, finalizer := range o.src.GetFinalizers() {
		if key, ok := strings.CutPrefix(finalizer, workloadv1alpha1.SyncerFinalizerPrefix); ok && key < o.owner.Key {
			return false
		}
	}
	return true
}

// releaseSource takes our finalizer and our report off the object, and the status that told of the copy.
func (o *objectReconciler) releaseSource(ctx context.Context) error {
	if err := o.clearStatus(ctx); err != nil {
		return err
	}
	err := o.patchMetadata(ctx, map[string]any{
		"finalizers":  o.withoutFinalizer(),
		"annotations": map[string]any{workloadv1alpha1.SyncAnnotation(o.owner.Key): nil},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// patchMetadata changes the object's metadata, unless somebody was faster: then it is decided anew.
func (o *objectReconciler) patchMetadata(ctx context.Context, metadata map[string]any) error {
	metadata["uid"], metadata["resourceVersion"] = string(o.src.GetUID()), o.src.GetResourceVersion()
	if err := o.patchUp(ctx, types.MergePatchType, map[string]any{"metadata": metadata}, true); err != nil {
		return fmt.Errorf("patching the metadata of %s: %w", o, err)
	}
	return nil
}

// metadataRejectedError is why we could not change our marks on an object, which is where all else is told.
type metadataRejectedError struct{ error }

func (e *metadataRejectedError) Unwrap() error { return e.error }

// warnMetadataRejected tells in an Event what cannot be told on the object itself: that the workspace has refused our marks again and again.
func (o *objectReconciler) warnMetadataRejected(ctx context.Context, failure error) {
	var unmarked *metadataRejectedError
	if !errors.As(failure, &unmarked) || o.src == nil || o.queue.NumRequeues(o.key()) < rejection.ReportAfter {
		return
	}
	answer, kind := rejection.Classify(unmarked)
	if last := o.state.metadataRejectedAt; kind == rejection.Transient || !last.IsZero() && o.clock.Since(last) < rejection.RetryAfter {
		return
	}
	now := metav1.NewTime(o.clock.Now())
	event := o.eventOn(o.src, string(o.src.GetUID()))
	event.Type, event.Reason, event.Count, event.FirstTimestamp, event.LastTimestamp = corev1.EventTypeWarning, "SyncRefused", 1, now, now
	event.Message = "The workspace does not let the syncer change its finalizer and annotation on this object, without which it is neither synced nor let go; the admission policy or webhook that refuses it must let these pass: " + answer.Refused
	o.state.metadataRejectedAt = o.clock.Now()
	if err := o.writeEvent(ctx, event); err != nil {
		log.FromContext(ctx).Info("An object is not synced, which cannot be told in its workspace", "object", o.String(), "cause", failure.Error(), "refused", err.Error())
	}
}

// patchUp patches the object in the workspace and goes on with what it is then. knew tells that the patch holds for no
// other state than the one that this pass has looked at, so that the answer brings nothing new.
func (o *objectReconciler) patchUp(ctx context.Context, kind types.PatchType, patch any, knew bool, subresource ...string) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	patched, err := o.resource.up.Client.Patch(ctx, o.name, kind, body, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer}, subresource...)
	if err != nil && len(subresource) == 0 {
		return &metadataRejectedError{err}
	}
	if err != nil {
		return err
	}
	if patched.GetDeletionTimestamp() == nil || len(patched.GetFinalizers()) > 0 {
		o.resource.up.Objects.Assume(o.namespace.upstreamNamespace+"/"+o.name, patched, knew)
	}
	o.src = patched
	return nil
}
