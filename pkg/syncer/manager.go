package syncer

import (
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/synctarget/synctarget/pkg/syncer/downstream"
	"github.com/synctarget/synctarget/pkg/syncer/metricsauth"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

const (
	// The durations that client-go and controller-runtime use: another replica takes over within 2 s of a release,
	// and within 17 s of a crash.
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second

	// gracePeriod is how long what runs may take to stop. Nothing does: a request in flight is given up.
	gracePeriod = 2 * time.Second
)

// newManager returns a manager that serves the probes and the metrics, and runs what is added to it. It elects a leader by
// the lock, if there is one. Without a lock, it sends no requests of its own.
func newManager(downstreamConfig *rest.Config, o *options.Options, lock resourcelock.Interface) (manager.Manager, error) {
	scheme, err := downstream.Scheme()
	if err != nil {
		return nil, err
	}
	mgr, err := manager.New(downstreamConfig, manager.Options{
		Scheme:                 scheme,
		MapperProvider:         func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return downstream.Mapper(), nil },
		Cache:                  downstream.CacheOptions(),
		Metrics:                metricsOptions(downstreamConfig, o),
		HealthProbeBindAddress: o.HealthProbeBindAddress,

		LeaderElection:                      lock != nil,
		LeaderElectionID:                    options.LeaseName,
		LeaderElectionNamespace:             o.Namespace,
		LeaderElectionResourceLockInterface: lock,
		LeaderElectionReleaseOnCancel:       true,
		LeaseDuration:                       new(leaseDuration),
		RenewDeadline:                       new(renewDeadline),
		RetryPeriod:                         new(retryPeriod),
		GracefulShutdownTimeout:             new(gracePeriod),
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("adding the liveness check: %w", err)
	}
	return mgr, nil
}

// metricsOptions say who may read the metrics: those whom the physical cluster allows it.
func metricsOptions(downstreamConfig *rest.Config, o *options.Options) metricsserver.Options {
	out := metricsserver.Options{BindAddress: o.MetricsBindAddress, SecureServing: o.MetricsSecure}
	if o.MetricsSecure {
		out.FilterProvider = func(*rest.Config, *http.Client) (metricsserver.Filter, error) {
			return metricsauth.New(downstreamConfig)
		}
	}
	return out
}

// newLock is the Lease, without the recorder that controller-runtime would give it: the syncer may not create
// events.
func newLock(downstreamConfig *rest.Config, namespace, holder string) (resourcelock.Interface, error) {
	config := rest.CopyConfig(downstreamConfig)
	config.Timeout = renewDeadline / 2 // one lost request must not lose the Lease
	leases, err := coordinationv1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("preparing the leader election: %w", err)
	}
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: options.LeaseName},
		Client:     leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: holder},
	}, nil
}
