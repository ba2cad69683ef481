package transform

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

var testOwner = Owner{Key: "0123456789abcdef", UID: "uid-1", Name: "edge-1", Workspace: "2vkq1d7w9hx0a3bc"}

// TestCopy: testdata/<case>.in.yaml is an object of a workspace, <case>.out.yaml its copy.
func TestCopy(t *testing.T) {
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) < 18 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, in := range files {
		t.Run(filepath.Base(in), func(t *testing.T) {
			source := read(t, in)
			before := source.DeepCopy()
			first, err := testOwner.Copy(source)
			if err != nil {
				t.Fatal(err)
			}
			again, err := testOwner.Copy(source)
			if diff := cmp.Diff(first, again); diff != "" || err != nil {
				t.Errorf("the same object gave another copy: %v\n%s", err, diff)
			}
			if diff := cmp.Diff(before, source); diff != "" {
				t.Errorf("the object itself was changed:\n%s", diff)
			}
			got, err := yaml.Marshal(first.Object)
			if err != nil {
				t.Fatal(err)
			}
			out := strings.Replace(in, ".in.", ".out.", 1)
			if *update {
				if err := os.WriteFile(out, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s differs; after a look at it, run the test with -update (-want +got):\n%s", out, diff)
			}
			if !Matches(first, first) {
				t.Error("a copy does not match itself")
			}
			if found := Differences(stored(t, first), first); len(found) > 0 {
				t.Errorf("a copy does not match what an API server stores of it: %q", found)
			}
		})
	}
}

func read(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(data))
}

// parse returns an object that is written in YAML.
func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return object
}

// stored is what an API server stores and returns of an object, without its defaults: an object of a built-in kind is
// converted to its Go type and back, one of a custom kind is as it was written.
func stored(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	typed, err := scheme.Scheme.New(object.GroupVersionKind())
	if err != nil {
		return object.DeepCopy()
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed); err != nil {
		t.Fatal(err)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: fields}
}
