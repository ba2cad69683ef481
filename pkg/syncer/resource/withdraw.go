package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/mapping"
)

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
	return apierrors.IsNotFound(err) && errors.As(err, &answer) && answer.Status().Details != nil && answer.Status().Details.Name == name
}

// end withdraws an object of a Namespace that is closing, if kcp itself says so just now: it may have been opened again, or
// the policy be another, while we are at it.
func (o *pass) end(ctx context.Context) (again time.Duration, err error) {
	if o.free() && !o.marked() {
		return 0, nil
	}
	live, err := o.lately(ctx)
	if err != nil {
		return 0, err
	}
	ending := o.endOf(live, o.place.namespace)
	if ending == nil {
		return time.Second, nil // the SyncTarget's event will follow
	}
	return 0, o.withdraw(ctx, ending.orphan)
}

// leave withdraws an object of a resource that the spec no longer names, if the workspace itself says so.
func (o *pass) leave(ctx context.Context) error {
	if o.free() && !o.marked() {
		return nil
	}
	live, err := o.lately(ctx)
	if err != nil {
		return err
	}
	if string(live.UID) != o.owner.UID || slices.Contains(live.Spec.Synced(), o.lane.resource.GroupResource) {
		signal(o.asked)
		return nil // it is named again
	}
	return o.withdraw(ctx, false)
}

// withdraw removes the copy, or our marks on it, and then lets the object go.
func (o *pass) withdraw(ctx context.Context, orphan bool) error {
	if o.ours(o.dst) {
		end := o.endCopy
		switch {
		case orphan:
			end = o.stripCopy
		case o.isFixture():
			end = o.giveBack
		}
		if err := end(ctx); err != nil || o.ours(o.dst) {
			return err
		}
	} else if o.holds() && !orphan && o.lane.down != nil {
		// The cache shows no copy; the finalizer stands for one, so the server is asked.
		copy, err := o.findCopy(ctx)
		if err != nil {
			return o.heldUp(ctx, err)
		}
		if copy != nil {
			o.dst = copy
			return o.withdraw(ctx, orphan)
		}
	}
	if o.holds() || o.marked() {
		return o.release(ctx)
	}
	return nil
}

// findCopy asks the physical cluster itself for the copy; nil if there is none.
func (o *pass) findCopy(ctx context.Context) (*unstructured.Unstructured, error) {
	live, err := o.lane.down.client.Get(ctx, o.name, metav1.GetOptions{})
	if err != nil && !isGone(err, o.name) {
		return nil, fmt.Errorf("reading %s in the physical cluster, to see whether there is a copy: %w", o, err)
	}
	if err != nil || !o.ours(live) {
		return nil, nil
	}
	return live, nil
}

// endCopy deletes the copy, whose end comes as an event, and tells what holds that up.
func (o *pass) endCopy(ctx context.Context) error {
	if o.dst.GetDeletionTimestamp() == nil {
		return o.heldUp(ctx, o.deleteCopy(ctx))
	}
	if o.src == nil || len(o.dst.GetFinalizers()) == 0 {
		return nil
	}
	return o.tell(ctx, o.terminating(o.reported().renewed(), "and then this object is free"))
}

// heldUp returns what keeps us from letting the object go, and tells it there once it has lasted.
func (o *pass) heldUp(ctx context.Context, err error) error {
	report, kind := o.refusal(err)
	if kind == passing || o.src == nil || o.queue.NumRequeues(o.id()) < tellAfter {
		return err
	}
	before := o.reported()
	report.Time, report.Generation = before.Time, before.Generation
	return errors.Join(err, o.tell(ctx, report))
}

// isRerun tells whether the copy is of an earlier Job of the name. A Job runs once: the next one is not run, and has not
// ended, by what became of the last. All else is what it says, whoever said so first.
func (o *pass) isRerun() bool {
	return mapping.IsJob(o.src.GroupVersionKind().GroupKind()) &&
		o.dst.GetAnnotations()[workloadv1alpha1.AnnotationSourceUID] != string(o.src.GetUID())
}

// replaceCopy deletes a copy if the workspace itself shows that its object is another by now.
func (o *pass) replaceCopy(ctx context.Context) error {
	live, err := o.lane.up.client.Get(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading %s in the workspace: %w", o, err)
	}
	if live.GetUID() != o.src.GetUID() {
		return fmt.Errorf("%s is another by now", o)
	}
	return o.deleteCopy(ctx)
}

func (o *pass) deleteCopy(ctx context.Context) error {
	log.FromContext(ctx).Info("Deleting the copy", "object", o.String())
	uid, background := o.dst.GetUID(), metav1.DeletePropagationBackground
	err := o.lane.down.client.Delete(ctx, o.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s in the physical cluster: %w", o, err)
	}
	o.lane.down.objects.drop(o.place.counterpart + "/" + o.name)
	return nil
}

// giveBackMerged gives back what was merged into, before anything else is made of it: it carries our marks. The server is
// asked for it, as the cache may not show it yet.
func (o *pass) giveBackMerged(ctx context.Context) error {
	if o.memory.merged == "" || o.lane.down == nil {
		return nil
	}
	live, err := o.lane.down.client.Get(ctx, o.name, metav1.GetOptions{})
	if err != nil && !isGone(err, o.name) {
		return o.heldUp(ctx, fmt.Errorf("reading %s in the physical cluster, to give it back: %w", o, err))
	}
	if err == nil && live.GetUID() == o.memory.merged && o.ours(live) {
		o.dst = live
		if err := o.giveBack(ctx); err != nil {
			return o.heldUp(ctx, err)
		}
	}
	o.memory.merged = ""
	return nil
}

// giveBack takes everything of ours out of an object that is not ours alone: what is applied no longer names goes.
func (o *pass) giveBack(ctx context.Context) error {
	log.FromContext(ctx).Info("Giving back", "object", o.String())
	bare := &unstructured.Unstructured{}
	bare.SetGroupVersionKind(o.dst.GroupVersionKind())
	bare.SetNamespace(o.place.counterpart)
	bare.SetName(o.name)
	bare.SetUID(o.dst.GetUID())
	left, err := o.lane.down.client.Apply(ctx, o.name, bare, metav1.ApplyOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
	if err != nil {
		return fmt.Errorf("giving %s in the physical cluster back: %w", o, err)
	}
	o.lane.down.objects.put(o.place.counterpart+"/"+o.name, left, true)
	o.dst = left
	return nil
}

// stripCopy takes our marks off a copy, which from then on belongs to whoever runs the physical cluster.
func (o *pass) stripCopy(ctx context.Context) error {
	log.FromContext(ctx).Info("Leaving the copy behind", "object", o.String())
	live, err := o.lane.down.client.Get(ctx, o.name, metav1.GetOptions{})
	if err != nil && !isGone(err, o.name) {
		return fmt.Errorf("reading %s in the physical cluster: %w", o, err)
	}
	if err != nil || live.GetUID() != o.dst.GetUID() {
		o.dst = nil
		return nil
	}
	o.dst = live
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
	metadata := map[string]any{"uid": string(o.dst.GetUID()), "labels": labels, "annotations": annotations}
	if entries, found := mapping.Disowned(o.dst.GetManagedFields()); found {
		// Whoever sets a field later meets no conflict with a syncer that is gone.
		metadata["managedFields"], metadata["resourceVersion"] = entries, o.dst.GetResourceVersion()
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	left, err := o.lane.down.client.Patch(ctx, o.name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("taking our marks off %s in the physical cluster: %w", o, err)
	}
	o.dst = left
	return nil
}
