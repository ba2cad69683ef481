package apiserver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// newClients serves a Store and returns how to make clients for a logical cluster.
func newClients(t *testing.T) func(cluster string) client.WithWatch {
	store := NewStore(nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cluster, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		asked, ok := Parse(r.Method, path, r.URL.Query().Has("watch"))
		if !ok {
			t.Errorf("unexpected request: %s %s", r.Method, r.URL)
		}
		asked.Cluster = cluster
		store.Serve(w, r, asked)
	}))
	t.Cleanup(server.Close)
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"ConfigMap", "Secret"} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	return func(cluster string) client.WithWatch {
		c, err := client.NewWithWatch(&rest.Config{Host: server.URL + "/" + cluster, QPS: -1}, client.Options{Scheme: clientgoscheme.Scheme, Mapper: mapper})
		require.NoError(t, err)
		return c
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

// TestWrites: the rules of an API server on which controllers rely.
func TestWrites(t *testing.T) {
	c, ctx := newClients(t)("a"), t.Context()
	created := configMap("m")
	created.Finalizers = []string{"example.com/hold"}
	require.NoError(t, c.Create(ctx, created)) // in protobuf
	require.NotEmpty(t, created.UID)
	require.Equal(t, "a", created.Annotations["kcp.io/cluster"])
	require.True(t, apierrors.IsAlreadyExists(c.Create(ctx, configMap("m"))))
	require.True(t, apierrors.IsNotFound(c.Get(ctx, client.ObjectKeyFromObject(configMap("other")), &corev1.ConfigMap{})))

	stale := created.DeepCopy()
	changed := created.DeepCopy()
	changed.Data = map[string]string{"key": "1"}
	require.NoError(t, c.Patch(ctx, changed, client.MergeFrom(created)))
	require.NotEqual(t, created.ResourceVersion, changed.ResourceVersion)
	before := changed.ResourceVersion
	require.NoError(t, c.Patch(ctx, changed, client.RawPatch(types.MergePatchType, []byte(`{"data":{"key":"1"}}`))))
	require.Equal(t, before, changed.ResourceVersion, "nothing changed")
	stale.Data = map[string]string{"key": "2"}
	require.True(t, apierrors.IsConflict(c.Update(ctx, stale)))
	require.True(t, apierrors.IsConflict(c.Patch(ctx, stale, client.MergeFromWithOptions(created, client.MergeFromWithOptimisticLock{}))))
	err := c.Patch(ctx, configMap("m"), client.RawPatch(types.JSONPatchType, []byte(`[{"op":"test","path":"/metadata/uid","value":"x"}]`)))
	require.True(t, apierrors.IsInvalid(err), "%v", err)

	require.True(t, apierrors.IsConflict(c.Delete(ctx, changed, client.Preconditions{UID: ptr.To(types.UID("x"))})))
	require.NoError(t, c.Delete(ctx, changed, client.Preconditions{UID: &changed.UID}))
	require.NoError(t, c.Get(ctx, client.ObjectKeyFromObject(changed), changed))
	require.NotNil(t, changed.DeletionTimestamp, "it has a finalizer")
	require.NoError(t, c.Patch(ctx, changed, client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/metadata/finalizers/0"}]`))))
	require.True(t, apierrors.IsNotFound(c.Get(ctx, client.ObjectKeyFromObject(changed), changed)))
}

// TestStatus: a write to the subresource changes nothing else, and any other write does not change the status.
func TestStatus(t *testing.T) {
	c, ctx := newClients(t)("a"), t.Context()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	require.NoError(t, c.Create(ctx, namespace))
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}},"status":{"phase":"Active"}}`))
	require.NoError(t, c.Patch(ctx, namespace, patch))
	require.Empty(t, namespace.Status.Phase)
	require.Equal(t, map[string]string{"a": "b"}, namespace.Labels)
	require.NoError(t, c.Patch(ctx, namespace, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":null}}`))))
	require.NoError(t, c.Status().Patch(ctx, namespace, patch))
	require.Equal(t, corev1.NamespaceActive, namespace.Status.Phase)
	require.Empty(t, namespace.Labels)
}

