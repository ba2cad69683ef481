package cache

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
)

func mustPack(t *testing.T, object *unstructured.Unstructured) any {
	t.Helper()
	p, err := Pack(object.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPack: an object comes out of a cache as it went in, integers as integers, only without its managedFields.
func TestPack(t *testing.T) {
	in := at("7")
	in.Object["spec"] = map[string]any{"replicas": int64(3), "ratio": 0.5, "flags": []any{true, nil, "x"}}
	want := in.DeepCopy()
	in.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl"}})

	p := mustPack(t, in)
	if diff := cmp.Diff(want, unpack(p)); diff != "" {
		t.Errorf("unpack(pack())\n-want +got\n%s", diff)
	}
	if key, err := toolscache.MetaNamespaceKeyFunc(p); key != "n/a" || err != nil {
		t.Errorf("its key is %q, %v", key, err)
	}
	again, err := Pack(p)
	if again != p || err != nil {
		t.Errorf("packed again, it is %v, %v", again, err)
	}
}
