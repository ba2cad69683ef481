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

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
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
	if report.Time == "" && !report.Rejected() {
		report.Time = o.clock.Now().UTC().Format(time.RFC3339)
	}
	releases := o.noCopy && o.hasFinalizer()
	if report.Equal(o.lastReport()) && !releases {
		return nil
	}
	metadata := map[string]any{"annotations": map[string]any{workloadv1alpha1.SyncAnnotation(o.owner.Key): report.String()}}
	if releases {
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

// addFinalizer puts our finalizer on the object, also if the cache shows it there: the cache may lag, and the server compares
// versions.
func (o *objectReconciler) addFinalizer(ctx context.Context) error {
	if err := o.patchMetadata(ctx, map[string]any{"finalizers": o.withFinalizer()}); err != nil {
		return err
	}
	o.confirmed.finalizer = true
	return nil
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
	patch := []map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": string(o.src.GetUID())},
		{"op": "add", "path": "/status", "value": status},
	}
	version := o.src.GetResourceVersion()
	err = o.patchUp(ctx, types.JSONPatchType, patch, false, "status")
	if err != nil {
		return o.statusFailure(err)
	}
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

// removeStatus removes a status that a live read shows to be written by a syncer.
func (o *objectReconciler) removeStatus(ctx context.Context) error {
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
	if _, class := rejection.Classify(err); err == nil || class != rejection.Transient {
		return nil // a refusal does not keep the finalizer on the object
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

// patchMetadata changes the object's metadata, unless it has changed since it was read: then the next pass decides anew.
func (o *objectReconciler) patchMetadata(ctx context.Context, metadata map[string]any) error {
	metadata["uid"], metadata["resourceVersion"] = string(o.src.GetUID()), o.src.GetResourceVersion()
	if err := o.patchUp(ctx, types.MergePatchType, map[string]any{"metadata": metadata}, true); err != nil {
		return fmt.Errorf("patching the metadata of %s: %w", o, err)
	}
	return nil
}

// metadataRejectedError is why the syncer could not change its metadata on an object, which is where everything else is reported.
type metadataRejectedError struct{ error }

func (e *metadataRejectedError) Unwrap() error { return e.error }

// patchUp patches the object in the workspace and goes on with the answer. knew tells that the patch fails for any other version
// than the one that this pass has observed, so that the answer contains nothing new.
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
