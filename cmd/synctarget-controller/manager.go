package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	mcmanager "sigs.k8s.io/multicluster-runtime/pkg/manager"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	apisv1alpha1 "github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/kcpprovider"
	"github.com/synctarget/synctarget/pkg/liveness"
	"github.com/synctarget/synctarget/pkg/pcluster"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/placement"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/synctarget"
	"github.com/synctarget/synctarget/pkg/reconciler/workspacewatch"
)

// wokenBuffer is how many signs from physical clusters may wait for the queue.
const wokenBuffer = 1024

// firstContact is how long a worker waits for a physical cluster that it has never met; the answer wakes the target.
const firstContact = 300 * time.Millisecond

// newManager wires the controller: nothing is dialled here, so that kcp may come later.
func newManager(ctx context.Context, opts *options) (mcmanager.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	watches := liveness.NewWatches(clock.RealClock{})
	opts.kcp.Wrap(watches.Wrap)
	required, optional := watchedKinds()
	supervisor, err := kcpprovider.New(kcpprovider.Options{
		Config: opts.kcp, EndpointSlice: opts.endpointSlice, Kinds: required, Optional: optional, ByObject: synctarget.WatchedByObject(),
		Scheme: scheme, Mapper: newMapper(), Log: log.FromContext(ctx).WithName("kcpprovider"),
	})
	if err != nil {
		return nil, err
	}
	mgr, err := mcmanager.New(opts.kcp, supervisor, managerOptions(opts, scheme))
	if err != nil {
		return nil, fmt.Errorf("creating the manager: %w", err)
	}

	httpClient, err := rest.HTTPClientFor(opts.kcp)
	if err != nil {
		return nil, fmt.Errorf("creating the HTTP client for kcp: %w", err)
	}
	upstream := synctarget.NewUpstream(httpClient, scheme, newMapper())

	woken := make(chan pcluster.ID, wokenBuffer)
	pclusters := newPClusters(ctx, opts, scheme, woken)
	if err := mgr.GetLocalManager().Add(pclusters); err != nil {
		return nil, fmt.Errorf("adding the probers: %w", err)
	}

	config := reconcilerConfig(opts)
	config.Workspaces, config.PClusters, config.Upstream = mgr, pclusters, upstream
	config.Events = synctarget.NewEvents(ctx, scheme, mgr, upstream)
	config.EndpointOf = endpointOf(supervisor)
	config.Metrics = synctarget.NewMetrics(metrics.Registry, supervisor.Served)
	reconciler, err := synctarget.New(config)
	if err != nil {
		return nil, err
	}
	if err := reconciler.SetupWithManager(ctx, mgr, opts.workers, woken); err != nil {
		return nil, err
	}
	if err := addPlacements(mgr, opts, config, reconciler); err != nil {
		return nil, err
	}
	if err := addProbes(mgr, opts.healthAddress, watches.Check, reconciler.HealthDetails); err != nil {
		return nil, err
	}
	return mgr, nil
}

// watchedKinds are the kinds that are watched in each workspace, and those that the controller can do without.
func watchedKinds() (required, optional []client.Object) {
	return workspacewatch.Split(slices.Concat(synctarget.WatchedKinds(), placement.WatchedKinds())...)
}

// addPlacements adds the controller of Placements, with what it has in common with that of SyncTargets.
func addPlacements(mgr mcmanager.Manager, opts *options, shared synctarget.Config, silence placement.Silence) error {
	reconciler, err := placement.New(placement.Config{
		ExportName: shared.ExportName, DeleteDeadline: shared.DeleteDeadline,
		Workspaces: shared.Workspaces, Upstream: shared.Upstream, Silence: silence,
		Events: shared.Events, Metrics: placement.NewMetrics(metrics.Registry),
	})
	if err != nil {
		return err
	}
	return reconciler.SetupWithManager(mgr, opts.workers)
}

