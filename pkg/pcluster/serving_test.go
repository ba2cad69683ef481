package pcluster

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apis is a cluster with the custom resource widgets, in the version that it does not prefer too, one of the whole cluster, and
// what cannot be stored. It tells of each version in an answer of its own; of those that are away it does not tell.
func apis(away ...string) http.HandlerFunc {
	list := func(resources ...any) map[string]any {
		return map[string]any{"kind": "APIResourceList", "resources": resources}
	}
	resource := func(name string, verbs ...string) map[string]any {
		kind := "Kind of " + name
		if name == "AllowLists" {
			kind = "Kind of AllowList"
		}
		return map[string]any{"name": name, "kind": kind, "namespaced": name != "planets", "verbs": verbs}
	}
	group := func(name string, versions ...string) map[string]any {
		of := func(v string) any { return map[string]any{"groupVersion": name + "/" + v, "version": v} }
		all := []any{}
		for _, v := range versions {
			all = append(all, of(v))
		}
		return map[string]any{"name": name, "preferredVersion": of(versions[0]), "versions": all}
	}
	core := []any{resource("limitranges", "list", "delete"), resource("bindings", "create"), resource("pods/status", "get", "list", "delete")}
	for _, name := range everywhere {
		core = append(core, resource(name, "list", "delete"))
	}
	answers := map[string]any{
		"/api":    map[string]any{"kind": "APIVersions", "versions": []any{"v1"}},
		"/api/v1": list(core...),
		"/apis": map[string]any{"kind": "APIGroupList", "groups": []any{
			group("apps", "v1"), group("rbac.authorization.k8s.io", "v1"), group("example.com", "v2", "v1"), group("metrics.k8s.io", "v1"),
		}},
		"/apis/apps/v1":                                    list(resource("deployments", "list", "delete")),
		"/apis/rbac.authorization.k8s.io/v1":               list(resource("rolebindings", "list", "delete")),
		"/apis/example.com/v2":                             list(resource("planets", "list", "delete"), resource("widgets", "list", "delete")),
		"/apis/example.com/v1":                             list(resource("AllowLists", "list", "delete"), resource("gadgets", "list", "delete"), resource("widgets", "list", "delete")),
		"/apis/metrics.k8s.io/v1":                          list(resource("pods", "get", "list")),
		"/apis/example.com/v1/namespaces/n/AllowLists/one": map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Success"},
		"/apis/example.com/v2/namespaces/n/widgets": map[string]any{
			"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": map[string]any{"resourceVersion": "1"},
			"items": []any{map[string]any{"metadata": map[string]any{"namespace": "n", "name": "one"}}},
		},
	}
	return func(w http.ResponseWriter, r *http.Request) {
		for _, path := range away {
			if r.URL.Path == path {
				http.Error(w, "service unavailable", http.StatusServiceUnavailable)
				return
			}
		}
		if answer, found := answers[r.URL.Path]; found {
			writeJSON(w, http.StatusOK, answer)
			return
		}
		// In the words of an API server that does not know the path.
		http.Error(w, "404 page not found", http.StatusNotFound)
	}
}

// everywhere is what every cluster serves of the core.
var everywhere = []string{"configmaps", "persistentvolumeclaims", "pods", "secrets", "serviceaccounts", "services"}

