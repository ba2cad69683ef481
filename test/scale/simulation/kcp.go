package simulation

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/test/scale/apiserver"
)

const (
	// Provider is the workspace of the APIExport.
	Provider = "root:synctarget"
	// virtualWorkspace is where the APIExport is served, on each shard.
	virtualWorkspace = "/services/apiexport/root/" + workloadv1alpha1.GroupName
	shardPrefix      = "/shards/"
)

var (
	bindings       = schema.GroupResource{Group: apisv1alpha2.SchemeGroupVersion.Group, Resource: "apibindings"}
	endpointSlices = schema.GroupResource{Group: apisv1alpha1.SchemeGroupVersion.Group, Resource: "apiexportendpointslices"}
	syncTargets    = schema.GroupResource{Group: workloadv1alpha1.GroupName, Resource: "synctargets"}
	leases         = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
	secrets        = schema.GroupResource{Resource: "secrets"}
)

// Kcp stands for a kcp: workspaces, the virtual workspace of the APIExport on each shard, and the tokens that kcp issues.
type Kcp struct {
	*Server
	// Observe is called for each request before it is answered, if it is not nil. It is set before the first one.
	Observe func(*http.Request, apiserver.Request)

	binding apisv1alpha2.APIBinding
	shards  []*apiserver.Store
}

// newKcp starts it. changed is called for each SyncTarget that is written, and must not call a Store.
func newKcp(bindingYAML []byte, shards int, changed func(apiserver.Key, *unstructured.Unstructured)) (*Kcp, error) {
	k := &Kcp{}
	if err := yaml.UnmarshalStrict(bindingYAML, &k.binding); err != nil {
		return nil, fmt.Errorf("reading the APIBinding: %w", err)
	}
	k.binding.Status.Phase = apisv1alpha2.APIBindingPhaseBound
	for range shards {
		k.shards = append(k.shards, apiserver.NewStore(func(key apiserver.Key, o *unstructured.Unstructured) {
			switch key.Resource {
			case secrets:
				issueToken(o)
			case syncTargets:
				changed(key, o)
			}
		}))
	}
	var err error
	if k.Server, err = newServer(http.HandlerFunc(k.serve), "127.0.0.1:0"); err != nil {
		return nil, err
	}
	return k, k.createEndpointSlices()
}

// EndpointSlice is the name of the APIExportEndpointSlice that lists one shard, as one with a Partition does.
func EndpointSlice(shard int) string { return fmt.Sprintf("shard-%d", shard) }

// createEndpointSlices makes the one of the APIExport, with all shards, and one for each shard.
func (k *Kcp) createEndpointSlices() error {
	var all []apisv1alpha1.APIExportEndpoint
	for i := range k.shards {
		endpoint := apisv1alpha1.APIExportEndpoint{URL: k.URLs[0] + shardPrefix + strconv.Itoa(i) + virtualWorkspace}
		all = append(all, endpoint)
		if err := k.createEndpointSlice(EndpointSlice(i), endpoint); err != nil {
			return err
		}
	}
	return k.createEndpointSlice(workloadv1alpha1.GroupName, all...)
}

func (k *Kcp) createEndpointSlice(name string, endpoints ...apisv1alpha1.APIExportEndpoint) error {
	return create(k.Store(Provider), apiserver.Key{Resource: endpointSlices, Cluster: Provider, Name: name}, &apisv1alpha1.APIExportEndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: apisv1alpha1.SchemeGroupVersion.String(), Kind: "APIExportEndpointSlice"},
		Status:   apisv1alpha1.APIExportEndpointSliceStatus{APIExportEndpoints: endpoints},
	})
}

// Shard is the number of the shard that a workspace is on: workspaces take turns. The provider's is on the first one.
func (k *Kcp) Shard(cluster string) int {
	number, err := strconv.Atoi(strings.TrimLeft(cluster, letters))
	if err != nil {
		return 0
	}
	return number % len(k.shards)
}

// Store holds the objects of a workspace, and those of the other workspaces on its shard.
func (k *Kcp) Store(cluster string) *apiserver.Store { return k.shards[k.Shard(cluster)] }

// serve answers requests to a workspace, directly or through the virtual workspace of a shard.
func (k *Kcp) serve(w http.ResponseWriter, r *http.Request) {
	path, shard := r.URL.Path, -1
	if below, ok := strings.CutPrefix(path, shardPrefix); ok {
		number, rest, _ := strings.Cut(below, "/")
		shard, _ = strconv.Atoi(number)
		path = strings.TrimPrefix("/"+rest, virtualWorkspace)
	}
	path, found := strings.CutPrefix(path, "/clusters/")
	cluster, path, _ := strings.Cut(path, "/")
	asked, ok := apiserver.Parse(r.Method, path, r.URL.Query().Has("watch"))
	if !found || !ok || shard >= len(k.shards) || cluster == apiserver.Wildcard && shard < 0 {
		http.NotFound(w, r)
		return
	}
	asked.Cluster = cluster
	if shard < 0 {
		shard = k.Shard(cluster)
	}
	defer k.count(asked)()
	if k.Observe != nil {
		k.Observe(r, asked)
	}
	k.shards[shard].Serve(w, r, asked)
}

// Bind makes a workspace that has bound the API.
func (k *Kcp) Bind(cluster string) error {
	return create(k.Store(cluster), apiserver.Key{Resource: bindings, Cluster: cluster, Name: k.binding.Name}, &k.binding)
}

// Unbind removes a workspace without SyncTargets.
func (k *Kcp) Unbind(cluster string) error {
	return k.Store(cluster).Delete(apiserver.Key{Resource: bindings, Cluster: cluster, Name: k.binding.Name}, "")
}

// Kubeconfig leads to the provider workspace, with a token.
func (k *Kcp) Kubeconfig(token string) ([]byte, error) {
	return kubeconfig(&clientcmdapi.Cluster{Server: k.URLs[0] + "/clusters/" + Provider, CertificateAuthorityData: k.CA}, token)
}

// issueToken fills a Secret for the token of a ServiceAccount, as kcp's token controller does.
func issueToken(secret *unstructured.Unstructured) {
	kind, _, _ := unstructured.NestedString(secret.Object, "type")
	if _, filled := secret.Object["data"]; filled || kind != string(corev1.SecretTypeServiceAccountToken) {
		return
	}
	token := strings.Repeat("token-of-"+string(secret.GetUID())+".", 15) // about as long as a real one
	secret.Object["data"] = map[string]any{corev1.ServiceAccountTokenKey: base64.StdEncoding.EncodeToString([]byte(token))}
}

// create stores a typed object.
func create(store *apiserver.Store, key apiserver.Key, object runtime.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return err
	}
	if _, err := store.Create(key, &unstructured.Unstructured{Object: content}); err != nil {
		return fmt.Errorf("creating %s %q: %w", key.Resource, key.Name, err)
	}
	return nil
}
