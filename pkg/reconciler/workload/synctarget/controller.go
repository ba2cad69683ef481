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
	"k8s.io/apimachinery/pkg/util/intstr"
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
	"github.com/synctarget/synctarget/pkg/reconciler/workspacewatch"
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
	// Version of the controller, which is written to each workspace for display; empty for none.
	Version string
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
	// HeartbeatStatusInterval is how often status.lastHeartbeatTime is written for a syncer that renews a Lease; zero for a minute.
	HeartbeatStatusInterval time.Duration
	// TokenRotationInterval is how long a syncer uses a token until another is issued; zero for as long as kcp accepts it.
	TokenRotationInterval time.Duration
	// DeleteDeadline is how long a deletion may take before steps that are not done are abandoned.
	DeleteDeadline time.Duration
	// MaxTargetsPerWorkspace is how many SyncTargets of a workspace the service connects to; zero for any number.
	MaxTargetsPerWorkspace int
	// RolloutMaxUnavailable is how many of the SyncTargets that are Ready, or which share of them, get other settings of the service,
	// such as SyncerImage, at a time; at least one does.
	RolloutMaxUnavailable intstr.IntOrString

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

	// install are the phases of a SyncTarget that lives, and remove the steps of its deletion, each in order.
	install []phase
	remove  []step

	physical     physicalClusters
	engagements  *engagements
	heartbeats   *heartbeatTracker
	deletions    *deletions
	rollouts     *rollouts
	installCache *installCache
	tokens       *tokens
	revocations  *revocations
	expiries     *credentialExpiries

	transientErrors transientErrors
	// workspaceWatches are set by SetupWithManager.
	workspaceWatches workspacewatch.Watches
	// races slow down passes that lose one race after another for the same object.
	races workqueue.TypedRateLimiter[mcreconcile.Request]
	// stripWith is agent.Strip; a field so that unit tests need no server.
	stripWith func(ctx context.Context, c agent.Config, as *rest.Config, namespace string) error
	// ownUser is for workspaces where the syncer's token is no longer good.
	ownUser *controllerIdentity
}

// New returns a Reconciler.
func New(cfg Config) (*Reconciler, error) {
	if cfg.ExportName == "" || cfg.SyncerImage == "" || cfg.KcpURL == "" || cfg.Kcp == nil || cfg.Metrics == nil {
		return nil, errors.New("the export's name, the syncer's image, kcp's URL and config, and metrics are required")
	}
	if cfg.HeartbeatStatusInterval == 0 {
		cfg.HeartbeatStatusInterval = time.Minute
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	r := &Reconciler{
		Config: cfg, physical: connections{cfg.PClusters}, engagements: newEngagements(),
		heartbeats: newHeartbeatTracker(cfg.Clock, cfg.HeartbeatThreshold), deletions: newDeletions(cfg.Clock), installCache: newInstallCache(),
		tokens: newTokens(), revocations: newRevocations(), expiries: newCredentialExpiries(cfg.Clock),
		rollouts:  newRollouts(cfg.Clock, cfg.RolloutMaxUnavailable, cfg.HeartbeatThreshold),
		races:     workqueue.NewTypedItemExponentialFailureRateLimiter[mcreconcile.Request](conflictRetry, retryMax),
		stripWith: agent.Strip, ownUser: &controllerIdentity{config: cfg.Kcp, review: reviewOwnUser},
	}
	r.install, r.remove = r.phases(), r.steps()
	cfg.Metrics.watch(r.heartbeats)
	cfg.Metrics.registerer.MustRegister(newRolloutCollector(r.rollouts), r.expiries.metric())
	return r, nil
}

// phases is the pipeline of a SyncTarget that is not being deleted. What a phase returns beside its verdict is an input of the
// later ones.
func (r *Reconciler) phases() []phase {
	return []phase{
		{condition: workloadv1alpha1.ConditionValid, failed: validateFailed, run: func(ctx context.Context, s *scope, f *findings) (v verdict, err error) {
			f.facts, v, err = r.validate(ctx, s)
			return v, err
		}},
		{run: func(ctx context.Context, s *scope, f *findings) (v verdict, err error) {
			f.namespaces, err = r.reconcileNamespaces(ctx, s, f.facts)
			return v, err
		}},
		{condition: workloadv1alpha1.ConditionDeployed, failed: deployFailed, precondition: onlyIfValid, run: func(ctx context.Context, s *scope, f *findings) (verdict, error) {
			d, v, err := r.deploy(ctx, s, f.facts, f.namespaces)
			f.namespaces, f.clusterID, f.needsFinalizer, f.credentials = d.namespaces, d.clusterID, d.needsFinalizer, d.credentials
			return v, err
		}},
		{condition: workloadv1alpha1.ConditionReady, failed: healthFailed, precondition: unlessSpecIsWrong, run: func(ctx context.Context, s *scope, f *findings) (verdict, error) {
			f.clusterID = reportedClusterID(s, r.heartbeat(s), f.clusterID)
			return r.unlessHidden(ctx, s, f.facts, r.health(s))
		}},
	}
}

// steps is the deletion of a SyncTarget. Each step keeps the later ones from running until it is done, or abandoned.
func (r *Reconciler) steps() []step {
	return []step{
		{name: stepCopies, leftBehind: leftInNamespaces, run: func(ctx context.Context, s *scope, d deletion, removed *removal) (stepResult, error) {
			drained, result, err := r.drain(ctx, s, d)
			removed.namespaces, removed.withFinalizers = drained.namespaces, drained.withFinalizers
			return result, err
		}},
		{name: stepAgent, leftBehind: leftDownstream, run: func(ctx context.Context, s *scope, d deletion, removed *removal) (stepResult, error) {
			agent, result, err := r.removeAgent(ctx, s, d)
			removed.secretRead, removed.clusterID = agent.secretRead, agent.clusterID
			return result, err
		}},
		{name: "identity", leftBehind: leftUpstream, run: func(ctx context.Context, s *scope, _ deletion, _ *removal) (stepResult, error) {
			return r.removeIdentity(ctx, s)
		}},
		{name: "secret", leftBehind: leftSecretFinalizers, run: func(ctx context.Context, s *scope, _ deletion, _ *removal) (stepResult, error) {
			return r.releaseSecret(ctx, s)
		}},
	}
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