// serving is a cluster, met, that answers so.
func serving(t *testing.T, answer http.HandlerFunc) (*fakeServer, *Cluster) {
	t.Helper()
	server := newServer(t, except(answer))
	clusters, _ := startClusters(t, clocktesting.NewFakeClock(time.Now()), nil)
	cluster, err := clusters.Get(t.Context(), testID("a"), server.kubeconfig("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	return server, cluster
}

// named is what a cluster serves beside what every one does.
func named(resources []metav1.APIResource) []string {
	names := []string{}
	for _, r := range resources {
		if slices.Contains(everywhere, r.Name) || r.Group == "apps" || r.Group == "rbac.authorization.k8s.io" {
			continue
		}
		names = append(names, fmt.Sprintf("%s/%s %s: %s", r.Group, r.Version, r.Name, r.Kind))
	}
	return names
}

// TestServing: what may be stored in a Namespace is found, each in one version, and can be listed.
func TestServing(t *testing.T) {
	_, cluster := serving(t, apis())
	c, resources, err := cluster.Serving(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/v1 limitranges: Kind of limitranges", "example.com/v1 AllowLists: Kind of AllowList", "example.com/v1 gadgets: Kind of gadgets", "example.com/v2 widgets: Kind of widgets"}
	if diff := cmp.Diff(want, named(resources)); diff != "" {
		t.Errorf("resources: -want +got\n%s", diff)
	}
	widgets := resources[slices.IndexFunc(resources, func(r metav1.APIResource) bool { return r.Name == "widgets" })]
	list := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "example.com/v2", Kind: widgets.Kind + "List"}}
	if err := c.List(t.Context(), list, client.InNamespace("n")); err != nil || len(list.Items) != 1 {
		t.Errorf("List() = %v, %d items", err, len(list.Items))
	}
	one := &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "example.com/v1", Kind: "Kind of AllowList"}, ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "one"},
	}
	if err := c.Delete(t.Context(), one); err != nil {
		t.Errorf("Delete() of what is named like a list = %v", err)
	}
	if scheme.Scheme.Recognizes(list.GroupVersionKind()) {
		t.Error("a kind of one cluster is known to all")
	}
}

// TestServingWithASilentGroup: what does not answer is told, the rest is known, and the cluster is not dead for it.
func TestServingWithASilentGroup(t *testing.T) {
	_, cluster := serving(t, apis("/apis/metrics.k8s.io/v1", "/apis/example.com/v2/namespaces/n/widgets"))
	c, resources, err := cluster.Serving(t.Context())
	if got := Describe(err); !strings.Contains(got, "does not say what it serves of metrics.k8s.io/v1;") {
		t.Errorf("Serving() = %s", got)
	}
	if len(named(resources)) != 4 {
		t.Errorf("resources: %q", named(resources))
	}
	list := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "example.com/v2", Kind: "Kind of widgetsList"}}
	if err := c.List(t.Context(), list, client.InNamespace("n")); !errors.Is(err, ErrUnreachable) {
		t.Errorf("List() = %v", err)
	}
	if err := cluster.remembered(); err != nil {
		t.Errorf("the cluster is dead: %v", err)
	}
}

// TestServingNothing: a cluster that does not answer is no empty one.
func TestServingNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		answer http.HandlerFunc
		want   string
	}{
		"away":       {"", apis("/apis"), "is not available"},
		"no JSON":    {"", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, "no") }, "does not answer like a Kubernetes API server"},
		"bottomless": {"Each version would be asked for.", countless, "more than 128 versions"},
	} {
		t.Run(name, func(t *testing.T) {
			server, cluster := serving(t, tc.answer)
			before := server.requestCount()
			_, resources, err := cluster.Serving(t.Context())
			if got := Describe(err); !strings.Contains(got, tc.want) || len(resources) != 0 {
				t.Errorf("%s\nServing() = %q, %s", tc.reason, named(resources), got)
			}
			if got := server.requestCount() - before; got > 2 {
				t.Errorf("%s\n%d requests", tc.reason, got)
			}
		})
	}
}

// countless is a server that makes up versions.
func countless(w http.ResponseWriter, r *http.Request) {
	versions := []any{}
	for i := range 1000 {
		versions = append(versions, map[string]any{"groupVersion": fmt.Sprintf("example.com/v%d", i), "version": fmt.Sprintf("v%d", i)})
	}
	switch r.URL.Path {
	case "/api":
		writeJSON(w, http.StatusOK, map[string]any{"kind": "APIVersions", "versions": []any{"v1"}})
	default:
		writeJSON(w, http.StatusOK, map[string]any{"kind": "APIGroupList", "groups": []any{map[string]any{"name": "example.com", "versions": versions}}})
	}
}

