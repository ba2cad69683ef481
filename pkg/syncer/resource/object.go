package resource

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// pass is one look at one object on both sides.
type pass struct {
	*Engine
	place *place
	lane  *lane
	name  string
	// src is the object in the workspace, dst its copy; nil where the cache shows none. Not to be changed.
	src, dst *unstructured.Unstructured
	// changed and answered are since when a change of the object, and of the copy, wait; zero where none does.
	changed, answered time.Time
}

// syncObject brings one object one step further, and returns when to look again without an event; 0 is never.
func (e *Engine) syncObject(ctx context.Context, p *place, l *lane, name string) (time.Duration, error) {
	if !l.synced() {
		return 0, nil // everything is looked at when it has
	}
	src, srcAhead := l.up.objects.get(p.namespace + "/" + name)
	o := &pass{Engine: e, place: p, lane: l, name: name, src: src, changed: l.up.takeSeen(name)}
	dstAhead := false
	if l.down != nil {
		o.answered = l.down.takeSeen(name)
		o.dst, dstAhead = l.down.objects.get(p.counterpart + "/" + name)
	}
	again, err := o.run(ctx)
	if err != nil {
		l.up.stillSeen(name, o.changed)
		if l.down != nil {
			l.down.stillSeen(name, o.answered)
		}
	}
	if (srcAhead || dstAhead) && again == 0 {
		again = overlayLifetime // for an event that never comes
	}
	return again, err
}

func (o *pass) run(ctx context.Context) (time.Duration, error) {
	if ending := o.place.ending(); ending != nil {
		return 0, o.withdraw(ctx, ending.orphan)
	}
	if o.lane.resource.Leaving {
		return 0, o.withdraw(ctx, false)
	}
	switch {
	case o.src != nil && wanted(o.src):
		return o.carry(ctx)
	case !o.holds() && !o.ours(o.dst):
		return 0, nil
	}
	unwanted, err := o.unwanted(ctx)
	if err != nil || !unwanted {
		return time.Second, err // the cache will follow
	}
	return 0, o.withdraw(ctx, false)
}

// unwanted asks the workspace itself.
func (o *pass) unwanted(ctx context.Context) (bool, error) {
	live, err := o.lane.up.client.Get(ctx, o.name, metav1.GetOptions{})
	if isGone(err, o.name) {
		if o.src != nil {
			o.lane.up.objects.drop(o.place.namespace + "/" + o.name)
		}
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %s in the workspace: %w", o, err)
	}
	o.src = live
	return !wanted(live), nil
}

// isGone tells that this object is gone from an API that is gone, or was never there.
func isGone(err error, name string) bool {
	var answer apierrors.APIStatus
	return apierrors.IsNotFound(err) && asStatus(err, &answer) && answer.Status().Details != nil && answer.Status().Details.Name == name
}

// explain tells on the object why objects of its resource do not travel. A copy that there is stays, and its status is told.
func (o *pass) explain(ctx context.Context) error {
	before := o.reported()
	report := Report{Time: before.Time, Generation: before.Generation, Refused: clip(fmt.Sprintf("%s is not synced (%s): %s",
		o.lane.resource.GroupResource, o.lane.resource.State, o.lane.resource.Message))}
	return o.tell(ctx, report, before)
}

// reported is what was last told on the object.
func (o *pass) reported() Report {
	return parseReport(o.src.GetAnnotations()[workloadv1alpha1.SyncAnnotation(o.owner.Key)])
}

// carry brings the copy to what the object says, and tells the user how it fares.
func (o *pass) carry(ctx context.Context) (time.Duration, error) {
	if o.lane.resource.State != workloadv1alpha1.ResourceAccepted {
		return 0, o.explain(ctx)
	}
	if !o.holds() {
		if err := o.hold(ctx); err != nil {
			return 0, err
		}
	}
	desired, err := o.owner.Copy(o.src)
	if err != nil {
		return 0, err
	}
	before := o.reported()
	report := Report{Time: before.Time}
	switch {
	case o.dst != nil && !o.ours(o.dst) && o.dst.GetAnnotations()[workloadv1alpha1.AnnotationAdopt] != o.owner.Key:
		report.Refused = fmt.Sprintf("%s %q exists in Namespace %q of the physical cluster and is not a copy; delete it there, or annotate it there with %s=%s to hand it over",
			o.lane.resource.Kind, o.name, o.place.counterpart, workloadv1alpha1.AnnotationAdopt, o.owner.Key)
	case o.dst != nil && o.dst.GetDeletionTimestamp() != nil:
		report.Generation, report.Ready, report.Message = before.Generation, "Terminating", "the copy is being deleted, and is made anew when it is gone"
	case o.dst != nil && (upToDate(o.dst, desired) || o.settled(desired)):
	default:
		if report, err = o.apply(ctx, desired, report); err != nil {
			return 0, err
		}
	}
	if o.dst != nil && o.ours(o.dst) && !report.blamed() && report.Ready == "" {
		report = report.of(o.dst)
		report.Message = cmp.Or(report.Message, scaledElsewhere(o.dst, desired))
	}
	if before == (Report{}) && !report.blamed() && o.inBurst() {
		o.lane.up.stillSeen(o.name, o.changed)
		return reportDelay, nil
	}
	if err := o.tell(ctx, report, before); err != nil {
		return 0, err
	}
	if report.blamed() {
		return refusalRetry, nil
	}
	return 0, nil
}

