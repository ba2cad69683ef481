package syncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/liveness"
	"github.com/synctarget/synctarget/pkg/syncer/downstream"
	"github.com/synctarget/synctarget/pkg/syncer/heartbeat"
	"github.com/synctarget/synctarget/pkg/syncer/installation"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/pkg/syncer/orphan"
	"github.com/synctarget/synctarget/pkg/syncer/source/workspace"
	"github.com/synctarget/synctarget/pkg/syncer/sync"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
	"github.com/synctarget/synctarget/pkg/syncer/upstream"
)

// Build is what a program knows of itself.
type Build struct {
	// Version is reported in status.syncer.version.
	Version string
	// Registerer takes the metrics; what is served at /metrics is controller-runtime's registry.
	Registerer prometheus.Registerer
	// Clock defaults to the real one.
	Clock clock.Clock
	// OrphanThreshold defaults to orphan.DefaultThreshold.
	OrphanThreshold time.Duration
}

func (b Build) clock() clock.PassiveClock {
	if b.Clock == nil {
		return clock.RealClock{}
	}
	return b.Clock
}

// syncer is what stays the same while the process runs.
type syncer struct {
	*options.Options
	build Build
	// instance is the name of this pod, and holder that of this process in the Lease.
	instance, holder string
	// upstream and downstream lead to the two sides.
	upstream, downstream *rest.Config
	// tokenSecret names the Secret of the token that requests to upstream carry.
	tokenSecret func() string
	watches     *liveness.Watches
	metrics     metrics
}

// metrics are registered once, however often the syncer is started again.
type metrics struct {
	heartbeat *heartbeat.Metrics
	sync      *sync.Metrics
	orphan    *orphan.Metrics
}

