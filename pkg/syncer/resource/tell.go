package resource

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
	"github.com/synctarget/synctarget/pkg/syncer/mapping"
)

// explain tells on the object why objects of its resource do not travel. A copy that there is stays, and its status is told.
func (o *pass) explain(ctx context.Context) error {
	if o.lane.resource.stranded() {
		if err := o.clearStatus(ctx); err != nil {
			return err
		}
	}
	report := o.reported().renewed()
	report.Refused = o.notSynced(o.lane.resource.State, o.lane.resource.Message)
	return o.tell(ctx, o.beside(report))
}

// explainBarred tells on the object that the physical cluster does not let its resource be looked at.
func (o *pass) explainBarred(ctx context.Context) (again time.Duration, err error) {
	switch {
	case o.src == nil:
		return 0, nil
	case o.holds(), wanted(o.src) && o.place.ending() == nil && !o.lane.resource.Leaving:
	case o.marked():
		return 0, o.release(ctx)
	default:
		return 0, nil
	}
	refusal := o.lane.down.barred.Load()
	if refusal == nil {
		return time.Second, nil // it has just been lifted
	}
	report := o.reported().renewed()
	report.Refused = o.notSynced(workloadv1alpha1.ResourceForbidden, *refusal)
	return 0, o.tell(ctx, report)
}

// notSynced says why no object of the resource is.
func (o *pass) notSynced(state workloadv1alpha1.SyncedResourceState, why string) string {
	return clip(fmt.Sprintf("%s is not synced (%s): %s", o.lane.resource.GroupResource, state, why))
}

// reported is what was last told on the object.
func (o *pass) reported() Report {
	return parseReport(o.told(o.src))
}

// tell writes the status and the report upstream, each if it differs from what is there.
func (o *pass) tell(ctx context.Context, report Report) error {
	if deadline, bounded := ctx.Deadline(); bounded && time.Until(deadline) < tellTime && !errors.Is(ctx.Err(), context.Canceled) {
		// That the physical cluster has used up the time of the pass has yet to be told.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), tellTime)
		defer cancel()
	}
	refused, err := o.tellStatus(ctx)
	if err != nil && refused == "" {
		return err
	}
	report.Message = cmp.Or(refused, report.Message)
	return errors.Join(err, o.tellReport(ctx, report))
}

// tellReport writes the report upstream, and with it the finalizer where the copy has come or gone without it.
func (o *pass) tellReport(ctx context.Context, report Report) error {
	if report.Time == "" && !report.blamed() {
		report.Time = o.clock.Now().UTC().Format(time.RFC3339)
	}
	holding := o.ours(o.dst) && !o.holds() && wanted(o.src)
	freeing := o.copyless && o.holds()
	if report == o.reported() && !holding && !freeing {
		return nil
	}
	metadata := map[string]any{"annotations": map[string]any{workloadv1alpha1.SyncAnnotation(o.owner.Key): report.String()}}
	switch {
	case holding:
		metadata["finalizers"] = o.held()
		return o.patchMetadata(ctx, metadata)
	case freeing:
		if err := o.clearStatus(ctx); err != nil {
			return err
		}
		metadata["finalizers"] = o.unheld()
		return o.patchMetadata(ctx, metadata)
	}
	metadata["uid"] = string(o.src.GetUID())
	if err := o.patchUp(ctx, types.MergePatchType, map[string]any{"metadata": metadata}, false); err != nil {
		return fmt.Errorf("reporting on %s: %w", o, err)
	}
	return nil
}

// hold puts our finalizer on the object, whether the cache shows it there or not: it may lag behind, and the server compares.
func (o *pass) hold(ctx context.Context) error {
	return o.patchMetadata(ctx, map[string]any{"finalizers": o.held()})
}

// held are the object's finalizers with ours.
func (o *pass) held() []string {
	if o.holds() {
		return o.src.GetFinalizers()
	}
	return append(slices.Clone(o.src.GetFinalizers()), workloadv1alpha1.SyncerFinalizer(o.owner.Key))
}

// unheld are the object's finalizers without ours.
func (o *pass) unheld() []string {
	return slices.DeleteFunc(slices.Clone(o.src.GetFinalizers()), func(f string) bool { return f == workloadv1alpha1.SyncerFinalizer(o.owner.Key) })
}

// tellStatus writes the copy's status upstream if it differs, and returns why the workspace does not take it; with an error
// where another attempt may change that.
func (o *pass) tellStatus(ctx context.Context) (refused string, err error) {
	if !o.ours(o.dst) || o.isRerun() || !o.lane.resource.HasStatus || !o.ownsStatus() {
		return "", nil
	}
	status := statusUp(o.dst)
	if status == nil || equality.Semantic.DeepEqual(status, o.src.Object["status"]) {
		return "", nil
	}
	// What the workspace leaves out of a status, as of a newer API, it would leave out again.
	hash, err := hashOf([]any{status, o.src.Object["status"]})
	if err != nil {
		return "", fmt.Errorf("encoding the status of %s: %w", o, err)
	}
	if o.memory.pruned == hash {
		return "", nil
	}
	patch := []map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": string(o.src.GetUID())},
		{"op": "add", "path": "/status", "value": status},
	}
	version := o.src.GetResourceVersion()
	err = o.patchUp(ctx, types.JSONPatchType, patch, false, "status")
	if err != nil {
		answer, kind := refusal(err)
		if kind == final || kind == lasting && o.queue.NumRequeues(o.id()) >= tellAfter {
			refused = "the workspace does not take the copy's status: " + answer.Refused
		}
		if kind == final {
			o.again = refusalRetry
			return refused, nil
		}
		return refused, fmt.Errorf("writing the status of %s: %w", o, err)
	}
	if o.src.GetResourceVersion() == version {
		o.memory.pruned = hash
		return "", nil
	}
	o.metrics.told(o.lane.resource.GroupResource, o.clock, o.answeredAt)
	return "", nil
}