// TestApply: an apply creates, merges, and does not take an object for another of its name.
func TestApply(t *testing.T) {
	c, ctx := newClients(t)("a"), t.Context()
	manifest := func(uid, value string) client.Object {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"applied": value},
			"metadata": map[string]any{"namespace": "default", "name": "m", "uid": uid},
		}}
	}
	apply := func(o client.Object) error {
		return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.(*unstructured.Unstructured)), client.FieldOwner("test"))
	}
	require.True(t, apierrors.IsConflict(apply(manifest("x", "1"))))
	require.NoError(t, apply(manifest("", "1")))
	live := configMap("m")
	require.NoError(t, c.Patch(ctx, live, client.RawPatch(types.MergePatchType, []byte(`{"data":{"other":"2"}}`))))
	require.True(t, apierrors.IsConflict(apply(manifest("x", "3"))))
	require.NoError(t, apply(manifest(string(live.UID), "3")))
	require.NoError(t, c.Get(ctx, client.ObjectKeyFromObject(live), live))
	require.Equal(t, map[string]string{"applied": "3", "other": "2"}, live.Data)
}

// TestListAndWatch: a watch goes on where a list has ended, in one logical cluster or in all.
func TestListAndWatch(t *testing.T) {
	clients, ctx := newClients(t), t.Context()
	a, b, all := clients("a"), clients("b"), clients(Wildcard)
	for _, c := range []client.Client{a, b} {
		for _, name := range []string{"one", "two"} {
			m := configMap(name)
			m.Labels = map[string]string{"name": name}
			require.NoError(t, c.Create(ctx, m))
		}
	}
	var list corev1.ConfigMapList
	require.NoError(t, all.List(ctx, &list))
	require.Len(t, list.Items, 4)
	require.NoError(t, a.List(ctx, &list, client.MatchingLabels{"name": "one"}, client.InNamespace("default")))
	require.Len(t, list.Items, 1)
	require.NoError(t, a.List(ctx, &list, client.MatchingFields{"metadata.name": "two"}))
	require.Len(t, list.Items, 1)
	metadata := &metav1.PartialObjectMetadataList{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	require.NoError(t, all.List(ctx, metadata, client.InNamespace("other")))
	require.Empty(t, metadata.Items)
	require.NoError(t, all.List(ctx, metadata))
	require.Len(t, metadata.Items, 4)

	// Between the list and the watch.
	require.NoError(t, a.Delete(ctx, configMap("one")))
	require.NoError(t, b.Patch(ctx, configMap("two"), client.RawPatch(types.MergePatchType, []byte(`{"data":{"key":"1"}}`))))
	watcher, err := all.Watch(ctx, &corev1.ConfigMapList{}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: metadata.ResourceVersion}})
	require.NoError(t, err)
	defer watcher.Stop()
	one, err := b.Watch(ctx, &corev1.ConfigMapList{}, client.MatchingFields{"metadata.name": "three"})
	require.NoError(t, err)
	defer one.Stop()
	require.NoError(t, b.Create(ctx, configMap("three")))
	for _, want := range []struct {
		kind          watch.EventType
		cluster, name string
	}{{watch.Deleted, "a", "one"}, {watch.Modified, "b", "two"}, {watch.Added, "b", "three"}} {
		event := <-watcher.ResultChan()
		require.Equal(t, want.kind, event.Type)
		object := event.Object.(*corev1.ConfigMap)
		require.Equal(t, want.cluster, object.Annotations["kcp.io/cluster"])
		require.Equal(t, want.name, object.Name)
	}
	require.Equal(t, "three", (<-one.ResultChan()).Object.(*corev1.ConfigMap).Name)
}
