package sync

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
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// confirmUnwanted asks the workspace itself.
func (o *objectReconciler) confirmUnwanted(ctx context.Context) (bool, error) {
	live, err := o.resource.up.Client.Get(ctx, o.name, metav1.GetOptions{})
	if isGone(err, o.name) {
		if o.src != nil {
			o.resource.up.Objects.Forget(o.namespace.upstreamNamespace + "/" + o.name)
		}
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %s in the workspace: %w", o, err)
	}
	o.src = live
	return !transform.IsWanted(live), nil
}

// isGone tells that this object is gone from an API that is gone, or was never there.
func isGone(err error, name string) bool {
	var answer apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &answer) && answer.Status().Details != nil && answer.Status().Details.Name == name
}

// removeDrained withdraws an object of a Namespace that is closing, if kcp itself says so just now: it may have been opened again, or
// the policy be another, while we are at it.
func (o *objectReconciler) removeDrained(ctx context.Context) (again time.Duration, err error) {
	if o.hasNothing() && !o.hasReport() {
		return 0, nil
	}
	live, err := o.recentTarget(ctx)
	if err != nil {
		return 0, err
	}
	ending := o.drainOf(live, o.namespace.upstreamNamespace)
	if ending == nil {
		return time.Second, nil // the SyncTarget's event will follow
	}
	return 0, o.remove(ctx, ending.orphan)
}

// removeResource withdraws an object of a resource that the spec no longer names, if the workspace itself says so.
func (o *objectReconciler) removeResource(ctx context.Context) error {
	if o.hasNothing() && !o.hasReport() {
		return nil
	}
	live, err := o.recentTarget(ctx)
	if err != nil {
		return err
	}
	if string(live.UID) != o.owner.UID || slices.Contains(live.Spec.Synced(), o.resource.api.GroupResource) {
		signal(o.rediscover)
		return nil // it is named again
	}
	return o.remove(ctx, false)
}

// remove removes the copy, or our marks on it, and then lets the object go.
func (o *objectReconciler) remove(ctx context.Context, orphan bool) error {
	if o.isManaged(o.dst) {
		end := o.endCopy
		switch {
		case orphan:
			end = o.stripCopy
		case o.isClusterDefault():
			end = o.giveBack
		}
		if err := end(ctx); err != nil || o.isManaged(o.dst) {
			return err
		}
	} else if o.hasFinalizer() && !orphan && o.resource.down != nil {
		// The cache shows no copy; the finalizer stands for one, so the server is asked.
		copy, err := o.findCopy(ctx)
		if err != nil {
			return o.reportRemovalFailure(ctx, err)
		}
		if copy != nil {
			o.dst = copy
			return o.remove(ctx, orphan)
		}
	}
	if o.hasFinalizer() || o.hasReport() {
		return o.releaseSource(ctx)
	}
	return nil
}

// findCopy asks the physical cluster itself for the copy; nil if there is none.
func (o *objectReconciler) findCopy(ctx context.Context) (*unstructured.Unstructured, error) {
	live, err := o.resource.down.Client.Get(ctx, o.name, metav1.GetOptions{})
	if err != nil && !isGone(err, o.name) {
		return nil, fmt.Errorf("reading %s in the physical cluster, to see whether there is a copy: %w", o, err)
	}
	if err != nil || !o.isManaged(live) {
		return nil, nil
	}
	return live, nil
}

// endCopy deletes the copy, whose end comes as an event, and tells what holds that up.
func (o *objectReconciler) endCopy(ctx context.Context) error {
	if o.dst.GetDeletionTimestamp() == nil {
		return o.reportRemovalFailure(ctx, o.deleteCopy(ctx))
	}
	if o.src == nil || len(o.dst.GetFinalizers()) == 0 {
		return nil
	}
	return o.writeUpstream(ctx, o.terminating(o.lastReport().WithoutOutcome(), "and then this object is free"))
}

