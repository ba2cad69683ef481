package syncer

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/synctarget/synctarget/pkg/syncer/downstream"
	"github.com/synctarget/synctarget/pkg/syncer/heartbeat"
	"github.com/synctarget/synctarget/pkg/syncer/options"
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
}

// Run runs the syncer until ctx ends: then it releases its Lease and returns nil. Losing the Lease is an error,
// upon which the process has to end.
func Run(ctx context.Context, o *options.Options, build Build) error {
	instance, err := os.Hostname() // in a pod, the pod's name
	if err != nil {
		return fmt.Errorf("finding out the name of this pod: %w", err)
	}
	upstreamConfig, err := upstream.Config(o.KcpKubeconfig)
	if err != nil {
		return err
	}
	downstreamConfig, err := downstream.Config(o.Kubeconfig)
	if err != nil {
		return err
	}
	userAgent := "synctarget-syncer/" + build.Version
	upstreamConfig.UserAgent, downstreamConfig.UserAgent = userAgent, userAgent

	mgr, err := newManager(downstreamConfig, o, holder(instance))
	if err != nil {
		return err
	}
	if err := addHeartbeat(mgr, upstreamConfig, o, instance, build); err != nil {
		return err
	}
	if err := addSync(mgr, upstreamConfig, o, build); err != nil {
		return err
	}
	log.FromContext(ctx).Info("starting", "version", build.Version, "syncTarget", o.SyncTargetName,
		"key", o.Key, "upstream", upstreamConfig.Host, "downstream", downstreamConfig.Host)
	return mgr.Start(ctx)
}

// holder names who holds the Lease. In a pod, whose UID the installer hands over, it is the pod: should its container end
// without a word, its next one goes on at once, where a stranger waits until the Lease expires. Elsewhere several may run
// under one name, and each is another.
func holder(instance string) string {
	return instance + "_" + cmp.Or(os.Getenv("POD_UID"), string(uuid.NewUUID()))
}

func addHeartbeat(mgr manager.Manager, upstreamConfig *rest.Config, o *options.Options, instance string, build Build) error {
	target, err := upstream.NewSyncTarget(upstreamConfig, o.SyncTargetName)
	if err != nil {
		return err
	}
	cluster, err := downstream.NewCluster(mgr.GetConfig(), mgr.GetCache())
	if err != nil {
		return err
	}
	metrics, err := heartbeat.NewMetrics(build.Registerer)
	if err != nil {
		return err
	}
	heart := heartbeat.New(heartbeat.Config{
		Upstream:   target,
		Downstream: cluster,
		Elected:    mgr.Elected(),
		UID:        types.UID(o.SyncTargetUID),
		Interval:   o.HeartbeatInterval,
		Version:    build.Version,
		Instance:   instance,
		Metrics:    metrics,
		Clock:      build.Clock,
	})
	if err := mgr.Add(heart); err != nil {
		return fmt.Errorf("adding the heartbeat: %w", err)
	}
	// A failed check shows in the body of /readyz by its name alone.
	for name, check := range map[string]healthz.Checker{
		"physical-cluster-answers": heart.OwnClusterAnswers,
		"kcp-accepts-heartbeats":   heart.HeartbeatsAreAccepted,
	} {
		if err := mgr.AddReadyzCheck(name, check); err != nil {
			return fmt.Errorf("adding readiness check %q: %w", name, err)
		}
	}
	return nil
}

// addSync adds what carries workloads down and status up.
func addSync(mgr manager.Manager, upstreamConfig *rest.Config, o *options.Options, build Build) error {
	target, err := upstream.NewSyncTarget(upstreamConfig, o.SyncTargetName)
	if err != nil {
		return err
	}
	metrics, err := sync.NewMetrics(build.Registerer)
	if err != nil {
		return err
	}
	owner := transform.Owner{Key: o.Key, UID: o.SyncTargetUID, Name: o.SyncTargetName, Workspace: path.Base(upstreamConfig.Host)}
	from, err := workspace.NewForConfig(withLimits(upstreamConfig, o), target, owner, clock.RealClock{})
	if err != nil {
		return fmt.Errorf("preparing the connection to the workspace: %w", err)
	}
	controller, err := sync.New(sync.Config{Source: from, Cluster: withLimits(mgr.GetConfig(), o), Owner: owner, Metrics: metrics})
	if err != nil {
		return err
	}
	if err := mgr.Add(controller); err != nil {
		return fmt.Errorf("adding the sync: %w", err)
	}
	return nil
}

// withLimits returns a copy of config with the limit of requests that the sync may send to one side.
func withLimits(config *rest.Config, o *options.Options) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = o.QPS, o.EffectiveBurst()
	return config
}