// replaced is apis, with another answer on some paths.
func replaced(answer http.HandlerFunc, paths ...string) http.HandlerFunc {
	usual := apis()
	return func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(paths, r.URL.Path) {
			answer(w, r)
			return
		}
		usual(w, r)
	}
}

// TestServingTooLittle: client-go takes a server that knows nothing of an API for one that has none. What is found is returned,
// but never without an error.
func TestServingTooLittle(t *testing.T) {
	absent := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "404 page not found", http.StatusNotFound) }
	nothing := func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, map[string]any{}) }
	for name, answer := range map[string]http.HandlerFunc{
		"no core":                    replaced(absent, "/api"),
		"no core version":            replaced(absent, "/api/v1"),
		"nothing in the core":        replaced(nothing, "/api/v1"),
		"an empty core":              replaced(nothing, "/api"),
		"no groups":                  replaced(absent, "/apis"),
		"an empty list of groups":    replaced(nothing, "/apis"),
		"empty both":                 replaced(nothing, "/api", "/apis"),
		"nothing in a usual group":   replaced(nothing, "/apis/apps/v1"),
		"nothing in another of ours": replaced(nothing, "/apis/rbac.authorization.k8s.io/v1"),
	} {
		t.Run(name, func(t *testing.T) {
			_, cluster := serving(t, answer)
			_, _, err := cluster.Serving(t.Context())
			if got := Describe(err); !strings.Contains(got, "does not answer like a Kubernetes API server") {
				t.Errorf("Serving() = %s", got)
			}
		})
	}
}

// TestServingTooMuch: all answers together are bounded, not only each.
func TestServingTooMuch(t *testing.T) {
	server, cluster := serving(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api":
			writeJSON(w, http.StatusOK, map[string]any{"kind": "APIVersions", "versions": []any{"v1"}})
		case "/apis":
			versions := []any{}
			for i := range 100 {
				versions = append(versions, map[string]any{"groupVersion": fmt.Sprintf("example.com/v%d", i), "version": fmt.Sprintf("v%d", i)})
			}
			writeJSON(w, http.StatusOK, map[string]any{"kind": "APIGroupList", "groups": []any{map[string]any{"name": "example.com", "versions": versions}}})
		default:
			writeJSON(w, http.StatusOK, map[string]any{"kind": "APIResourceList", "padding": strings.Repeat("x", 1<<20), "resources": []any{}})
		}
	})
	before := server.requestCount()
	_, _, err := cluster.Serving(t.Context())
	if got, want := Describe(err), "the cluster needs more than 8 MiB to say what it serves"; got != want {
		t.Errorf("Serving() = %s, want %s", got, want)
	}
	if got := server.requestCount() - before; got > 2+8+maxAsked {
		t.Errorf("%d requests", got)
	}
}

// TestCredentialsAsNames: what the cluster calls as the kubeconfig's token is not told.
func TestCredentialsAsNames(t *testing.T) {
	list := map[string]any{"kind": "APIResourceList", "resources": []any{
		map[string]any{"name": "s3cret", "kind": "Secretive", "namespaced": true, "verbs": []any{"list", "delete"}},
	}}
	_, cluster := serving(t, replaced(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/s3cret") {
			refuse(http.StatusForbidden, "Forbidden", "no")(w, r)
			return
		}
		writeJSON(w, http.StatusOK, list)
	}, "/apis/example.com/v1", "/apis/example.com/v1/namespaces/n/s3cret"))
	c, _, err := cluster.Serving(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secretive := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "example.com/v1", Kind: "SecretiveList"}}
	err = c.List(t.Context(), secretive, client.InNamespace("n"))
	if got := Describe(err); !strings.Contains(got, `may not list [redacted].example.com`) {
		t.Errorf("List() = %s", got)
	}
	if got, want := cluster.Clean("Pod \"s3cret\"\n in it"), `Pod "[redacted]" in it`; got != want {
		t.Errorf("Clean() = %s, want %s", got, want)
	}
}
