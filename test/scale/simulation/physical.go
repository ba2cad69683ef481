package simulation

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/synctarget/synctarget/test/scale/apiserver"
)

// addresses is over how many loopback addresses the physical clusters are spread: a client has only so many ports for one.
const addresses = 50

var (
	deployments = schema.GroupResource{Group: "apps", Resource: "deployments"}
	namespaces  = schema.GroupResource{Resource: "namespaces"}
)

// PhysicalClusters stand for any number of physical clusters: each at an address that it shares with some others, and at a path
// of its own. A Deployment is available as soon as it is applied.
type PhysicalClusters struct {
	*Server
	// deployed is called for each Deployment that is written, with the number of the cluster. It must not block.
	deployed func(int)

	mu       sync.Mutex
	clusters []*physicalCluster
}

type physicalCluster struct {
	*apiserver.Store
	uid string
	// watches is how many are open.
	watches atomic.Int64
}

func newPhysicalClusters(deployed func(int)) (*PhysicalClusters, error) {
	p := &PhysicalClusters{deployed: deployed}
	listen := make([]string, addresses)
	for i := range listen {
		listen[i] = fmt.Sprintf("127.0.1.%d:0", i+1)
	}
	var err error
	p.Server, err = newServer(http.HandlerFunc(p.serve), listen...)
	return p, err
}

// add makes another cluster and returns its number.
func (p *PhysicalClusters) add() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	number := len(p.clusters)
	store := apiserver.NewStore(func(key apiserver.Key, o *unstructured.Unstructured) {
		if key.Resource == deployments {
			rollOut(o)
			p.deployed(number)
		}
	})
	system := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	key := apiserver.Key{Resource: namespaces, Name: metav1.NamespaceSystem}
	if err := create(store, key, system); err != nil {
		return 0, err
	}
	created, err := store.Get(key)
	if err != nil {
		return 0, err
	}
	p.clusters = append(p.clusters, &physicalCluster{Store: store, uid: string(created.GetUID())})
	return number, nil
}

func (p *PhysicalClusters) cluster(number int) *physicalCluster {
	p.mu.Lock()
	defer p.mu.Unlock()
	if number < 0 || number >= len(p.clusters) {
		return nil
	}
	return p.clusters[number]
}

// Kubeconfig leads to a cluster, by its number: that of its SyncTarget.
func (p *PhysicalClusters) Kubeconfig(number int) ([]byte, error) {
	server := fmt.Sprintf("%s/%d", p.URLs[number%len(p.URLs)], number)
	return kubeconfig(&clientcmdapi.Cluster{Server: server, CertificateAuthorityData: p.CA, TLSServerName: serverName},
		fmt.Sprintf("token-of-the-service-in-cluster-%d", number))
}

// Watched counts the clusters in which something is watched.
func (p *PhysicalClusters) Watched() (count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clusters {
		if c.watches.Load() > 0 {
			count++
		}
	}
	return count
}

func (p *PhysicalClusters) serve(w http.ResponseWriter, r *http.Request) {
	first, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	number, err := strconv.Atoi(first)
	asked, ok := apiserver.Parse(r.Method, path, r.URL.Query().Has("watch"))
	cluster := p.cluster(number)
	if err != nil || !ok || cluster == nil {
		http.NotFound(w, r)
		return
	}
	defer p.count(asked)()
	if asked.Verb == "watch" {
		cluster.watches.Add(1)
		defer cluster.watches.Add(-1)
	}
	cluster.Serve(w, r, asked)
}

// rollOut writes the status of a Deployment whose Pods are available.
func rollOut(deployment *unstructured.Unstructured) {
	replicas, _, _ := unstructured.NestedFieldNoCopy(deployment.Object, "spec", "replicas")
	deployment.Object["status"] = map[string]any{
		"observedGeneration": deployment.GetGeneration(),
		"replicas":           replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
		"conditions": []any{
			map[string]any{"type": "Available", "status": "True"},
			map[string]any{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
		},
	}
}
