package pcluster

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apis is a cluster with the custom resource widgets, in the version that it does not prefer, and one of the whole cluster.
func apis(w http.ResponseWriter, r *http.Request) {
	resources := func(names ...string) map[string]any {
		list := []any{}
		for _, name := range names {
			list = append(list, map[string]any{"name": name, "kind": "Kind of " + name, "namespaced": name != "planets"})
		}
		return map[string]any{"kind": "APIResourceList", "resources": list}
	}
	switch r.URL.Path {
	case "/apis":
		version := func(v string) map[string]any { return map[string]any{"groupVersion": "example.com/" + v, "version": v} }
		writeJSON(w, http.StatusOK, map[string]any{"kind": "APIGroupList", "groups": []any{
			map[string]any{"name": "example.com", "preferredVersion": version("v2"), "versions": []any{version("v1"), version("v2")}},
		}})
	case "/apis/example.com/v2":
		writeJSON(w, http.StatusOK, resources("planets", "widgets/status"))
	case "/apis/example.com/v1":
		writeJSON(w, http.StatusOK, resources("widgets"))
	case "/api/v1":
		writeJSON(w, http.StatusOK, resources("limitranges"))
	case "/apis/example.com/v1/namespaces/n/widgets":
		writeJSON(w, http.StatusOK, map[string]any{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": map[string]any{"resourceVersion": "1"},
			"items": []any{map[string]any{"metadata": map[string]any{"namespace": "n", "name": "one"}}}})
	default:
		// In the words of an API server that does not know the path.
		http.Error(w, "404 page not found", http.StatusNotFound)
	}
}

// TestServing: what the cluster serves beyond the usual kinds is found and can be listed; what it does not serve is no error.
func TestServing(t *testing.T) {
	server := newServer(t, except(apis))
	clusters, _ := startClusters(t, clocktesting.NewFakeClock(time.Now()), nil)
	cluster, err := clusters.Get(t.Context(), testID("a"), server.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	c, kinds, err := cluster.Serving(t.Context(), []schema.GroupResource{
		{Resource: "configmaps"}, {Group: "apps", Resource: "deployments"}, {Resource: "limitranges"}, {Resource: "unheardof"},
		{Group: "example.com", Resource: "widgets"}, {Group: "example.com", Resource: "planets"}, {Group: "other.example.com", Resource: "widgets"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []schema.GroupVersionKind{{Version: "v1", Kind: "Kind of limitranges"}, {Group: "example.com", Version: "v1", Kind: "Kind of widgets"}}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("kinds: -want +got\n%s", diff)
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(want[1].GroupVersion().WithKind(want[1].Kind + "List"))
	if err := c.List(t.Context(), list, client.InNamespace("n")); err != nil || len(list.Items) != 1 {
		t.Errorf("List() = %v, %d items", err, len(list.Items))
	}
	if scheme.Scheme.Recognizes(want[1]) {
		t.Error("a kind of one cluster is known to all")
	}
}

// TestServingTheUsual: of what every cluster serves nothing is asked.
func TestServingTheUsual(t *testing.T) {
	server := newServer(t, nil)
	clusters, _ := startClusters(t, clocktesting.NewFakeClock(time.Now()), nil)
	cluster, err := clusters.Get(t.Context(), testID("a"), server.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	before := server.requestCount()
	if _, kinds, err := cluster.Serving(t.Context(), []schema.GroupResource{{Resource: "configmaps"}, {Group: "batch", Resource: "jobs"}}); err != nil || len(kinds) != 0 {
		t.Errorf("Serving() = %v, %v", kinds, err)
	}
	if got := server.requestCount() - before; got != 0 {
		t.Errorf("%d requests", got)
	}
}