// reportRemovalFailure returns what keeps us from letting the object go, and tells it there once it has lasted.
func (o *objectReconciler) reportRemovalFailure(ctx context.Context, err error) error {
	report, kind := o.classify(err)
	if kind == rejection.Transient || o.src == nil || o.queue.NumRequeues(o.key()) < rejection.ReportAfter {
		return err
	}
	before := o.lastReport()
	report.Time, report.Generation = before.Time, before.Generation
	return errors.Join(err, o.writeUpstream(ctx, report))
}

// isEarlierJob tells whether the copy is of an earlier Job of the name. A Job runs once: the next one is not run, and has not
// ended, by what became of the last. All else is what it says, whoever said so first.
func (o *objectReconciler) isEarlierJob() bool {
	return naming.IsJob(o.src.GroupVersionKind().GroupKind()) &&
		o.dst.GetAnnotations()[workloadv1alpha1.AnnotationSourceUID] != string(o.src.GetUID())
}

// replaceCopy deletes a copy if the workspace itself shows that its object is another by now.
func (o *objectReconciler) replaceCopy(ctx context.Context) error {
	live, err := o.resource.up.Client.Get(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading %s in the workspace: %w", o, err)
	}
	if live.GetUID() != o.src.GetUID() {
		return fmt.Errorf("%s is another by now", o)
	}
	return o.deleteCopy(ctx)
}

func (o *objectReconciler) deleteCopy(ctx context.Context) error {
	log.FromContext(ctx).Info("Deleting the copy", "object", o.String())
	uid, background := o.dst.GetUID(), metav1.DeletePropagationBackground
	err := o.resource.down.Client.Delete(ctx, o.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s in the physical cluster: %w", o, err)
	}
	o.resource.down.Objects.Forget(o.namespace.downstreamNamespace + "/" + o.name)
	return nil
}

// giveBackMerged gives back what was merged into, before anything else is made of it: it carries our marks. The server is
// asked for it, as the cache may not show it yet.
func (o *objectReconciler) giveBackMerged(ctx context.Context) error {
	if o.state.merged == "" || o.resource.down == nil {
		return nil
	}
	live, err := o.resource.down.Client.Get(ctx, o.name, metav1.GetOptions{})
	if err != nil && !isGone(err, o.name) {
		return o.reportRemovalFailure(ctx, fmt.Errorf("reading %s in the physical cluster, to give it back: %w", o, err))
	}
	if err == nil && live.GetUID() == o.state.merged && o.isManaged(live) {
		o.dst = live
		if err := o.giveBack(ctx); err != nil {
			return o.reportRemovalFailure(ctx, err)
		}
	}
	o.state.merged = ""
	return nil
}

// giveBack takes everything of ours out of an object that is not ours alone: what is applied no longer names goes.
func (o *objectReconciler) giveBack(ctx context.Context) error {
	log.FromContext(ctx).Info("Giving back", "object", o.String())
	bare := &unstructured.Unstructured{}
	bare.SetGroupVersionKind(o.dst.GroupVersionKind())
	bare.SetNamespace(o.namespace.downstreamNamespace)
	bare.SetName(o.name)
	bare.SetUID(o.dst.GetUID())
	left, err := o.resource.down.Client.Apply(ctx, o.name, bare, metav1.ApplyOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
	if err != nil {
		return fmt.Errorf("giving %s in the physical cluster back: %w", o, err)
	}
	o.resource.down.Objects.Assume(o.namespace.downstreamNamespace+"/"+o.name, left, true)
	o.dst = left
	return nil
}

// stripCopy takes our marks off a copy, which from then on belongs to whoever runs the physical cluster.
func (o *objectReconciler) stripCopy(ctx context.Context) error {
	log.FromContext(ctx).Info("Leaving the copy behind", "object", o.String())
	live, err := o.resource.down.Client.Get(ctx, o.name, metav1.GetOptions{})
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
	if entries, found := naming.WithoutSyncer(o.dst.GetManagedFields()); found {
		// Whoever sets a field later meets no conflict with a syncer that is gone.
		metadata["managedFields"], metadata["resourceVersion"] = entries, o.dst.GetResourceVersion()
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	left, err := o.resource.down.Client.Patch(ctx, o.name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("taking our marks off %s in the physical cluster: %w", o, err)
	}
	o.dst = left
	return nil
}
