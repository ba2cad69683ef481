package cache

import (
	"slices"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// packed is an object as an informer keeps it: as JSON, which takes a fraction of the memory of nested maps. It is
// unpacked for each pass.
type packed struct {
	// namespace is shared by all objects of a Namespace.
	namespace     unique.Handle[string]
	name, version string
	content       []byte
	// created tells that the syncer owns fields by a create: see WasCreated.
	created bool
	// uid and deletedWith are set where finalizers say how the object was deleted.
	uid         types.UID
	deletedWith metav1.DeletionPropagation
}

// GetObjectMeta implements metav1.ObjectMetaAccessor with what an informer asks for.
func (p *packed) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: p.namespace.Value(), Name: p.name, ResourceVersion: p.version}
}

// Pack is a toolscache.TransformFunc. Of the managedFields only what WasCreated needs is kept.
func Pack(object any) (any, error) {
	o, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil // packed already, or a tombstone
	}
	created := WasCreated(o)
	o.SetManagedFields(nil)
	content, err := json.Marshal(o.Object)
	if err != nil {
		return nil, err
	}
	p := &packed{
		namespace: unique.Make(o.GetNamespace()), name: o.GetName(), version: o.GetResourceVersion(), content: content, created: created,
	}
	if o.GetDeletionTimestamp() != nil {
		if p.deletedWith = transform.PropagationOf(o.GetFinalizers()); p.deletedWith != "" {
			p.uid = o.GetUID()
		}
	}
	return p, nil
}

// trimManagedFields removes the managedFields but for the name of the entry that the syncer gets by a create.
func trimManagedFields(o *unstructured.Unstructured) {
	created := WasCreated(o)
	o.SetManagedFields(nil)
	if created {
		setCreated(o)
	}
}

// setCreated has WasCreated tell so of an object without managedFields.
func setCreated(o *unstructured.Unstructured) {
	o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: workloadv1alpha1.FieldOwnerSyncer, Operation: metav1.ManagedFieldsOperationUpdate}})
}

// WasCreated tells whether the syncer owns fields of an object by a create, which server-side apply takes for another owner.
func WasCreated(o *unstructured.Unstructured) bool {
	return slices.ContainsFunc(o.GetManagedFields(), isCreateEntry)
}

func isCreateEntry(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == workloadv1alpha1.FieldOwnerSyncer && e.Operation == metav1.ManagedFieldsOperationUpdate && e.Subresource == ""
}

// unpack returns an object of an informer's store, nil for what is none.
func unpack(object any) *unstructured.Unstructured {
	p, ok := object.(*packed)
	if !ok {
		return nil
	}
	o := &unstructured.Unstructured{}
	if json.Unmarshal(p.content, &o.Object) != nil {
		return nil
	}
	if p.created {
		setCreated(o)
	}
	return o
}
