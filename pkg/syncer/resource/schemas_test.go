package resource

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// published is what a side says of a Widget in v1, and perhaps in v2.
type published struct {
	size, hash string
	fails      error
	fetched    int
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
	return fmt.Appendf(nil, `{"components":{"schemas":{"w":{"type":"object","properties":{"size":{"type":%q}},
		"x-kubernetes-group-version-kind":[{"group":"example.com","version":%q,"kind":"Widget"}]}}}}`, v.size, v.version), nil
}

// TestSchemas: a resource whose schemas contradict each other is incompatible, by field; what is not known stands in
// nobody's way, and what was known stands.
func TestSchemas(t *testing.T) {
	here, there := &published{size: "string"}, &published{size: "integer"}
	s := schemas{workspace: here, cluster: there, verdicts: map[apischema.GroupVersionKind]verdict{}}
	judged := func(versions ...string) Resource {
		gadgets := Resource{GroupResource: workloadv1alpha1.GroupResource{Group: "example.com", Resource: "gadgets"}, Kind: "Gadget", State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"}}
		widgets := Resource{GroupResource: workloadv1alpha1.GroupResource{Group: "example.com", Resource: "widgets"}, Kind: "Widget", State: workloadv1alpha1.ResourceAccepted, Versions: versions}
		catalog := []Resource{widgets, gadgets}
		s.judge(t.Context(), catalog)
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
}

// TestSchemasOfKubernetes: what Kubernetes publishes of itself is compatible with itself.
func TestSchemasOfKubernetes(t *testing.T) {
	client := openapitest.NewEmbeddedFileClient()
	s := schemas{workspace: client, cluster: client, verdicts: map[apischema.GroupVersionKind]verdict{}}
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
	s.judge(t.Context(), catalog)
	for _, r := range catalog {
		gvk := apischema.GroupVersionKind{Group: r.Group, Version: "v1", Kind: r.Kind}
		if _, judged := s.verdicts[gvk]; r.State != workloadv1alpha1.ResourceAccepted || !judged {
			t.Errorf("%s: %s %s, judged: %t", gvk, r.State, r.Message, judged)
		}
	}
}
