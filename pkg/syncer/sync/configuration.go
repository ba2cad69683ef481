package sync

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// applyConfiguration returns what is applied to the copy that there is: desired and, for a kind whose server derives fields from
// others, the defaults of a fresh copy. Owning the defaults too, the syncer removes those that no longer follow from the object:
// a Deployment that turns to `strategy: {type: Recreate}` would otherwise keep `rollingUpdate`, which nobody has set.
func (o *objectReconciler) applyConfiguration(ctx context.Context, desired *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if cache.WasCreated(o.dst) {
		if err := o.ownAsApplier(ctx); err != nil {
			return nil, err
		}
	}
	if !o.isManaged(o.dst) {
		return desired.DeepCopy(), nil // only what is asked for goes into an object of somebody else
	}
	if !transform.HasDerivedFields(desired) {
		return desired.DeepCopy(), nil
	}
	fresh, err := o.resource.down.Client.Create(ctx, transform.ForDryRun(desired),
		metav1.CreateOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer, DryRun: []string{metav1.DryRunAll}})
	if err == nil {
		fresh, err = transform.WithDefaults(desired, fresh)
	}
	if err != nil {
		// Such as a quota that has no room for another one, or a webhook that takes no dry run.
		log.FromContext(ctx).V(1).Info("The defaults of a fresh copy are not known", "object", o.String(), "cause", err.Error())
		return desired.DeepCopy(), nil
	}
	return fresh, nil
}

// ownAsApplier turns the ownership of fields that comes from the creation of the copy into that of server-side apply. Otherwise the
// syncer would be in conflict with itself.
func (o *objectReconciler) ownAsApplier(ctx context.Context) error {
	live, err := o.resource.down.Client.Get(ctx, o.name, metav1.GetOptions{})
	if rejection.IsNotFound(err, o.name) {
		o.resource.down.Objects.Forget(o.namespace.downstreamNamespace + "/" + o.name)
	}
	if err != nil {
		return fmt.Errorf("reading %s in the physical cluster: %w", o, err)
	}
	if live.GetUID() != o.dst.GetUID() {
		return fmt.Errorf("%s is another object in the physical cluster, and the syncer's watch has yet to show it", o)
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(workloadv1alpha1.FieldOwnerSyncer), workloadv1alpha1.FieldOwnerSyncer)
	if err != nil {
		return fmt.Errorf("reading the managedFields of %s in the physical cluster: %w", o, err)
	}
	if patch == nil {
		return nil
	}
	upgraded, err := o.resource.down.Client.Patch(ctx, o.name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer})
	if err != nil {
		return fmt.Errorf("patching the managedFields of %s in the physical cluster: %w", o, err)
	}
	o.dst = upgraded
	return nil
}
