package plugin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// workspaceServer serves the objects of the workspace root:team, and tells what it serves as kcp does: with a document for each group.
type workspaceServer struct {
	t       *testing.T
	url     string
	kinds   []metav1.APIResourceList
	objects []client.Object
	// forbidden are resources that the user may not list.
	forbidden []string
	// unavailable is a group with its version, of which the server does not tell the resources.
	unavailable string

	mu       sync.Mutex
	requests []string
}

// newServed is a world whose workspace is a server.
func newServed(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	w := newWorld(t)
	w.served = &workspaceServer{t: t, kinds: workspaceKinds(), objects: objects}
	server := httptest.NewServer(w.served)
	t.Cleanup(server.Close)
	w.served.url = server.URL
	w.kubeconfig = writeKubeconfig(t, server.URL)
	return w
}

// workspaceKinds are what a workspace serves that has bound SyncTargets and the workload APIs.
func workspaceKinds() []metav1.APIResourceList {
	namespaced := func(kind, name, short string) metav1.APIResource {
		return metav1.APIResource{Kind: kind, Name: name, SingularName: strings.ToLower(kind), ShortNames: strings.Fields(short), Namespaced: true, Verbs: metav1.Verbs{"get", "list"}}
	}
	cluster := func(kind, name, short string) metav1.APIResource {
		r := namespaced(kind, name, short)
		r.Namespaced = false
		return r
	}
	return []metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{
			namespaced("ConfigMap", "configmaps", "cm"), namespaced("Secret", "secrets", ""), namespaced("ServiceAccount", "serviceaccounts", "sa"),
			namespaced("Service", "services", "svc"), cluster("Namespace", "namespaces", "ns"), namespaced("PersistentVolumeClaim", "persistentvolumeclaims", "pvc"),
		}},
		{GroupVersion: "apis.kcp.io/v1alpha2", APIResources: []metav1.APIResource{cluster("APIBinding", "apibindings", "")}},
		{GroupVersion: "rbac.authorization.k8s.io/v1", APIResources: []metav1.APIResource{namespaced("Role", "roles", ""), cluster("ClusterRole", "clusterroles", "")}},
		{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{namespaced("Deployment", "deployments", "deploy")}},
		{GroupVersion: "batch/v1", APIResources: []metav1.APIResource{namespaced("Job", "jobs", "")}},
		{GroupVersion: "networking.k8s.io/v1", APIResources: []metav1.APIResource{namespaced("Ingress", "ingresses", "ing")}},
		{GroupVersion: "workload.kcp.io/v1alpha1", APIResources: []metav1.APIResource{
			cluster("SyncTarget", "synctargets", "st"), cluster("Placement", "placements", "pl"), namespaced("Assignment", "assignments", ""),
		}},
	}
}

func (s *workspaceServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/clusters/root:team")
	s.mu.Lock()
	s.requests = append(s.requests, strings.TrimSuffix(r.Method+" "+path+"?"+r.URL.RawQuery, "?"))
	s.mu.Unlock()
	body := s.answer(strings.Split(strings.Trim(path, "/"), "/"), r)
	if body == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if status, ok := body.(*metav1.Status); ok {
		w.WriteHeader(int(status.Code))
	}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.t.Error(err)
	}
}

// made are the requests so far.
func (s *workspaceServer) made() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// answer is nil for what is not served.
func (s *workspaceServer) answer(path []string, r *http.Request) any {
	version := 2 // how many parts name the version
	switch {
	case path[0] == "api" && len(path) == 1:
		return metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}
	case path[0] == "apis" && len(path) == 1:
		return s.groups()
	case path[0] == "apis":
		version = 3
	}
	i := slices.IndexFunc(s.kinds, func(l metav1.APIResourceList) bool {
		return l.GroupVersion == strings.Join(path[1:min(version, len(path))], "/")
	})
	switch {
	case i < 0:
		return nil
	case len(path) == version && s.kinds[i].GroupVersion == s.unavailable:
		return statusOf(apierrors.NewServiceUnavailable("the schema is not there yet"))
	case len(path) == version:
		return s.kinds[i]
	}
	return s.resource(s.kinds[i], path[version:], r)
}

