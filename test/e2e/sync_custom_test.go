package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestSyncOfCustomResource: a custom resource that both sides define travels down, its status comes up, and what the
// physical cluster refuses is told on the object.
func TestSyncOfCustomResource(t *testing.T) {
	t.Parallel() // it waits most of its time, for counts that are written every 30 s
	n := newTenant(t)
	require.NoError(t, n.Create(t.Context(), widgetDefinition(100)))
	admin := downstream(t)
	// What a rule says is in no schema that one could compare.
	stricter := widgetDefinition(100, map[string]any{"rule": "self.size <= 10", "message": "size must be 10 at most here"})
	require.NoError(t, client.IgnoreAlreadyExists(admin.Create(t.Context(), stricter)))
	t.Cleanup(func() { _ = admin.Delete(context.Background(), widgetDefinition(100)) })

	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("edge-1", clusterKubeconfig(t))))
	target := syncTarget("edge-1")
	target.Spec.SyncedResources = []workloadv1alpha1.GroupResource{
		{Group: "example.com", Resource: "widgets"}, {Group: "rbac.authorization.k8s.io", Resource: "roles"},
	}
	require.NoError(t, n.Create(t.Context(), target))
	n.await("edge-1", "Deployed", "Deployed")
	s := n.openShop(n.await("edge-1", "Ready", "Ready"), "shop")
	ready := conditionsOf(n)

	good := widget("shop", "good", 5)
	n.eventually("the workspace serves widgets", func() (bool, string) {
		err := n.Create(t.Context(), good)
		return err == nil, fmt.Sprint(err)
	})
	there := widget(s.counterpart, "good", 0)
	s.eventually("the copy is there", func() (bool, string) {
		err := admin.Get(t.Context(), client.ObjectKeyFromObject(there), there)
		return err == nil, fmt.Sprint(err)
	})
	require.NoError(t, unstructured.SetNestedField(there.Object, "spinning", "status", "state"))
	require.NoError(t, unstructured.SetNestedField(there.Object, there.GetGeneration(), "status", "observedGeneration"))
	require.NoError(t, admin.Status().Update(t.Context(), there))
	s.eventually("the status is upstream", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(good), good))
		state, _, _ := unstructured.NestedString(good.Object, "status", "state")
		observed, _, _ := unstructured.NestedInt64(good.Object, "status", "observedGeneration")
		return state == "spinning" && observed == good.GetGeneration(), fmt.Sprint(good.Object["status"])
	})

	bad := widget("shop", "bad", 50)
	s.create(bad)
	s.awaitReport(bad, "refused", "spec", "size must be 10 at most here")
	assert.Empty(t, bad.GetFinalizers(), "there is no copy to hold it for")
	s.awaitResource("widgets", workloadv1alpha1.ResourceAccepted, "")
	s.awaitResource("roles", workloadv1alpha1.ResourceForbidden, "never synced")
	n.await("edge-1", "Synced", "NotSynced", "roles.rbac.authorization.k8s.io", "never synced")

	t.Log("the SyncTarget counts what fails, and sums it up")
	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) { st.Spec.SyncedResources = st.Spec.SyncedResources[:1] })
	s.awaitFailing("widgets", 1)
	n.await("edge-1", "Synced", "NotSynced", "widgets.example.com", workloadv1alpha1.SyncAnnotation(s.target.Status.Key))

	t.Log("definitions that contradict each other are told by field, on the SyncTarget and on each object, and harm no other resource")
	change(n, widgetDefinition(0), func(crd *unstructured.Unstructured) { crd.Object["spec"] = widgetDefinition(1000).Object["spec"] })
	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.SyncedResources = append(st.Spec.SyncedResources, workloadv1alpha1.GroupResource{Resource: "configmaps"})
	})
	s.awaitResource("widgets", workloadv1alpha1.ResourceIncompatible, "spec.size: maximum 1000 in the workspace, maximum 100 in the physical cluster")
	huge := widget("shop", "huge", 500)
	s.eventually("a widget that nobody below could take", func() (bool, string) {
		err := n.Create(t.Context(), huge)
		return err == nil, fmt.Sprint(err)
	})
	s.awaitReport(huge, "refused", "Incompatible", "spec.size: maximum 1000")
	require.Empty(t, huge.GetFinalizers())
	s.create(s.configMap("early", map[string]string{"a": "1"}))
	s.awaitCopy("early", map[string]string{"a": "1"})
	require.NoError(t, n.Delete(t.Context(), huge))
	s.awaitGone(huge)

	t.Log("a definition that is deleted in the physical cluster holds nothing back")
	require.NoError(t, admin.Delete(t.Context(), widgetDefinition(100)))
	s.awaitResource("widgets", workloadv1alpha1.ResourceMissing, "install its CustomResourceDefinition")
	s.awaitReport(good, "refused", "Missing", "install its CustomResourceDefinition")
	require.NoError(t, n.Delete(t.Context(), bad))
	s.awaitGone(bad)
	s.eventually("the definition is back", func() (bool, string) {
		err := admin.Create(t.Context(), widgetDefinition(1000))
		return err == nil, fmt.Sprint(err)
	})
	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.SyncedResources = append(st.Spec.SyncedResources, workloadv1alpha1.GroupResource{Resource: "secrets"})
	})
	s.awaitResource("widgets", workloadv1alpha1.ResourceAccepted, "")
	s.eventually("the widget has a copy again", func() (bool, string) {
		err := admin.Get(t.Context(), client.ObjectKeyFromObject(there), there)
		return err == nil, fmt.Sprint(err)
	})
	s.awaitFailing("widgets", 0)
	n.await("edge-1", "Synced", "Synced")
	assert.Equal(t, ready, conditionsOf(n), "none of this has to do with Ready")

	t.Log("what has no objects in Namespaces is told, and forgotten when it is named no more")
	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.SyncedResources = append(st.Spec.SyncedResources,
			workloadv1alpha1.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
			workloadv1alpha1.GroupResource{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"},
			workloadv1alpha1.GroupResource{Group: "example.com", Resource: "widgetts"})
	})
	s.awaitResource("customresourcedefinitions", workloadv1alpha1.ResourceForbidden, "cluster-scoped")
	s.awaitResource("localsubjectaccessreviews", workloadv1alpha1.ResourceForbidden, "not kept")
	s.awaitResource("widgetts", workloadv1alpha1.ResourceMissing, "workspace does not serve it")
	n.await("edge-1", "Synced", "NotSynced")
	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.SyncedResources = st.Spec.SyncedResources[:len(st.Spec.SyncedResources)-3]
	})
	n.await("edge-1", "Synced", "Synced")

	t.Log("a resource that is no longer named is left")
	change(n, syncTarget("edge-1"), func(st *workloadv1alpha1.SyncTarget) {
		st.Spec.SyncedResources = []workloadv1alpha1.GroupResource{{Resource: "configmaps"}}
	})
	s.eventually("the widget is free, and its copy gone", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(good), good))
		err := admin.Get(t.Context(), client.ObjectKeyFromObject(there), there)
		return len(good.GetFinalizers()) == 0 && apierrors.IsNotFound(err), fmt.Sprint(good.GetFinalizers(), err)
	})
	s.create(s.configMap("config", map[string]string{"a": "1"}))
	s.awaitCopy("config", map[string]string{"a": "1"})
	require.NoError(t, n.Delete(t.Context(), target))
	n.awaitGone(target)
	s.requireFree()
}