// Run runs the syncer until ctx ends: then it releases its Lease and returns nil. Losing the Lease is an error,
// upon which the process has to end.
//
// While the syncer is orphaned, it only waits for its SyncTarget. A new process does not know that it is orphaned: it
// starts normally and finds out within the threshold. So a restart of the Pod tries everything at once, and the start of a
// healthy syncer does not depend on an answer of kcp.
func Run(ctx context.Context, o *options.Options, build Build) error {
	s, err := newSyncer(o, build)
	if err != nil {
		return err
	}
	log.FromContext(ctx).Info("starting", "version", build.Version, "syncTarget", o.SyncTargetName,
		"key", o.Key, "upstream", s.upstream.Host, "downstream", s.downstream.Host)
	for {
		err := s.serve(ctx)
		var orphaned *orphan.Error
		if !errors.As(err, &orphaned) {
			return err
		}
		if err := s.awaitSyncTarget(ctx, orphaned); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

func newSyncer(o *options.Options, build Build) (*syncer, error) {
	instance, err := os.Hostname() // in a pod, the pod's name
	if err != nil {
		return nil, fmt.Errorf("finding out the name of this pod: %w", err)
	}
	s := &syncer{Options: o, build: build, instance: instance, holder: holder(instance)}
	if s.upstream, s.tokenSecret, err = upstream.Config(o.KcpKubeconfig); err != nil {
		return nil, err
	}
	if s.downstream, err = downstream.Config(o.Kubeconfig); err != nil {
		return nil, err
	}
	userAgent := "synctarget-syncer/" + build.Version
	s.upstream.UserAgent, s.downstream.UserAgent = userAgent, userAgent
	s.watches = liveness.NewWatches(build.clock())
	s.upstream.Wrap(s.watches.Wrap)
	s.downstream.Wrap(s.watches.Wrap)
	s.metrics, err = newMetrics(build.Registerer)
	return s, err
}

func newMetrics(registerer prometheus.Registerer) (m metrics, err error) {
	if m.heartbeat, err = heartbeat.NewMetrics(registerer); err != nil {
		return m, err
	}
	if m.sync, err = sync.NewMetrics(registerer); err != nil {
		return m, err
	}
	m.orphan, err = orphan.NewMetrics(registerer)
	return m, err
}

// serve sends heartbeats and syncs until ctx ends, and returns nil then. When it returns, it sends no more requests, and has
// released the Lease. It returns an *orphan.Error when the syncer is orphaned.
func (s *syncer) serve(ctx context.Context) error {
	lock, err := newLock(s.downstream, s.Namespace, s.holder)
	if err != nil {
		return err
	}
	mgr, err := newManager(s.downstream, s.Options, lock)
	if err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("watches", s.watches.Check); err != nil {
		return fmt.Errorf("adding the liveness check of the watches: %w", err)
	}
	if err := s.addHeartbeat(mgr); err != nil {
		return err
	}
	if err := s.addSync(mgr); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// holder names who holds the Lease. In a pod, whose UID the installer hands over, it is the pod: should its container end
// without a word, its next one goes on at once, where a stranger waits until the Lease expires. Elsewhere several may run
// under one name, and each is another.
func holder(instance string) string {
	return instance + "_" + cmp.Or(os.Getenv("POD_UID"), string(uuid.NewUUID()))
}

func (s *syncer) addHeartbeat(mgr manager.Manager) error {
	target, err := upstream.NewSyncTarget(s.upstream, s.SyncTargetName)
	if err != nil {
		return err
	}
	lease, err := upstream.NewLease(s.upstream, workloadv1alpha1.SyncerNamespace(s.SyncTargetName, s.Key), workloadv1alpha1.HeartbeatLeaseName)
	if err != nil {
		return err
	}
	cluster, err := downstream.NewCluster(mgr.GetConfig(), mgr.GetCache())
	if err != nil {
		return err
	}
	sender := heartbeat.New(heartbeat.Config{
		Upstream:        target,
		Lease:           lease,
		Downstream:      cluster,
		Elected:         mgr.Elected(),
		Name:            s.SyncTargetName,
		UID:             types.UID(s.SyncTargetUID),
		Interval:        s.HeartbeatInterval,
		OrphanThreshold: s.build.OrphanThreshold,
		Version:         s.build.Version,
		Instance:        s.instance,
		TokenSecret:     s.tokenSecret,
		Metrics:         s.metrics.heartbeat,
		Clock:           s.build.Clock,
	})
	if err := mgr.Add(sender); err != nil {
		return fmt.Errorf("adding the heartbeat: %w", err)
	}
	// A failed check shows in the body of /readyz by its name alone.
	for name, check := range map[string]healthz.Checker{
		"physical-cluster-answers": sender.OwnClusterAnswers,
		"kcp-accepts-heartbeats":   sender.HeartbeatsAreAccepted,
	} {
		if err := mgr.AddReadyzCheck(name, check); err != nil {
			return fmt.Errorf("adding readiness check %q: %w", name, err)
		}
	}
	return nil
}

// addSync adds what carries workloads down and status up.
func (s *syncer) addSync(mgr manager.Manager) error {
	target, err := upstream.NewSyncTarget(s.upstream, s.SyncTargetName)
	if err != nil {
		return err
	}
	owner := transform.Owner{Key: s.Key, UID: s.SyncTargetUID, Name: s.SyncTargetName, Workspace: path.Base(s.upstream.Host)}
	from, err := workspace.NewForConfig(withLimits(s.upstream, s.Options), target, owner, clock.RealClock{})
	if err != nil {
		return fmt.Errorf("preparing the connection to the workspace: %w", err)
	}
	reporter, err := s.newInstallationReporter(mgr.GetConfig(), target)
	if err != nil {
		return err
	}
	if err := mgr.Add(reporter); err != nil {
		return fmt.Errorf("adding the reports on the installation: %w", err)
	}
	controller, err := sync.New(sync.Config{Source: reporter.Follow(from), Cluster: withLimits(mgr.GetConfig(), s.Options), Owner: owner, Metrics: s.metrics.sync})
	if err != nil {
		return err
	}
	if err := mgr.Add(controller); err != nil {
		return fmt.Errorf("adding the sync: %w", err)
	}
	return nil
}

// newInstallationReporter returns what reports changes of the syncer's own installation. Its few watches have no limit.
func (s *syncer) newInstallationReporter(downstream *rest.Config, target *upstream.SyncTarget) (*installation.Reporter, error) {
	downstream = rest.CopyConfig(downstream)
	downstream.QPS = -1
	cluster, err := metadata.NewForConfig(downstream)
	if err != nil {
		return nil, fmt.Errorf("preparing the watches of the installation: %w", err)
	}
	return installation.New(installation.Config{
		Cluster: cluster, Upstream: target, UID: types.UID(s.SyncTargetUID), Key: s.Key, Namespace: s.Namespace, Clock: s.build.Clock,
	}), nil
}

// withLimits returns a copy of config with the limit of requests that the sync may send to one side.
func withLimits(config *rest.Config, o *options.Options) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = o.QPS, o.EffectiveBurst()
	return config
}
