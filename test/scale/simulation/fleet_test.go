package simulation

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/test/scale/apiserver"
)

func newFleet(t *testing.T, shards int) *Fleet {
	binding, err := os.ReadFile("../../../config/samples/binding/apibinding.yaml")
	require.NoError(t, err)
	f, err := NewFleet(binding, shards)
	require.NoError(t, err)
	return f
}

func clientFor(t *testing.T, config *rest.Config) client.Client {
	scheme := runtime.NewScheme()
	require.NoError(t, apisv1alpha1.AddToScheme(scheme))
	require.NoError(t, apisv1alpha2.AddToScheme(scheme))
	require.NoError(t, workloadv1alpha1.AddToScheme(scheme))
	mapper := meta.NewDefaultRESTMapper(nil)
	for kind := range scheme.AllKnownTypes() {
		mapper.Add(kind, meta.RESTScopeRoot)
	}
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	require.NoError(t, err)
	return c
}

// TestShards: an endpoint shows the workspaces of its shard, and each workspace is served at its own URL.
func TestShards(t *testing.T) {
	f, ctx := newFleet(t, 2), t.Context()
	require.NoError(t, f.Grow(ctx, 3*TargetsPerWorkspace))
	kubeconfig, err := f.Kcp.Kubeconfig("token")
	require.NoError(t, err)
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	require.NoError(t, err)
	var slices apisv1alpha1.APIExportEndpointSliceList
	require.NoError(t, clientFor(t, config).List(ctx, &slices))
	endpoints := map[string][]string{}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Status.APIExportEndpoints {
			endpoints[slice.Name] = append(endpoints[slice.Name], endpoint.URL)
		}
	}
	require.Len(t, endpoints[workloadv1alpha1.GroupName], 2)
	for shard, want := range map[int][]string{0: {"ws000000", "ws000002"}, 1: {"ws000001"}} {
		urls := endpoints[EndpointSlice(shard)]
		require.Len(t, urls, 1)
		config.Host = urls[0] + "/clusters/*"
		var bindings apisv1alpha2.APIBindingList
		require.NoError(t, clientFor(t, config).List(ctx, &bindings))
		var workspaces []string
		for _, binding := range bindings.Items {
			workspaces = append(workspaces, binding.Annotations["kcp.io/cluster"])
		}
		require.ElementsMatch(t, want, workspaces)
	}
	config.Host = f.Kcp.URLs[0] + "/clusters/ws000001"
	require.NoError(t, clientFor(t, config).Get(ctx, client.ObjectKey{Name: "edge-2"}, &workloadv1alpha1.SyncTarget{}))
}

// TestHeartbeats: a syncer sends heartbeats once it is deployed: to its SyncTarget, or to its Lease if there is one.
func TestHeartbeats(t *testing.T) {
	f := newFleet(t, 1)
	require.NoError(t, f.Grow(t.Context(), 1))
	target := f.Targets()[0]
	deployment := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{"replicas": 1}}}
	_, err := f.Physical.cluster(0).Create(apiserver.Key{Resource: deployments, Namespace: "n", Name: "syncer"}, deployment)
	require.NoError(t, err)
	awaitField(t, f.Kcp.Store(target.Key.Cluster), target.Key, "status", "lastHeartbeatTime")

	lease := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}}
	_, err = f.Kcp.Store(target.Key.Cluster).Create(leaseKey(target), lease)
	require.NoError(t, err)
	before, err := f.Kcp.Store(target.Key.Cluster).Get(target.Key)
	require.NoError(t, err)
	require.NoError(t, f.heartbeat(target))
	awaitField(t, f.Kcp.Store(target.Key.Cluster), leaseKey(target), "spec", "renewTime")
	after, err := f.Kcp.Store(target.Key.Cluster).Get(target.Key)
	require.NoError(t, err)
	require.Equal(t, before.GetResourceVersion(), after.GetResourceVersion())

	require.NoError(t, f.Silence([]*Target{target}, true))
	sent := f.Heartbeats.Load()
	require.NoError(t, f.heartbeat(target))
	require.Equal(t, sent, f.Heartbeats.Load())
}

// awaitField waits until an object has a field.
func awaitField(t *testing.T, store *apiserver.Store, key apiserver.Key, field ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		found, err := store.Get(key)
		if err != nil {
			return false
		}
		_, ok, _ := unstructured.NestedString(found.Object, field...)
		return ok
	}, time.Minute, 10*time.Millisecond)
}

// TestAwait: a condition is waited for until the context ends, and the error says which SyncTarget is left.
func TestAwait(t *testing.T) {
	f := newFleet(t, 1)
	require.NoError(t, f.Grow(t.Context(), 2))
	target := f.Targets()[1]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, f.Await(ctx, f.Targets(), IsReady), `of which 2 are left, among them "edge-0" in workspace "ws000000"`)
	done := make(chan error, 1)
	go func() { done <- f.Await(t.Context(), []*Target{target}, IsReady) }()
	require.NoError(t, f.report(target, func(status map[string]any) error {
		status["conditions"] = []any{map[string]any{"type": workloadv1alpha1.ConditionReady, "status": "True"}}
		return nil
	}))
	require.NoError(t, <-done)
}