// inBurst tells whether others wait for a turn while this one has waited less than reportPatience.
func (o *pass) inBurst() bool {
	return !o.changed.IsZero() && o.queue.Len() > 0 && o.clock.Since(o.changed) < reportPatience
}

// apply writes the copy. A refusal is a Report; an error is for what another attempt may change.
func (o *pass) apply(ctx context.Context, desired *unstructured.Unstructured, report Report) (Report, error) {
	force := o.src.GetAnnotations()[workloadv1alpha1.AnnotationTakeOver] == "true"
	log.FromContext(ctx).V(1).Info("Applying", "object", o.String())
	if o.dst != nil {
		desired.SetUID(o.dst.GetUID()) // should it be replaced meanwhile, the server refuses
	}
	write := func(desired *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		started := o.clock.Now()
		applied, err := o.lane.down.client.Apply(ctx, o.name, desired, metav1.ApplyOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer, Force: force})
		o.metrics.applied(o.lane.resource.GroupResource, o.clock.Since(started), err)
		return applied, err
	}
	applied, err := write(desired)
	scaled := isScaled(err)
	if scaled {
		rest := desired.DeepCopy()
		unstructured.RemoveNestedField(rest.Object, "spec", "replicas")
		applied, err = write(rest)
	}
	if err != nil {
		if refused, ok := refusal(err); ok {
			refused.Time, refused.Generation = report.Time, 0
			return refused, nil
		}
		return report, fmt.Errorf("applying %s in the physical cluster: %w", o, err)
	}
	unchanged := o.dst != nil && o.dst.GetResourceVersion() == applied.GetResourceVersion()
	o.dst = applied
	if unchanged || scaled {
		o.settle(desired)
	}
	if !unchanged {
		o.lane.down.objects.put(o.place.counterpart+"/"+o.name, applied)
		report.Time = o.clock.Now().UTC().Format(time.RFC3339)
		o.metrics.carried(o.lane.resource.GroupResource, o.clock, o.changed)
	}
	return report, nil
}

// settle remembers that an apply has changed nothing, though the copy seemed not to say what it should: the server knows
// better, and is not asked again until one of the two changes.
func (o *pass) settle(desired *unstructured.Unstructured) {
	o.settlements.Store(o.id(), o.settlement(desired))
}

func (o *pass) settled(desired *unstructured.Unstructured) bool {
	known, ok := o.settlements.Load(o.id())
	return ok && known == o.settlement(desired)
}

func (o *pass) settlement(desired *unstructured.Unstructured) string {
	content := map[string]any{}
	for field, value := range o.dst.Object {
		if field != "status" && field != "metadata" {
			content[field] = value
		}
	}
	force := o.src.GetAnnotations()[workloadv1alpha1.AnnotationTakeOver]
	hash, err := hashOf([]any{desired.GetAnnotations()[workloadv1alpha1.AnnotationAppliedHash], force, content, o.dst.GetLabels(), o.dst.GetAnnotations()})
	if err != nil {
		return ""
	}
	return hash
}

