package placement

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	"github.com/synctarget/synctarget/pkg/reconciler/workspacewatch"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

const (
	// retryBase and retryMax bound the backoff of a pass that failed.
	retryBase = 500 * time.Millisecond
	retryMax  = time.Minute
	// conflictRetry is the first pause after a write that lost a race.
	conflictRetry = 100 * time.Millisecond
	// passTimeout bounds a pass.
	passTimeout = 2 * time.Minute
	// parallelWrites is how many writes of a pass are made at the same time.
	parallelWrites = 48
	// reportInterval is the least time between two reports on a workspace, which are statuses and annotations, so that the arrival
	// of many Namespaces costs a few writes of each status and not one for each Namespace.
	reportInterval = time.Second
	// pausedRecheck is when to look again whether evictions are still paused.
	pausedRecheck = 15 * time.Second
	// hiddenRecheck is how long a Namespace that cannot be seen counts as hidden before it is read live again.
	hiddenRecheck = time.Minute
)

// Workspaces finds the logical clusters that the service serves; the multicluster manager is one.
type Workspaces interface {
	GetCluster(ctx context.Context, clusterName multicluster.ClusterName) (cluster.Cluster, error)
}

// Silence knows the heartbeats of the SyncTargets.
type Silence interface {
	// EvictionPaused tells whether the silence of a SyncTarget is no reason to move anything away from it now.
	EvictionPaused(clusterName multicluster.ClusterName, target types.UID) bool
}

// EventRecorder sends Events to the workspace of the object that they are about.
type EventRecorder interface {
	Event(clusterName multicluster.ClusterName, object client.Object, eventType, reason, message string)
}

// Config is what a Reconciler is made from.
type Config struct {
	// ExportName is the APIExport that serves Placements.
	ExportName string
	// DeleteDeadline is how long the deletion of a SyncTarget may take. For half of it Namespaces are moved away.
	DeleteDeadline time.Duration

	Workspaces Workspaces
	// Upstream makes an uncached client of the logical cluster that a config leads to. It must be cheap.
	Upstream func(*rest.Config) (client.Client, error)
	Silence  Silence
	// Plan decides what is to be written; nil for scheduler.Plan.
	Plan    func(scheduler.Workspace) scheduler.Changes
	Events  EventRecorder
	Metrics *Metrics
	Clock   clock.PassiveClock
}

// Reconciler keeps the Placements and Assignments of each workspace as they should be.
type Reconciler struct {
	Config

	// watches are set by SetupWithManager.
	watches    workspacewatch.Watches
	workspaces *workspaces
	// races slow down passes that lose one race after another.
	races workqueue.TypedRateLimiter[mcreconcile.Request]
}

// New returns a Reconciler.
func New(cfg Config) (*Reconciler, error) {
	if cfg.ExportName == "" || cfg.DeleteDeadline <= 0 || cfg.Workspaces == nil || cfg.Upstream == nil || cfg.Silence == nil || cfg.Events == nil || cfg.Metrics == nil {
		return nil, errors.New("the export's name, the deadline of deletions, workspaces, their clients, heartbeats, Events and metrics are required")
	}
	if cfg.Plan == nil {
		cfg.Plan = scheduler.Plan
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	r := &Reconciler{
		Config: cfg, workspaces: newWorkspaces(),
		races: workqueue.NewTypedItemExponentialFailureRateLimiter[mcreconcile.Request](conflictRetry, retryMax),
	}
	cfg.Metrics.watch(r.workspaces, cfg.Clock)
	return r, nil
}
