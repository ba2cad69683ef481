package source

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/synctarget/synctarget/pkg/syncer/cache"
)

// Objects are the objects of one resource in one Namespace of a source. Each carries what the sync has written on it: a
// finalizer, the report as an annotation, and the status.
//
// The writes return the object as it is afterwards. Each fails if the object is not the one that was given, by its UID;
// AddFinalizer and Release also if it has changed since. Their errors are or wrap those of an API server.
type Objects interface {
	// Cache is what a watch has shown of the objects. The sync starts its informer.
	Cache() *cache.ResourceCache
	// Read reads an object from the source itself.
	Read(ctx context.Context, name string) (*unstructured.Unstructured, Existence, error)
	// ListMetadata lists the objects without their content, page by page.
	ListMetadata(ctx context.Context, options metav1.ListOptions) (*metav1.PartialObjectMetadataList, error)

	// AddFinalizer keeps the object from going before its copy does.
	AddFinalizer(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error)
	// Release removes the finalizer, and replaces the report; an empty one is removed. The object is nil if the source has shown
	// that it does not exist.
	Release(ctx context.Context, object *unstructured.Unstructured, report string) (*unstructured.Unstructured, error)
	// WriteReport replaces the report.
	WriteReport(ctx context.Context, object *unstructured.Unstructured, report string) (*unstructured.Unstructured, error)
	// WriteStatus replaces the status.
	WriteStatus(ctx context.Context, object *unstructured.Unstructured, status any) (*unstructured.Unstructured, error)
	// RemoveStatus removes a status if a live read shows that the sync has written it. Otherwise it returns the object as it was given.
	RemoveStatus(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error)
}

// Existence is what a live read says about an object.
type Existence int

const (
	// Unknown means that the source has not said whether there is such an object. Nothing follows from that.
	Unknown Existence = iota
	// Exists means that there is such an object.
	Exists
	// Deleted means that the source has said that there is no such object.
	Deleted
)
