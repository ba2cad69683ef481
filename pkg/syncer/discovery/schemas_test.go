package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// published is what a side says of a Widget in v1, and perhaps in v2.
type published struct {
	size, hash string
	// color: its Widgets have one.
	color   bool
	native  bool
	fails   error
	fetched int
}

func (p *published) Paths() (map[string]openapi.GroupVersion, error) {
	if p.fails != nil {
		return nil, p.fails
	}
	return map[string]openapi.GroupVersion{
		"apis/example.com/v1": &publishedVersion{p, "v1", p.size},
		"apis/example.com/v2": &publishedVersion{p, "v2", "string"},
	}, nil
}

type publishedVersion struct {
	*published
	version, size string
}

func (v *publishedVersion) ServerRelativeURL() string { return "/" + v.version + "?hash=" + v.hash }

func (v *publishedVersion) Schema(string) ([]byte, error) {
	v.fetched++
	more := ""
	if v.color {
		more += `,"color":{"type":"string"}`
	}
	if v.native {
		more += `,"metadata":{"default":{}}`
	}
	return fmt.Appendf(nil, `{"components":{"schemas":{"w":{"type":"object","properties":{"size":{"type":%q}%s},
		"x-kubernetes-group-version-kind":[{"group":"example.com","version":%q,"kind":"Widget"}]}}}}`, v.size, more, v.version), nil
}

// TestSchemas: a resource whose schemas contradict each other is incompatible, by field; what is not known stands in
// nobody's way, and what was known stands.
func TestSchemas(t *testing.T) {
	here, there := &published{size: "string"}, &published{size: "integer"}
	s := Schemas{workspace: here, cluster: there, results: map[apischema.GroupVersionKind]result{}}
	judged := func(versions ...string) Resource {
		gadgets := Resource{GroupResource: workloadv1alpha1.GroupResource{Group: "example.com", Resource: "gadgets"}, Kind: "Gadget", State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"}}
		widgets := Resource{GroupResource: workloadv1alpha1.GroupResource{Group: "example.com", Resource: "widgets"}, Kind: "Widget", State: workloadv1alpha1.ResourceAccepted, Versions: versions}
		catalog := []Resource{widgets, gadgets}
		s.CheckCompatibility(t.Context(), catalog)
		if catalog[1].State != workloadv1alpha1.ResourceAccepted {
			t.Errorf("a kind that no document tells of is %+v", catalog[1])
		}
		return catalog[0]
	}
	require := func(when string, got Resource, state workloadv1alpha1.SyncedResourceState, versions string) {
		t.Helper()
		if got.State != state || strings.Join(got.Versions, " ") != versions || (state == workloadv1alpha1.ResourceIncompatible) != strings.Contains(got.Message, "size: string in the workspace, integer in the physical cluster") {
			t.Errorf("%s: %+v, want %s in %q", when, got, state, versions)
		}
	}

	here.fails = errors.New("forbidden")
	require("never known", judged("v1"), workloadv1alpha1.ResourceAccepted, "v1")
	here.fails = nil
	require("contradictory", judged("v1"), workloadv1alpha1.ResourceIncompatible, "v1")
	here.fails = errors.New("connection refused")
	require("an outage", judged("v1"), workloadv1alpha1.ResourceIncompatible, "v1")
	here.fails = nil
	require("in one version of two", judged("v1", "v2"), workloadv1alpha1.ResourceAccepted, "v2")

	fetched := there.fetched
	judged("v1", "v2")
	if there.fetched != fetched {
		t.Errorf("what has not changed was fetched %d times more", there.fetched-fetched)
	}
	there.size, there.hash = "string", "2"
	require("mended", judged("v1"), workloadv1alpha1.ResourceAccepted, "v1")

	here.color, here.hash = true, "3"
	if got := judged("v1"); got.State != workloadv1alpha1.ResourceIncompatible || !strings.Contains(got.Message, "color: known") {
		t.Errorf("a field of the workspace alone, of a custom resource: %+v", got)
	}
	there.native, there.hash = true, "3"
	if got := judged("v1"); got.State != workloadv1alpha1.ResourceAccepted || !strings.Contains(got.Message, "color: known in the workspace") || !strings.Contains(got.Message, "refuses the objects that use it") {
		t.Errorf("a field of the workspace alone, of a built-in kind: %+v", got)
	}
}

// TestSchemasOfKubernetes: what Kubernetes publishes of itself is compatible with itself.
func TestSchemasOfKubernetes(t *testing.T) {
	client := openapitest.NewEmbeddedFileClient()
	s := Schemas{workspace: client, cluster: client, results: map[apischema.GroupVersionKind]result{}}
	kinds := map[string]string{
		"/configmaps": "ConfigMap", "/secrets": "Secret", "/services": "Service", "/serviceaccounts": "ServiceAccount",
		"/persistentvolumeclaims": "PersistentVolumeClaim", "apps/deployments": "Deployment", "apps/statefulsets": "StatefulSet",
		"apps/daemonsets": "DaemonSet", "batch/jobs": "Job", "batch/cronjobs": "CronJob",
	}
	var catalog []Resource
	for _, gr := range workloadv1alpha1.DefaultSyncedResources() {
		kind := kinds[gr.Group+"/"+gr.Resource]
		if kind == "" {
			continue // not among the documents that client-go ships
		}
		catalog = append(catalog, Resource{GroupResource: gr, Kind: kind, State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"}})
	}
	s.CheckCompatibility(t.Context(), catalog)
	for _, r := range catalog {
		gvk := apischema.GroupVersionKind{Group: r.Group, Version: "v1", Kind: r.Kind}
		if _, judged := s.results[gvk]; r.State != workloadv1alpha1.ResourceAccepted || !judged {
			t.Errorf("%s: %s %s, judged: %t", gvk, r.State, r.Message, judged)
		}
	}
}

// older is a Kubernetes whose Deployments cannot be paused.
type older struct{ openapi.Client }

func (o older) Paths() (map[string]openapi.GroupVersion, error) {
	paths, err := o.Client.Paths()
	for path, version := range paths {
		paths[path] = olderVersion{version}
	}
	return paths, err
}

type olderVersion struct{ openapi.GroupVersion }

func (v olderVersion) ServerRelativeURL() string { return "/older" }

func (v olderVersion) Schema(contentType string) ([]byte, error) {
	document, err := v.GroupVersion.Schema(contentType)
	if err != nil {
		return nil, err
	}
	var content map[string]any
	if err := json.Unmarshal(document, &content); err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(content, "components", "schemas", "io.k8s.api.apps.v1.DeploymentSpec", "properties", "paused")
	return json.Marshal(content)
}

// TestSchemasOfAnOlderKubernetes: the field that it does not know is told, and stands in nobody else's way.
func TestSchemasOfAnOlderKubernetes(t *testing.T) {
	client := openapitest.NewEmbeddedFileClient()
	s := Schemas{workspace: client, cluster: older{openapitest.NewEmbeddedFileClient()}, results: map[apischema.GroupVersionKind]result{}}
	catalog := []Resource{{
		GroupResource: workloadv1alpha1.GroupResource{Group: "apps", Resource: "deployments"}, Kind: "Deployment",
		State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"},
	}}
	s.CheckCompatibility(t.Context(), catalog)
	const want = "spec.paused: known in the workspace, unknown in the physical cluster, which refuses the objects that use it"
	if r := catalog[0]; r.State != workloadv1alpha1.ResourceAccepted || r.Message != want {
		t.Errorf("%s %q, want %q", r.State, r.Message, want)
	}
}
