package transform

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files")

var testOwner = Owner{Key: "0123456789abcdef", UID: "uid-1", Name: "edge-1", Workspace: "2vkq1d7w9hx0a3bc"}

// TestCopy: testdata/<case>.in.yaml is an object of a workspace, <case>.out.yaml its copy.
func TestCopy(t *testing.T) {
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) < 15 {
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
				t.Error("a copy is not up to date with itself")
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
	data, err = yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestWanted(t *testing.T) {
	object := func(kind, name string, change ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": kind}}
		o.SetName(name)
		for _, c := range change {
			c(o)
		}
		return o
	}
	tests := map[string]struct {
		reason string
		object *unstructured.Unstructured
		want   bool
	}{
		"usual":   {"", object("ConfigMap", "a"), true},
		"deleted": {"", object("ConfigMap", "a", func(o *unstructured.Unstructured) { now := metav1.Now(); o.SetDeletionTimestamp(&now) }), false},
		"opted out": {"", object("ConfigMap", "a", func(o *unstructured.Unstructured) {
			o.SetLabels(map[string]string{workloadv1alpha1.LabelSync: "false"})
		}), false},
		"opted in": {"Only false opts out.", object("ConfigMap", "a", func(o *unstructured.Unstructured) {
			o.SetLabels(map[string]string{workloadv1alpha1.LabelSync: "true"})
		}), true},
		"root CA":         {"Each cluster has its own.", object("ConfigMap", "kube-root-ca.crt"), false},
		"default account": {"Each Namespace has its own.", object("ServiceAccount", "default"), false},
		"furnished account": {"Pods want its Secrets for their images.", object("ServiceAccount", "default", func(o *unstructured.Unstructured) {
			o.Object["imagePullSecrets"] = []any{map[string]any{"name": "registry"}}
		}), true},
		"account with a role": {"Of a cloud, say.", object("ServiceAccount", "default", func(o *unstructured.Unstructured) {
			o.SetAnnotations(map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/shop"})
		}), true},
		"account with marks of kcp": {"", object("ServiceAccount", "default", func(o *unstructured.Unstructured) {
			o.SetAnnotations(map[string]string{"kcp.io/cluster": "2vkq1d7w9hx0a3bc"})
		}), false},
		"another account": {"", object("ServiceAccount", "builder"), true},
		"token": {"It is good for kcp alone.", object("Secret", "t", func(o *unstructured.Unstructured) {
			o.Object["type"] = "kubernetes.io/service-account-token"
		}), false},
		"kubeconfig of a target": {"It opens a cluster, perhaps another one.", object("Secret", "k", func(o *unstructured.Unstructured) {
			o.SetFinalizers([]string{workloadv1alpha1.Hold("fedcba9876543210")})
		}), false},
		"kubeconfig to be": {"No SyncTarget refers to it yet, or any more.", object("Secret", "k", func(o *unstructured.Unstructured) {
			o.SetLabels(map[string]string{workloadv1alpha1.LabelVisible: "true"})
		}), false},
		"secret": {"", object("Secret", "s", func(o *unstructured.Unstructured) { o.Object["type"] = "Opaque" }), true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := IsWanted(tc.object); got != tc.want {
				t.Errorf("%s\nwanted() = %t", tc.reason, got)
			}
		})
	}
}

func TestContains(t *testing.T) {
	tests := map[string]struct {
		reason     string
		have, want any
		contained  bool
	}{
		"defaults beside":        {"A server adds.", map[string]any{"a": "1", "b": "2"}, map[string]any{"a": "1"}, true},
		"changed":                {"", map[string]any{"a": "2"}, map[string]any{"a": "1"}, false},
		"gone":                   {"", map[string]any{}, map[string]any{"a": "1"}, false},
		"quantity":               {"1000m is 1.", map[string]any{"limits": map[string]any{"cpu": "1"}}, map[string]any{"limits": map[string]any{"cpu": "1000m"}}, true},
		"other quantity":         {"", map[string]any{"limits": map[string]any{"cpu": "2"}}, map[string]any{"limits": map[string]any{"cpu": "1000m"}}, false},
		"no quantity":            {"A version is none.", map[string]any{"data": map[string]any{"version": "1.1"}}, map[string]any{"data": map[string]any{"version": "1.10"}}, false},
		"number":                 {"JSON knows one kind of number.", float64(3), int64(3), true},
		"element with more":      {"", []any{map[string]any{"name": "a", "x": "default"}}, []any{map[string]any{"name": "a"}}, true},
		"element of another":     {"A sidecar may stay, a rule that lets more in may not; the server knows.", []any{map[string]any{"name": "z"}, map[string]any{"name": "a"}}, []any{map[string]any{"name": "a"}}, false},
		"element of a cluster's": {"It gives accounts Secrets for its registry.", map[string]any{"imagePullSecrets": []any{map[string]any{"name": "a"}, map[string]any{"name": "z"}}}, map[string]any{"imagePullSecrets": []any{map[string]any{"name": "a"}}}, true},
		"element in none":        {"", []any{map[string]any{"from": "all"}}, []any{}, false},
		"element gone":           {"", []any{map[string]any{"name": "z"}}, []any{map[string]any{"name": "a"}}, false},
		"argument more":          {"It does something else.", []any{"a", "b"}, []any{"a"}, false},
		"arguments":              {"", []any{"a", "b"}, []any{"a", "b"}, true},
		"nothing asked":          {"An empty map and none are the same.", nil, map[string]any{}, true},
		"null":                   {"Null asks for nothing.", map[string]any{}, map[string]any{"a": nil}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := includes(tc.have, tc.want); got != tc.contained {
				t.Errorf("%s\ncontains(%v, %v) = %t", tc.reason, tc.have, tc.want, got)
			}
		})
	}
}
