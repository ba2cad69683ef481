package synctarget

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/pcluster"
)

// physicalClusters leads to the physical clusters of the targets; see pcluster.Clusters.
type physicalClusters interface {
	Get(ctx context.Context, id pcluster.ID, kubeconfig []byte) (physicalCluster, error)
	Forget(id pcluster.ID)
	IsSlow(clusterName, name string) bool
}

// physicalCluster is one physical cluster; see pcluster.Cluster.
type physicalCluster interface {
	ID(ctx context.Context) (string, error)
	Client() client.Client
	Serving(ctx context.Context) (client.Client, []metav1.APIResource, error)
	Clean(sentence string) string
	Watch(object client.Object) error
	Unwatched() error
}

// connections are the physical clusters as they are.
type connections struct{ *pcluster.Clusters }

// Get returns the cluster with a client for one pass.
func (c connections) Get(ctx context.Context, id pcluster.ID, kubeconfig []byte) (physicalCluster, error) {
	cluster, err := c.Clusters.Get(ctx, id, kubeconfig)
	if err != nil {
		return nil, err
	}
	forPass, err := cluster.NewClient()
	if err != nil {
		return nil, err
	}
	return connected{cluster, forPass}, nil
}

// connected is a physical cluster with the client of a pass.
type connected struct {
	*pcluster.Cluster
	client client.Client
}

// Client implements physicalCluster.
func (c connected) Client() client.Client { return c.client }

// Serving implements physicalCluster. It always returns a client.
func (c connected) Serving(ctx context.Context) (client.Client, []metav1.APIResource, error) {
	served, resources, unknown := c.Cluster.Serving(ctx)
	if served == nil {
		served = c.client
	}
	return served, resources, unknown
}
