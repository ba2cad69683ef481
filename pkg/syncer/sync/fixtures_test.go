package sync

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

var testOwner = transform.Owner{Key: "0123456789abcdef", UID: "uid-1", Name: "edge-1", Workspace: "2vkq1d7w9hx0a3bc"}

// mustPack is an object as an informer keeps it.
func mustPack(t *testing.T, object *unstructured.Unstructured) any {
	t.Helper()
	packed, err := cache.Pack(object.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	return packed
}
