package synctarget

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// defaultEndpoint is the name of the endpoint where Config.EndpointOf names none.
const defaultEndpoint = "default"

// Workspaces finds the logical clusters that the service serves; the multicluster manager is one.
type Workspaces interface {
	GetCluster(ctx context.Context, clusterName multicluster.ClusterName) (cluster.Cluster, error)
}

// Config is what a Reconciler is made from.
type Config struct {
	// ExportName is the APIExport that serves SyncTargets.
	ExportName string
	// SyncerImage is installed where the spec names no other.
	SyncerImage string
	// KcpURL and KcpCA are where the syncers find kcp; the CA is PEM, empty for the system's roots.
	KcpURL string
	KcpCA  []byte
	// Kcp leads to the workspace of the export, as the service's own user.
	Kcp *rest.Config
	// Proxy is handed to the syncers.
	Proxy agent.Proxy
	// HeartbeatInterval is the mean time between two heartbeats that syncers are installed with; zero for their default.
	HeartbeatInterval time.Duration
	// HeartbeatThreshold is how long a syncer may be silent.
	HeartbeatThreshold time.Duration
	// DeleteDeadline is how long a deletion may be held up.
	DeleteDeadline time.Duration
	// MaxTargetsPerWorkspace is how many SyncTargets of a workspace the service connects to; zero for any number.
	MaxTargetsPerWorkspace int

	Workspaces Workspaces
	// EndpointOf names the endpoint, such as the URL of a virtual workspace, whose watch brings the SyncTargets of a logical
	// cluster; it is called for each heartbeat. Nil for one endpoint that serves all.
	EndpointOf func(multicluster.ClusterName) string
	PClusters  *pcluster.Clusters
	// Upstream makes an uncached client of the logical cluster that a config leads to. It must be cheap.
	Upstream func(*rest.Config) (client.Client, error)
	Events   EventRecorder
	Metrics  *Metrics
	Clock    clock.PassiveClock
}

// Reconciler runs the phase pipeline for each SyncTarget.
type Reconciler struct {
	Config

	// install and remove are the table of contents of this controller.
	install []phase
	remove  []step

	physical    physicalClusters
	engagements *engagements
	heartbeats  *heartbeatTracker
	deletions   *deletions
	installed   *installed
	tokens      *tokens
	hiccups     hiccups
	// races slow down passes that lose one race after another for the same object.
	races workqueue.TypedRateLimiter[mcreconcile.Request]
	// stripWith is agent.Strip; a field so that unit tests need no server.
	stripWith func(ctx context.Context, c agent.Config, as *rest.Config, namespace string) error
	// self is the service's own user, for workspaces where the syncer's token is no longer good.
	self *self
}

// New returns a Reconciler.
func New(cfg Config) (*Reconciler, error) {
	if cfg.ExportName == "" || cfg.SyncerImage == "" || cfg.KcpURL == "" || cfg.Kcp == nil || cfg.Metrics == nil {
		return nil, errors.New("the export's name, the syncer's image, kcp's URL and config, and metrics are required")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	r := &Reconciler{
		Config: cfg, physical: connections{cfg.PClusters}, engagements: newEngagements(),
		heartbeats: newHeartbeatTracker(cfg.Clock, cfg.HeartbeatThreshold), deletions: newDeletions(cfg.Clock), installed: newInstalled(), tokens: newTokens(),
		races:     workqueue.NewTypedItemExponentialFailureRateLimiter[mcreconcile.Request](conflictRetry, retryMax),
		stripWith: agent.Strip, self: &self{config: cfg.Kcp, review: reviewSelf},
	}
	r.install = []phase{
		{condition: workloadv1alpha1.ConditionValid, run: r.validate, failed: validateFailed},
		{condition: workloadv1alpha1.ConditionDeployed, always: r.followNamespaces, run: r.deploy, failed: deployFailed, behind: onlyIfValid},
		{condition: workloadv1alpha1.ConditionReady, run: r.health, failed: healthFailed, behind: unlessSpecIsWrong},
	}
	r.remove = []step{
		{name: stepCopies, run: r.drain, left: leftInNamespaces},
		{name: "agent", run: r.removeAgent, left: leftDownstream},
		{name: "identity", run: r.removeIdentity, left: leftUpstream, settles: true},
		{name: "secret", run: r.releaseSecret, left: leftHold},
	}
	cfg.Metrics.watch(r.heartbeats)
	return r, nil
}

// NewUpstream returns a factory of uncached clients that share one HTTP client and one mapper: a workspace costs
// nothing until it is spoken to, and no discovery then.
func NewUpstream(httpClient *http.Client, scheme *runtime.Scheme, mapper meta.RESTMapper) func(*rest.Config) (client.Client, error) {
	return func(cfg *rest.Config) (client.Client, error) {
		c, err := client.New(cfg, client.Options{HTTPClient: httpClient, Scheme: scheme, Mapper: mapper})
		if err != nil {
			return nil, fmt.Errorf("making a client for %q: %w", cfg.Host, err)
		}
		return c, nil
	}
}

func rawContent() rest.ContentConfig {
	return rest.ContentConfig{NegotiatedSerializer: serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()}
}
