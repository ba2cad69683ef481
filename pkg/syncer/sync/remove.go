package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// confirmRemoval reads live whether the copy is really to go, and how: the cache may lag, a Namespace may have been opened again,
// or the deletion policy have changed.
func (o *objectReconciler) confirmRemoval(ctx context.Context) error {
	switch o.intent() {
	case intentDrain:
		live, err := o.source.ReadPlan(ctx)
		if err != nil {
			return err
		}
		ending := drainOf(live, o.namespace.upstream)
		o.confirmed.removal = removalOf(ending)
	case intentRemove:
		live, err := o.source.ReadPlan(ctx)
		if err != nil {
			return err
		}
		o.confirmed.removal = removalDelete
		if slices.Contains(live.Resources, o.resource.api.GroupResource) {
			o.confirmed.removal = removalRefuted
			signal(o.rediscover) // it is named again
		}
	case intentRun:
		if err := o.confirmSource(ctx); err != nil {
			return err
		}
		o.confirmed.removal = removalDelete
		if sourceStateOf(o.src) == sourceWanted {
			o.confirmed.removal = removalRefuted
		}
	}
	return nil
}

// removalOf is how a copy ends with its Namespace.
func removalOf(ending *drain) removal {
	switch {
	case ending == nil:
		return removalRefuted
	case ending.orphan:
		return removalOrphan
	}
	return removalDelete
}

// confirmSource reads the object live.
func (o *objectReconciler) confirmSource(ctx context.Context) error {
	live, existence, err := o.resource.source.Read(ctx, o.name)
	if err != nil {
		return fmt.Errorf("reading %s in the workspace: %w", o, err)
	}
	if existence == source.Deleted {
		o.resource.up.Objects.Forget(o.namespace.upstream.Key(o.name))
	}
	o.src = live
	o.confirmed.sourceRead = true
	return nil
}

// confirmNoCopy asks the physical cluster whether there is a copy: the finalizer stands for one, whatever the cache shows.
func (o *objectReconciler) confirmNoCopy(ctx context.Context) (done bool, err error) {
	live, err := o.resource.down.Client.Get(ctx, o.name, metav1.GetOptions{})
	switch {
	case err != nil && !rejection.IsNotFound(err, o.name):
		return true, o.reportFailure(ctx, fmt.Errorf("reading %s in the physical cluster, to see whether there is a copy: %w", o, err))
	case err == nil && o.isManaged(live):
		o.dst = live
	default:
		o.confirmed.noCopy = true
	}
	return false, nil
}

// endCopy deletes the copy, or takes what is ours off it; done tells that the pass ends.
func (o *objectReconciler) endCopy(ctx context.Context, next action) (done bool, err error) {
	switch next {
	case orphanCopy:
		return false, o.orphanCopy(ctx)
	case releaseCopy:
		return false, o.releaseCopy(ctx)
	}
	return true, o.reportFailure(ctx, o.deleteCopy(ctx))
}

// reportFailure returns why the object cannot be taken further, and reports it on the object once it has failed several times.
func (o *objectReconciler) reportFailure(ctx context.Context, err error) error {
	report, class := o.classify(err)
	if class == rejection.Transient || o.src == nil || o.failures() < rejection.ReportAfter {
		return err
	}
	before := o.lastReport()
	report.Time, report.Generation = before.Time, before.Generation
	return errors.Join(err, o.writeUpstream(ctx, report))
}

// deleteCopy deletes the copy by its UID. Its end comes as an event.
func (o *objectReconciler) deleteCopy(ctx context.Context) error {
	propagation := o.propagation()
	log.FromContext(ctx).Info("Deleting the copy", "object", o.String(), "propagation", propagation)
	uid := o.dst.GetUID()
	err := o.resource.down.Client.Delete(ctx, o.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &propagation})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s in the physical cluster: %w", o, err)
	}
	o.resource.down.Objects.Forget(o.namespace.downstreamNamespace + "/" + o.name)
	return nil
}

// propagation is how the user has deleted the object, which is how its copy is deleted.
func (o *objectReconciler) propagation() metav1.DeletionPropagation {
	if o.src == nil || o.src.GetDeletionTimestamp() == nil {
		return metav1.DeletePropagationBackground
	}
	return transform.Propagation(o.src, o.resource.up.DeletedWith(o.name, o.src.GetUID()))
}

// releaseCopy takes everything of ours out of an object that is not ours alone: what an apply no longer names goes.
func (o *objectReconciler) releaseCopy(ctx context.Context) error {
	log.FromContext(ctx).Info("Releasing an object of the cluster", "object", o.String())
	if cache.WasCreated(o.dst) {
		if err := o.ownAsApplier(ctx); err != nil {
			return err
		}
	}
	bare := &unstructured.Unstructured{}
	bare.SetGroupVersionKind(o.dst.GroupVersionKind())
	bare.SetNamespace(o.namespace.downstreamNamespace)
	bare.SetName(o.name)
	bare.SetUID(o.dst.GetUID())
	left, err := o.resource.down.Client.Apply(ctx, o.name, bare, metav1.ApplyOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
	if err != nil {
		return fmt.Errorf("taking our fields out of %s in the physical cluster: %w", o, err)
	}
	o.resource.down.Objects.Assume(o.namespace.downstreamNamespace+"/"+o.name, left, true)
	o.dst = left
	o.confirmed.noCopy = !o.isManaged(left)
	return nil
}

// orphanCopy takes our metadata off the copy, which from then on belongs to whoever runs the physical cluster.
func (o *objectReconciler) orphanCopy(ctx context.Context) error {
	log.FromContext(ctx).Info("Orphaning the copy", "object", o.String())
	live, err := o.resource.down.Client.Get(ctx, o.name, metav1.GetOptions{})
	if err != nil && !rejection.IsNotFound(err, o.name) {
		return fmt.Errorf("reading %s in the physical cluster: %w", o, err)
	}
	if err != nil || live.GetUID() != o.dst.GetUID() || !o.isManaged(live) {
		o.dst = nil
		return nil // which confirmNoCopy has to show
	}
	patch, err := orphanPatch(live)
	if err != nil {
		return err
	}
	left, err := o.resource.down.Client.Patch(ctx, o.name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("taking our metadata off %s in the physical cluster: %w", o, err)
	}
	o.dst = left
	o.confirmed.noCopy = true
	return nil
}

// orphanPatch is a merge patch that removes our labels, annotations and ownership of fields.
func orphanPatch(live *unstructured.Unstructured) ([]byte, error) {
	metadata := map[string]any{"uid": string(live.GetUID()), "labels": ourKeys(live.GetLabels()), "annotations": ourKeys(live.GetAnnotations())}
	if entries, found := naming.WithoutSyncer(live.GetManagedFields()); found {
		// Whoever sets a field later meets no conflict with a syncer that is gone.
		metadata["managedFields"], metadata["resourceVersion"] = entries, live.GetResourceVersion()
	}
	return json.Marshal(map[string]any{"metadata": metadata})
}

// ourKeys maps our labels or annotations to null.
func ourKeys(all map[string]string) map[string]any {
	nulls := map[string]any{}
	for name := range all {
		if strings.HasPrefix(name, workloadv1alpha1.GroupName+"/") {
			nulls[name] = nil
		}
	}
	return nulls
}