// clearStatus takes a status off that we have written, for what it tells of is not followed any more. That a Job has run
// stays so.
func (o *pass) clearStatus(ctx context.Context) error {
	status, _ := o.src.Object["status"].(map[string]any)
	if len(status) == 0 || mapping.HeldByOthers(o.src, o.owner.Key) || !o.lane.resource.HasStatus || !o.holds() || o.src.GetDeletionTimestamp() != nil || mapping.HasRun(o.src) {
		return nil
	}
	live, err := o.lane.up.client.Get(ctx, o.name, metav1.GetOptions{})
	if isGone(err, o.name) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s in the workspace: %w", o, err)
	}
	if !mapping.WroteStatus(live) {
		return nil
	}
	patch := []map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": string(o.src.GetUID())},
		{"op": "remove", "path": "/status"},
	}
	err = o.patchUp(ctx, types.JSONPatchType, patch, false, "status")
	if _, kind := refusal(err); err == nil || kind != passing {
		return nil // what is refused holds the object up no longer
	}
	return fmt.Errorf("clearing the status of %s: %w", o, err)
}

// ownsStatus: if several targets hold one object, the lowest key writes its status.
func (o *pass) ownsStatus() bool {
	for _, finalizer := range o.src.GetFinalizers() {
		if key, ok := strings.CutPrefix(finalizer, workloadv1alpha1.SyncerFinalizerPrefix); ok && key < o.owner.Key {
			return false
		}
	}
	return true
}

// release takes our finalizer and our report off the object, and the status that told of the copy.
func (o *pass) release(ctx context.Context) error {
	if err := o.clearStatus(ctx); err != nil {
		return err
	}
	err := o.patchMetadata(ctx, map[string]any{
		"finalizers":  o.unheld(),
		"annotations": map[string]any{workloadv1alpha1.SyncAnnotation(o.owner.Key): nil},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// patchMetadata changes the object's metadata, unless somebody was faster: then it is decided anew.
func (o *pass) patchMetadata(ctx context.Context, metadata map[string]any) error {
	metadata["uid"], metadata["resourceVersion"] = string(o.src.GetUID()), o.src.GetResourceVersion()
	if err := o.patchUp(ctx, types.MergePatchType, map[string]any{"metadata": metadata}, true); err != nil {
		return fmt.Errorf("patching the metadata of %s: %w", o, err)
	}
	return nil
}

// unmarkedError is why we could not change our marks on an object, which is where all else is told.
type unmarkedError struct{ error }

func (e *unmarkedError) Unwrap() error { return e.error }

// warn tells in an Event what cannot be told on the object itself: that the workspace has refused our marks again and again.
func (o *pass) warn(ctx context.Context, failure error) {
	var unmarked *unmarkedError
	if !errors.As(failure, &unmarked) || o.src == nil || o.queue.NumRequeues(o.id()) < tellAfter {
		return
	}
	answer, kind := refusal(unmarked)
	if last := o.memory.unmarked; kind == passing || !last.IsZero() && o.clock.Since(last) < refusalRetry {
		return
	}
	now := metav1.NewTime(o.clock.Now())
	event := o.eventOn(o.src, string(o.src.GetUID()))
	event.Type, event.Reason, event.Count, event.FirstTimestamp, event.LastTimestamp = corev1.EventTypeWarning, "SyncRefused", 1, now, now
	event.Message = "The workspace does not let the syncer change its finalizer and annotation on this object, without which it is neither synced nor let go; the admission policy or webhook that refuses it must let these pass: " + answer.Refused
	o.memory.unmarked = o.clock.Now()
	if err := o.writeEvent(ctx, event); err != nil {
		log.FromContext(ctx).Info("An object is not synced, which cannot be told in its workspace", "object", o.String(), "cause", failure.Error(), "refused", err.Error())
	}
}

// patchUp patches the object in the workspace and goes on with what it is then. knew tells that the patch holds for no
// other state than the one that this pass has looked at, so that the answer brings nothing new.
func (o *pass) patchUp(ctx context.Context, kind types.PatchType, patch any, knew bool, subresource ...string) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	patched, err := o.lane.up.client.Patch(ctx, o.name, kind, body, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer}, subresource...)
	if err != nil && len(subresource) == 0 {
		return &unmarkedError{err}
	}
	if err != nil {
		return err
	}
	if patched.GetDeletionTimestamp() == nil || len(patched.GetFinalizers()) > 0 {
		o.lane.up.objects.put(o.place.namespace+"/"+o.name, patched, knew)
	}
	o.src = patched
	return nil
}
