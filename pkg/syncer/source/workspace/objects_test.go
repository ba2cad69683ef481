package workspace

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func toUnstructured(t *testing.T, object any) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}

func object(finalizers ...string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
	o.SetNamespace("shop")
	o.SetName("a")
	o.SetUID("source-1")
	o.SetResourceVersion("5")
	o.SetFinalizers(finalizers)
	return o
}

// newObjects are those of a server that has this object, and answers reads with err where there is one.
func newObjects(live *unstructured.Unstructured, err error) (*Objects, *dynamicfake.FakeDynamicClient) {
	client := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme(), live)
	client.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return err != nil, nil, err })
	return &Objects{ResourceCache: &cache.ResourceCache{Client: client.Resource(configMaps).Namespace("shop")}, Key: testOwner.Key}, client
}

// TestRead: an object counts as deleted only if the server says so of that object.
func TestRead(t *testing.T) {
	noAPI := apierrors.NewGenericServerResponse(404, "get", configMaps.GroupResource(), "", "404 page not found", 0, true)
	for name, tc := range map[string]struct {
		err   error
		want  source.Existence
		fails bool
	}{
		"exists":           {nil, source.Exists, false},
		"deleted":          {apierrors.NewNotFound(configMaps.GroupResource(), "a"), source.Deleted, false},
		"API not served":   {noAPI, source.Unknown, true},
		"another one":      {apierrors.NewNotFound(configMaps.GroupResource(), "b"), source.Unknown, true},
		"no answer":        {errors.New("connection refused"), source.Unknown, true},
		"may not be read":  {apierrors.NewForbidden(configMaps.GroupResource(), "a", errors.New("no")), source.Unknown, true},
		"the token is old": {apierrors.NewUnauthorized("no"), source.Unknown, true},
	} {
		t.Run(name, func(t *testing.T) {
			objects, _ := newObjects(object(), tc.err)
			live, got, err := objects.Read(t.Context(), "a")
			if got != tc.want || (err != nil) != tc.fails || (live != nil) != (got == source.Exists) {
				t.Errorf("Read() = %v, %d, %v", live, got, err)
			}
		})
	}
}

// TestPatches: what each write asks for, and under which condition the server carries it out.
func TestPatches(t *testing.T) {
	ours, foreign := workloadv1alpha1.SyncerFinalizer(testOwner.Key), "example.com/protect"
	annotation := workloadv1alpha1.SyncAnnotation(testOwner.Key)
	type metadata = map[string]any
	merge := func(m metadata) any { m["uid"] = "source-1"; return map[string]any{"metadata": m} }
	status := func(op string, more metadata) any {
		more["op"], more["path"] = op, "/status"
		return []any{map[string]any{"op": "test", "path": "/metadata/uid", "value": "source-1"}, more}
	}
	written := object(ours)
	_ = unstructured.SetNestedSlice(written.Object, []any{map[string]any{"manager": workloadv1alpha1.FieldOwnerSyncer, "subresource": "status"}}, "metadata", "managedFields")
	for name, tc := range map[string]struct {
		live  *unstructured.Unstructured
		write func(*Objects, *unstructured.Unstructured) (*unstructured.Unstructured, error)
		want  any
		sub   string
	}{
		"a finalizer": {object(foreign), func(o *Objects, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
			return o.AddFinalizer(t.Context(), u)
		}, merge(metadata{"finalizers": []any{foreign, ours}, "resourceVersion": "5"}), ""},
		"a finalizer that is there": {object(ours), func(o *Objects, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
			return o.AddFinalizer(t.Context(), u)
		}, merge(metadata{"finalizers": []any{ours}, "resourceVersion": "5"}), ""},
		"release": {object(ours, foreign), func(o *Objects, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
			return o.Release(t.Context(), u, "")
		}, merge(metadata{"finalizers": []any{foreign}, "annotations": map[string]any{annotation: nil}, "resourceVersion": "5"}), ""},
		"release with a report": {object(ours), func(o *Objects, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
			return o.Release(t.Context(), u, "{}")
		}, merge(metadata{"finalizers": []any{}, "annotations": map[string]any{annotation: "{}"}, "resourceVersion": "5"}), ""},
		"a report": {object(ours), func(o *Objects, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
			return o.WriteReport(t.Context(), u, "{}")
		}, merge(metadata{"annotations": map[string]any{annotation: "{}"}}), ""},
		"a status": {object(ours), func(o *Objects, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
			return o.WriteStatus(t.Context(), u, map[string]any{"a": "1"})
		}, status("add", metadata{"value": map[string]any{"a": "1"}}), "status"},
		"no status": {written, func(o *Objects, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
			return o.RemoveStatus(t.Context(), u)
		}, status("remove", metadata{}), "status"},
		"no status, of somebody else": {object(ours), func(o *Objects, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
			return o.RemoveStatus(t.Context(), u)
		}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			objects, client := newObjects(tc.live, nil)
			var got any
			client.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				if err := json.Unmarshal(action.(clienttesting.PatchActionImpl).Patch, &got); err != nil || action.GetSubresource() != tc.sub {
					t.Errorf("subresource %q, %v", action.GetSubresource(), err)
				}
				return true, tc.live, nil
			})
			if _, err := tc.write(objects, tc.live); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("patch: -want +got\n%s", diff)
			}
		})
	}
}

// TestReleaseOfAGoneObject: there is nothing to release, if the server says so of that object.
func TestReleaseOfAGoneObject(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		fails bool
	}{
		"gone":           {apierrors.NewNotFound(configMaps.GroupResource(), "a"), false},
		"API not served": {apierrors.NewGenericServerResponse(404, "patch", configMaps.GroupResource(), "", "404 page not found", 0, true), true},
	} {
		t.Run(name, func(t *testing.T) {
			objects, client := newObjects(object(), nil)
			client.PrependReactor("patch", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, tc.err })
			if left, err := objects.Release(t.Context(), object(), ""); left != nil || (err != nil) != tc.fails {
				t.Errorf("Release() = %v, %v", left, err)
			}
		})
	}
}