// reconcilerConfig is what the options say of the reconciler.
func reconcilerConfig(opts *options) synctarget.Config {
	return synctarget.Config{
		ExportName:              workloadv1alpha1.GroupName,
		Version:                 version,
		SyncerImage:             opts.syncerImage,
		KcpURL:                  opts.kcpURL,
		KcpCA:                   opts.kcpCA,
		Kcp:                     opts.kcp,
		Proxy:                   opts.proxy,
		HeartbeatInterval:       opts.heartbeatInterval,
		HeartbeatThreshold:      opts.threshold,
		HeartbeatStatusInterval: opts.statusInterval,
		TokenRotationInterval:   opts.tokenRotation,
		DeleteDeadline:          opts.deleteDeadline,
		MaxTargetsPerWorkspace:  opts.maxTargets,
		RolloutMaxUnavailable:   opts.rolloutMax,
	}
}

// endpointOf names the endpoint that serves a logical cluster, empty for none.
func endpointOf(supervisor *kcpprovider.Supervisor) func(multicluster.ClusterName) string {
	return func(clusterName multicluster.ClusterName) string {
		url, _ := supervisor.EndpointOf(clusterName)
		return url
	}
}

// managerOptions are those of the local manager.
func managerOptions(opts *options, scheme *runtime.Scheme) manager.Options {
	return manager.Options{
		Scheme:                        scheme,
		Metrics:                       metricsOptions(opts),
		HealthProbeBindAddress:        "0", // probes.go serves them, with details
		LeaderElection:                opts.leaderElect,
		LeaderElectionID:              leaseName(opts.endpointSlice),
		LeaderElectionNamespace:       opts.leaderElectNS,
		LeaderElectionConfig:          opts.hosting,
		LeaderElectionReleaseOnCancel: true,
		// The local manager's config leads to kcp, where this process needs no discovery of its own.
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return newMapper(), nil },
	}
}

// leaseName is the Lease by which the controllers of an APIExportEndpointSlice elect a leader. Those of another one elect their own.
func leaseName(endpointSlice string) string {
	const name = "synctarget-controller"
	if endpointSlice == workloadv1alpha1.GroupName { // the one that kcp makes for the APIExport
		return name
	}
	return name + "-" + endpointSlice
}

// newPClusters connects to physical clusters, and sends to woken which of them have changed.
func newPClusters(ctx context.Context, opts *options, scheme *runtime.Scheme, woken chan<- pcluster.ID) *pcluster.Clusters {
	hideHosts(opts.kcp, opts.hosting)
	return pcluster.New(pcluster.Options{
		Allow: opts.allow, Deny: opts.deny, DenyByDefault: opts.denyByDefault,
		Scheme: scheme, Patience: firstContact,
		OnChange: func(id pcluster.ID) {
			select {
			case woken <- id:
			case <-ctx.Done():
			}
		},
	})
}

func metricsOptions(opts *options) metricsserver.Options {
	out := metricsserver.Options{BindAddress: opts.metricsAddress, SecureServing: opts.metricsSecure, CertDir: opts.metricsCertDir}
	if opts.metricsSecure {
		// Tokens are reviewed by the hosting cluster, not by kcp.
		out.FilterProvider = func(*rest.Config, *http.Client) (metricsserver.Filter, error) {
			httpClient, err := rest.HTTPClientFor(opts.hosting)
			if err != nil {
				return nil, fmt.Errorf("creating the HTTP client for the hosting cluster: %w", err)
			}
			return filters.WithAuthenticationAndAuthorization(opts.hosting, httpClient)
		}
	}
	return out
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, workloadv1alpha1.AddToScheme, apisv1alpha1.AddToScheme, apisv1alpha2.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return scheme, nil
}

// newMapper knows the kinds that the controller speaks of in workspaces, so that no workspace costs a discovery.
func newMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"SyncTarget", "Placement"} {
		mapper.Add(workloadv1alpha1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	mapper.Add(workloadv1alpha1.SchemeGroupVersion.WithKind("Assignment"), meta.RESTScopeNamespace)
	mapper.Add(apisv1alpha2.SchemeGroupVersion.WithKind("APIBinding"), meta.RESTScopeRoot)
	mapper.Add(apisv1alpha1.SchemeGroupVersion.WithKind("APIExportEndpointSlice"), meta.RESTScopeRoot)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	for _, kind := range []string{"Secret", "ServiceAccount", "Event"} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	for _, kind := range []string{"ClusterRole", "ClusterRoleBinding"} {
		mapper.Add(rbacv1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeRoot)
	}
	mapper.Add(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), meta.RESTScopeNamespace)
	mapper.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), meta.RESTScopeNamespace)
	return mapper
}
