package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestStoredObjects: what was stored with the API of an earlier release is read unchanged with the API of this one, and can be changed.
func TestStoredObjects(t *testing.T) {
	t.Parallel()
	const earlier = "testdata/earlier/"
	provider, n := newWorkspace(t), newWorkspace(t)
	provider.apply(earlier+"assignments.yaml", earlier+"placements.yaml", earlier+"synctargets.yaml", earlier+"apiexport.yaml")
	binding := &apisv1alpha2.APIBinding{ObjectMeta: metav1.ObjectMeta{Name: workloadv1alpha1.GroupName}}
	binding.Spec.Reference.Export = &apisv1alpha2.ExportBindingReference{Path: provider.path.String(), Name: workloadv1alpha1.GroupName}
	require.NoError(t, n.Create(t.Context(), binding))
	n.awaitSchemas(binding, provider.exportedSchemas())

	stored := readObjects(t, earlier+"objects.yaml")
	for _, object := range stored {
		status := object.Object["status"]
		n.eventually("the API is served", func() (bool, string) {
			err := n.List(t.Context(), listOf(object))
			return err == nil, fmt.Sprint(err)
		})
		require.NoError(t, n.Create(t.Context(), object))
		object.Object["status"] = status
		require.NoError(t, n.Status().Update(t.Context(), object))
	}

	matches, err := filepath.Glob("../../config/kcp/api*.yaml")
	require.NoError(t, err)
	provider.apply(matches...)
	n.awaitSchemas(binding, provider.exportedSchemas())

	for _, want := range stored {
		got := &unstructured.Unstructured{}
		got.SetGroupVersionKind(want.GroupVersionKind())
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(want), got))
		assert.Equal(t, want.Object["spec"], got.Object["spec"], "the spec of the %s", want.GetKind())
		assert.Equal(t, want.Object["status"], got.Object["status"], "the status of the %s", want.GetKind())
		got.SetLabels(map[string]string{"changed": "true"})
		require.NoError(t, n.Update(t.Context(), got))
		require.NoError(t, n.Status().Update(t.Context(), got))
	}
}

// apply applies files in the workspace.
func (n *tenant) apply(files ...string) {
	n.t.Helper()
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(n.t, err)
		_, err = env.Kubectl(n.t.Context(), n.path.String(), string(content), "apply", "-f", "-")
		require.NoError(n.t, err)
	}
}

// exportedSchemas are the APIResourceSchemas of the APIExport in this workspace, by their resource.
func (n *tenant) exportedSchemas() map[string]string {
	n.t.Helper()
	export := &apisv1alpha2.APIExport{}
	require.NoError(n.t, n.Get(n.t.Context(), client.ObjectKey{Name: workloadv1alpha1.GroupName}, export))
	schemas := map[string]string{}
	for _, resource := range export.Spec.Resources {
		schemas[resource.Name] = resource.Schema
	}
	return schemas
}

// awaitSchemas waits until the workspace serves these APIResourceSchemas.
func (n *tenant) awaitSchemas(binding *apisv1alpha2.APIBinding, want map[string]string) {
	n.t.Helper()
	n.eventually("the APIBinding has the schemas of the APIExport", func() (bool, string) {
		if err := n.Get(n.t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
			return false, err.Error()
		}
		got := map[string]string{}
		for _, resource := range binding.Status.BoundResources {
			got[resource.Resource] = resource.Schema.Name
		}
		return maps.Equal(got, want), fmt.Sprint(got)
	})
}

// listOf names the list of the kind of an object.
func listOf(object *unstructured.Unstructured) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	kind := object.GroupVersionKind()
	kind.Kind += "List"
	list.SetGroupVersionKind(kind)
	return list
}

// readObjects reads the objects of a file.
func readObjects(t *testing.T, path string) (objects []*unstructured.Unstructured) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			require.NoError(t, err)
		}
		objects = append(objects, object)
	}
}
