package transform

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

// TestPodTemplatesAreTranslated: the affinity of every kind with a Pod template is.
func TestPodTemplatesAreTranslated(t *testing.T) {
	object := func(path []string, namespace string) map[string]any {
		object := map[string]any{}
		terms := []any{map[string]any{"namespaces": []any{namespace}}}
		affinity := slices.Concat(path, []string{"affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"})
		if err := unstructured.SetNestedSlice(object, terms, affinity...); err != nil {
			t.Fatal(err)
		}
		return object
	}
	for gk, path := range map[schema.GroupKind][]string{
		{Kind: "Pod"}:                        {"spec"},
		{Group: "apps", Kind: "Deployment"}:  {"spec", "template", "spec"},
		{Group: "apps", Kind: "StatefulSet"}: {"spec", "template", "spec"},
		{Group: "apps", Kind: "DaemonSet"}:   {"spec", "template", "spec"},
		{Group: "apps", Kind: "ReplicaSet"}:  {"spec", "template", "spec"},
		{Group: "batch", Kind: "Job"}:        {"spec", "template", "spec"},
		{Group: "batch", Kind: "CronJob"}:    {"spec", "jobTemplate", "spec", "template", "spec"},
	} {
		got := object(path, "front")
		testOwner.translateNamespaces(got, gk)
		if diff := cmp.Diff(object(path, naming.Namespace(testOwner.Key, "front")), got); diff != "" {
			t.Errorf("%s: -want +got\n%s", gk, diff)
		}
	}
}

// TestWrongTypesAreKept: the physical cluster refuses them. A selector that it could accept must not come of them.
func TestWrongTypesAreKept(t *testing.T) {
	policy := schema.GroupKind{Group: "networking.k8s.io", Kind: "NetworkPolicy"}
	for name, term := range map[string]any{
		"term":             "front",
		"selector":         map[string]any{"namespaceSelector": "front"},
		"list of labels":   map[string]any{"namespaceSelector": map[string]any{"matchLabels": []any{"team"}}},
		"name that is int": map[string]any{"namespaces": []any{int64(1)}},
		"names":            map[string]any{"namespaces": "front"},
	} {
		object := func() map[string]any {
			return map[string]any{"spec": map[string]any{"ingress": []any{map[string]any{"from": []any{term}}}}}
		}
		got := (&unstructured.Unstructured{Object: object()}).DeepCopy().Object
		testOwner.translateNamespaces(got, policy)
		if diff := cmp.Diff(object(), got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// TestSelectorsAreConfined: whatever a selector says, it selects no Namespace without the label of its SyncTarget.
func TestSelectorsAreConfined(t *testing.T) {
	for name, selector := range map[string]map[string]any{
		"empty":             {},
		"null labels":       {"matchLabels": nil},
		"the label itself":  {"matchLabels": map[string]any{workloadv1alpha1.LabelDownstreamNamespace: "fedcba9876543210"}},
		"no string":         {"matchExpressions": []any{map[string]any{"key": int64(1)}, "x"}},
		"label that is int": {"matchLabels": map[string]any{"team": int64(1)}},
	} {
		testOwner.translateSelector(selector)
		got, _, err := unstructured.NestedFieldNoCopy(selector, "matchLabels", workloadv1alpha1.LabelDownstreamNamespace)
		if got != testOwner.Key || err != nil {
			t.Errorf("%s: confined to %v, %v: %v", name, got, err, selector)
		}
	}
}
