package cache

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
)

// packed is an object as an informer keeps it: as JSON, which takes a fraction of the memory of nested maps. It is
// unpacked for each pass.
type packed struct {
	namespace, name, version string
	content                  []byte
}

// GetObjectMeta implements metav1.ObjectMetaAccessor with what an informer asks for.
func (p *packed) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, ResourceVersion: p.version}
}

// Pack is a toolscache.TransformFunc. The managedFields, which are of no use to us, do not stay.
func Pack(object any) (any, error) {
	o, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil // packed already, or a tombstone
	}
	o.SetManagedFields(nil)
	content, err := json.Marshal(o.Object)
	if err != nil {
		return nil, err
	}
	return &packed{namespace: o.GetNamespace(), name: o.GetName(), version: o.GetResourceVersion(), content: content}, nil
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
	return o
}