func statusOf(err *apierrors.StatusError) *metav1.Status {
	status := err.Status()
	status.Kind, status.APIVersion = "Status", "v1"
	return &status
}

func (s *workspaceServer) groups() metav1.APIGroupList {
	groups := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for _, list := range s.kinds[1:] {
		group, name, _ := strings.Cut(list.GroupVersion, "/")
		version := metav1.GroupVersionForDiscovery{GroupVersion: list.GroupVersion, Version: name}
		groups.Groups = append(groups.Groups, metav1.APIGroup{Name: group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version})
	}
	return groups
}

// resource answers a get or a list.
func (s *workspaceServer) resource(served metav1.APIResourceList, path []string, r *http.Request) any {
	namespace := ""
	if path[0] == "namespaces" && len(path) > 2 {
		namespace, path = path[1], path[2:]
	}
	i := slices.IndexFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Name == path[0] })
	if i < 0 {
		return nil
	}
	gv, err := schema.ParseGroupVersion(served.GroupVersion)
	if err != nil {
		s.t.Error(err)
	}
	resource, query := gv.WithResource(path[0]), r.URL.Query()
	if slices.Contains(s.forbidden, path[0]) {
		return statusOf(apierrors.NewForbidden(resource.GroupResource(), "", errors.New(`User "jane" cannot do this`)))
	}
	if len(path) == 1 {
		return page(gv.WithKind(served.APIResources[i].Kind), s.find(resource, namespace, query.Get("labelSelector"), query.Get("fieldSelector")), r)
	}
	found := s.find(resource, namespace, "", fields.OneTermEqualSelector(metav1.ObjectNameField, path[1]).String())
	if len(found) == 0 {
		return statusOf(apierrors.NewNotFound(resource.GroupResource(), path[1]))
	}
	return found[0]
}

// find returns the objects of a resource, of all Namespaces where none is given.
func (s *workspaceServer) find(resource schema.GroupVersionResource, namespace, labelSelector, fieldSelector string) []map[string]any {
	byLabel, err := labels.Parse(labelSelector)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	byField, err := fields.ParseSelector(fieldSelector)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	var found []map[string]any
	for _, object := range s.objects {
		gvk, err := apiutil.GVKForObject(object, newScheme())
		if err != nil {
			s.t.Error(err)
			continue
		}
		plural, _ := meta.UnsafeGuessKindToResource(gvk)
		if plural != resource || namespace != "" && object.GetNamespace() != namespace || !byLabel.Matches(labels.Set(object.GetLabels())) ||
			!byField.Matches(fields.Set{metav1.ObjectNameField: object.GetName()}) {
			continue
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			s.t.Error(err)
			continue
		}
		content["apiVersion"], content["kind"] = gvk.GroupVersion().String(), gvk.Kind
		found = append(found, content)
	}
	return found
}

// page is a page of a list of objects, or of their metadata alone.
func page(kind schema.GroupVersionKind, found []map[string]any, r *http.Request) any {
	query := r.URL.Query()
	begin, _ := strconv.Atoi(query.Get("continue"))
	end, more := len(found), map[string]any{}
	if limit, _ := strconv.Atoi(query.Get("limit")); limit > 0 && begin+limit < end {
		end = begin + limit
		more["continue"] = strconv.Itoa(end)
	}
	items := append([]map[string]any{}, found[begin:end]...)
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
		kind = metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata")
		for i := range items {
			items[i] = map[string]any{"kind": kind.Kind, "apiVersion": kind.GroupVersion().String(), "metadata": items[i]["metadata"]}
		}
	}
	return map[string]any{"kind": kind.Kind + "List", "apiVersion": kind.GroupVersion().String(), "metadata": more, "items": items}
}
