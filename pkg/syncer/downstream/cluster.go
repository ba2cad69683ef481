package downstream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/syncer/kubeconfig"
)

// nodesTimeout is how long a measurement waits for the cache's first list of Nodes. It is part of the 2 s
// within which the first heartbeat is due.
const nodesTimeout = time.Second

// Config is the config of the physical cluster: of the kubeconfig at path, or, if path is empty, of the pod's
// own ServiceAccount.
func Config(path string) (*rest.Config, error) {
	if path == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("using the pod's ServiceAccount: %w", err)
		}
		return config, nil
	}
	return kubeconfig.Load(path)
}

// Cluster reads the physical cluster. Errors wrap the API server's.
type Cluster struct {
	downstream corev1client.CoreV1Interface
	nodes      client.Reader
}

// NewCluster reads the cluster that config leads to, and its Nodes from a cache made with CacheOptions.
func NewCluster(config *rest.Config, nodes client.Reader) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	// A connection of its own, for the reason given in package upstream.
	config.NextProtos = []string{"http/1.1"}
	downstream, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to the physical cluster: %w", err)
	}
	return &Cluster{downstream: downstream, nodes: nodes}, nil
}

// ID is the UID of the Namespace kube-system, which lives as long as its cluster. It is read live: an answer
// proves that the API server and its store can be reached.
func (c *Cluster) ID(ctx context.Context) (string, error) {
	namespace, err := c.downstream.Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading Namespace %q: %w", metav1.NamespaceSystem, err)
	}
	return string(namespace.UID), nil
}

// KubernetesVersion is the API server's version, for example v1.34.4.
func (c *Cluster) KubernetesVersion(ctx context.Context) (string, error) {
	body, err := c.downstream.RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return "", fmt.Errorf("reading /version: %w", err)
	}
	var info version.Info
	if err := json.Unmarshal(body, &info); err != nil {
		return "", fmt.Errorf("parsing /version: %w", err)
	}
	return info.GitVersion, nil
}

// Nodes are the cluster's Nodes, stripped and shared with the cache: do not change them. It is an error if
// they could not be listed yet; the first call starts the watch and waits up to a second.
func (c *Cluster) Nodes(ctx context.Context) ([]corev1.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, nodesTimeout)
	defer cancel()
	var list corev1.NodeList
	if err := c.nodes.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing Nodes: %w", err)
	}
	return list.Items, nil
}