// awaitResource waits until the SyncTarget tells this of a resource.
func (s *shop) awaitResource(resource string, want workloadv1alpha1.SyncedResourceState, words string) {
	s.t.Helper()
	s.awaitTold(resource, fmt.Sprintf("%s %q", want, words), func(r workloadv1alpha1.SyncedResourceStatus) bool {
		return r.State == want && strings.Contains(r.Message, words)
	})
}

// awaitFailing waits until the SyncTarget counts this many failing objects of a resource that is accepted.
func (s *shop) awaitFailing(resource string, want int32) {
	s.t.Helper()
	s.awaitTold(resource, fmt.Sprintf("accepted, %d of them failing", want), func(r workloadv1alpha1.SyncedResourceStatus) bool {
		return r.State == workloadv1alpha1.ResourceAccepted && r.Failing == want
	})
}

func (s *shop) awaitTold(resource, what string, holds func(workloadv1alpha1.SyncedResourceStatus) bool) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%s are %s", resource, what), func() (bool, string) {
		target := &workloadv1alpha1.SyncTarget{}
		if err := s.Get(s.t.Context(), client.ObjectKeyFromObject(s.target), target); err != nil {
			return false, err.Error()
		}
		for _, r := range target.Status.SyncedResources {
			if r.Resource == resource {
				return holds(r), fmt.Sprintf("%+v", r)
			}
		}
		return false, "it tells nothing"
	})
}

// widgetDefinition limits spec.size, by its schema and by rules.
func widgetDefinition(limit int64, rules ...any) *unstructured.Unstructured {
	size := map[string]any{"type": "object", "properties": map[string]any{"size": map[string]any{"type": "integer", "maximum": limit}}}
	if len(rules) > 0 {
		size["x-kubernetes-validations"] = rules
	}
	schema := map[string]any{
		"type": "object",
		"properties": map[string]any{
			"spec":   size,
			"status": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
		},
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "widgets.example.com"},
		"spec": map[string]any{
			"group": "example.com", "scope": "Namespaced",
			"names": map[string]any{"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": schema},
				"subresources": map[string]any{"status": map[string]any{}},
			}},
		},
	}}
}

func widget(namespace, name string, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec":     map[string]any{"size": size},
	}}
}
