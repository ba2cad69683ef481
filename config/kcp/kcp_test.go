package kcp

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// TestSameAsKustomize: the command install-api applies what `kubectl apply -k config/kcp` does.
func TestSameAsKustomize(t *testing.T) {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), ".")
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := rendered.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	want, err := decode(manifests)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Objects()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(byName(want), byName(got)); diff != "" {
		t.Errorf("config/kcp and its package differ (-kustomize +package):\n%s", diff)
	}
}

func byName(objects []*unstructured.Unstructured) map[string]any {
	out := map[string]any{}
	for _, object := range objects {
		out[object.GetKind()+" "+object.GetNamespace()+"/"+object.GetName()] = object.Object
	}
	return out
}