// tell writes the status and the report upstream, each if it differs from what is there.
func (o *pass) tell(ctx context.Context, report, before Report) error {
	if o.dst != nil && o.ours(o.dst) && o.lane.resource.HasStatus && o.ownsStatus() {
		status := statusUp(o.dst)
		if status != nil && !equality.Semantic.DeepEqual(status, o.src.Object["status"]) {
			patch := []map[string]any{
				{"op": "test", "path": "/metadata/uid", "value": string(o.src.GetUID())},
				{"op": "add", "path": "/status", "value": status},
			}
			if err := o.patchUp(ctx, types.JSONPatchType, patch, "status"); err != nil {
				return fmt.Errorf("writing the status of %s: %w", o, err)
			}
			o.metrics.told(o.lane.resource.GroupResource, o.clock, o.answered)
		}
	}
	if report == before {
		return nil
	}
	if report.Time == "" && !report.blamed() {
		report.Time = o.clock.Now().UTC().Format(time.RFC3339)
		if before.Time != "" {
			report.Time = before.Time
		}
		if report == before {
			return nil
		}
	}
	patch := map[string]any{"metadata": map[string]any{
		"uid":         string(o.src.GetUID()),
		"annotations": map[string]any{workloadv1alpha1.SyncAnnotation(o.owner.Key): report.String()},
	}}
	if err := o.patchUp(ctx, types.MergePatchType, patch); err != nil {
		return fmt.Errorf("reporting on %s: %w", o, err)
	}
	return nil
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

// withdraw removes the copy, or our marks on it, and then lets the object go.
func (o *pass) withdraw(ctx context.Context, orphan bool) error {
	if o.ours(o.dst) {
		if !orphan {
			return o.deleteCopy(ctx) // its end comes as an event
		}
		if err := o.stripCopy(ctx); err != nil {
			return err
		}
	} else if o.holds() && !orphan && o.lane.down != nil {
		// The cache shows no copy; the finalizer stands for one, so the server is asked.
		live, err := o.lane.down.client.Get(ctx, o.name, metav1.GetOptions{})
		if err != nil && !isGone(err, o.name) {
			return fmt.Errorf("reading %s in the physical cluster: %w", o, err)
		}
		if err == nil && o.ours(live) {
			o.dst = live
			return o.deleteCopy(ctx)
		}
	}
	if o.src != nil && (o.holds() || o.src.GetAnnotations()[workloadv1alpha1.SyncAnnotation(o.owner.Key)] != "") {
		return o.release(ctx)
	}
	return nil
}

func (o *pass) deleteCopy(ctx context.Context) error {
	if o.dst.GetDeletionTimestamp() != nil {
		return nil
	}
	log.FromContext(ctx).Info("Deleting the copy", "object", o.String())
	uid, background := o.dst.GetUID(), metav1.DeletePropagationBackground
	err := o.lane.down.client.Delete(ctx, o.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s in the physical cluster: %w", o, err)
	}
	o.lane.down.objects.drop(o.place.counterpart + "/" + o.name)
	return nil
}

// stripCopy takes our marks off a copy, which from then on belongs to whoever runs the physical cluster.
func (o *pass) stripCopy(ctx context.Context) error {
	log.FromContext(ctx).Info("Leaving the copy behind", "object", o.String())
	labels, annotations := map[string]any{}, map[string]any{}
	for name := range o.dst.GetLabels() {
		if strings.HasPrefix(name, workloadv1alpha1.GroupName+"/") {
			labels[name] = nil
		}
	}
	for name := range o.dst.GetAnnotations() {
		if strings.HasPrefix(name, workloadv1alpha1.GroupName+"/") {
			annotations[name] = nil
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": string(o.dst.GetUID()), "labels": labels, "annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = o.lane.down.client.Patch(ctx, o.name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("taking our marks off %s in the physical cluster: %w", o, err)
	}
	return nil
}

// holds tells whether our finalizer is on the object.
func (o *pass) holds() bool {
	return o.src != nil && slices.Contains(o.src.GetFinalizers(), workloadv1alpha1.SyncerFinalizer(o.owner.Key))
}

// ours tells whether an object of the physical cluster is a copy of ours.
func (o *pass) ours(dst *unstructured.Unstructured) bool {
	return dst != nil && dst.GetLabels()[workloadv1alpha1.LabelKey] == o.owner.Key
}

// hold puts our finalizer on the object, before there is a copy.
func (o *pass) hold(ctx context.Context) error {
	finalizers := append(slices.Clone(o.src.GetFinalizers()), workloadv1alpha1.SyncerFinalizer(o.owner.Key))
	return o.patchMetadata(ctx, map[string]any{"finalizers": finalizers})
}

// release takes our finalizer and our report off the object.
func (o *pass) release(ctx context.Context) error {
	finalizers := slices.DeleteFunc(slices.Clone(o.src.GetFinalizers()), func(f string) bool { return f == workloadv1alpha1.SyncerFinalizer(o.owner.Key) })
	err := o.patchMetadata(ctx, map[string]any{
		"finalizers":  finalizers,
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
	if err := o.patchUp(ctx, types.MergePatchType, map[string]any{"metadata": metadata}); err != nil {
		return fmt.Errorf("patching the metadata of %s: %w", o, err)
	}
	return nil
}

// patchUp patches the object in the workspace and goes on with what it is then.
func (o *pass) patchUp(ctx context.Context, kind types.PatchType, patch any, subresource ...string) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	patched, err := o.lane.up.client.Patch(ctx, o.name, kind, body, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer}, subresource...)
	if err != nil {
		return err
	}
	if patched.GetDeletionTimestamp() == nil || len(patched.GetFinalizers()) > 0 {
		o.lane.up.objects.put(o.place.namespace+"/"+o.name, patched)
	}
	o.src = patched
	return nil
}

// String names the object as its user does.
func (o *pass) String() string {
	return fmt.Sprintf("%s %q", o.lane.resource.Kind, o.place.namespace+"/"+o.name)
}

func (o *pass) id() item {
	return item{namespace: o.place.namespace, resource: o.lane.resource.GroupResource, name: o.name}
}
