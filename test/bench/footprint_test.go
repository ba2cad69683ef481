//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/test/framework"
)

// settling is what a process gets to become quiet.
const settling = 20 * time.Second

// TestFootprint registers many targets in many workspaces and measures what they cost the controller once all is done.
// Their syncers have no pods, which one node could not bear: this test sends the heartbeats, as often as they would.
func TestFootprint(t *testing.T) {
	workspaces, count := size(t, "BENCH_WORKSPACES", 50), size(t, "BENCH_TARGETS", 100)
	rest := time.Duration(size(t, "BENCH_REST", 60)) * time.Second
	// A fresh process, so that the memory of earlier tests is not in it.
	require.NoError(t, env.Stop(service.Name))
	_, err := env.Start(t.Context(), controller)
	require.NoError(t, err)
	sleep(t, settling)

	out := newTable("Footprint: %d SyncTargets in %d workspaces, all Deployed and Ready, heartbeats every %s", count, workspaces, options.DefaultHeartbeatInterval)
	out.row("controller's memory (RSS), no workspace", mebibytes(memory(t)))
	var tenants []*tenant
	for range workspaces {
		n := newTenant(t)
		require.NoError(t, n.Create(t.Context(), kubeconfigSecret("cluster-1", clusterKubeconfig(t))))
		tenants = append(tenants, n)
	}
	t.Cleanup(func() { clearAll(tenants) }) // not one after the other
	sleep(t, settling)
	out.row(fmt.Sprintf("controller's memory (RSS), %d empty workspaces", workspaces), mebibytes(memory(t)))

	f := newFleet(t, tenants, count)
	took := f.register(t)
	sleep(t, settling)
	m := f.measure(t, rest)

	out.row(fmt.Sprintf("controller's memory (RSS), %d targets Ready", count), mebibytes(m.memory))
	out.row("from creating the targets, all at once, until the last is Deployed", took)
	out.row(fmt.Sprintf("in %s at rest:", rest), "")
	out.row("  heartbeats received", m.heartbeats)
	out.row("  controller's reconciles", m.reconciles)
	out.row("  controller's writes to kcp and to the cluster (audit logs)", fmt.Sprintf("%d and %d", len(m.upstream), len(m.downstream)))
	out.row("  controller's requests to kcp and to the cluster, reads included", fmt.Sprintf("%d and %d", m.toKcp, m.toCluster))
	out.row("  controller's CPU time", fmt.Sprintf("%s (%.1f %% of a core)", seconds(m.cpu), 100*m.cpu.Seconds()/rest.Seconds()))
	out.print()
	assert.Empty(t, m.upstream, "the controller's writes to kcp")
	assert.Empty(t, m.downstream, "the controller's writes to the cluster")
	assert.Zero(t, f.failed.Load(), "heartbeats that kcp refused")
}

func mebibytes(n float64) string { return fmt.Sprintf("%.0f MiB", n) }

// member is one target of the fleet.
type member struct {
	*tenant
	name    string
	targets *record
}

// fleet is many targets, and the heartbeats of their syncers.
type fleet struct {
	members      []member
	sent, failed atomic.Int64
}

// newFleet spreads targets over tenants.
func newFleet(t *testing.T, tenants []*tenant, count int) *fleet {
	f := &fleet{}
	records := map[*tenant]*record{}
	for i := range count {
		n := tenants[i%len(tenants)]
		if records[n] == nil {
			records[n] = follow(t, n, &workloadv1alpha1.SyncTargetList{}, targetFacts)
		}
		f.members = append(f.members, member{tenant: n, name: numbered("target", i), targets: records[n]})
	}
	return f
}

// register creates all targets and returns when all are Deployed and Ready, with the time that the deployment took.
func (f *fleet) register(t *testing.T) time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var beating errgroup.Group
	// Before the targets are deleted: no cleanup that was registered earlier has run yet.
	t.Cleanup(func() { cancel(); _ = beating.Wait() })

	start := time.Now()
	var all errgroup.Group
	all.SetLimit(20)
	for _, m := range f.members {
		all.Go(func() error {
			target := syncTarget(m.name, "cluster-1")
			target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: ptr.To[int32](0)}
			if err := m.Create(ctx, target); err != nil {
				return err
			}
			beating.Go(func() error { f.beat(ctx, m); return nil })
			return nil
		})
	}
	require.NoError(t, all.Wait())
	var last time.Time
	for _, m := range f.members {
		at := m.targets.await(has(m.name, workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ReasonDeployed))
		if at.After(last) {
			last = at
		}
		m.targets.await(has(m.name, workloadv1alpha1.ConditionReady, workloadv1alpha1.ReasonReady))
	}
	return last.Sub(start)
}

// beat sends heartbeats, at first soon and then as often as a syncer does.
func (f *fleet) beat(ctx context.Context, m member) {
	const interval = options.DefaultHeartbeatInterval
	next := time.Duration(rand.Int64N(int64(interval)))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
		next = time.Duration((0.9 + 0.2*rand.Float64()) * float64(interval))
		patch := fmt.Sprintf(`{"status":{"lastHeartbeatTime":%q}}`, time.Now().UTC().Format(time.RFC3339))
		target := &workloadv1alpha1.SyncTarget{}
		target.Name = m.name
		err := m.Status().Patch(ctx, target, client.RawPatch("application/merge-patch+json", []byte(patch)))
		switch {
		case err == nil:
			f.sent.Add(1)
		case !errors.Is(err, context.Canceled):
			f.failed.Add(1)
		}
	}
}

// figures are what the fleet costs in a time at rest.
type figures struct {
	memory               float64
	cpu                  time.Duration
	heartbeats           int64
	reconciles           int
	toKcp, toCluster     int
	upstream, downstream []framework.Write
}

func (f *fleet) measure(t *testing.T, rest time.Duration) figures {
	t.Helper()
	start, before, cpu, sent := time.Now(), readCounters(t), cpuTime(t), f.sent.Load()
	sleep(t, rest)
	out := figures{cpu: cpuTime(t) - cpu, memory: memory(t), heartbeats: f.sent.Load() - sent}
	after := readCounters(t)
	delta := func(metric string, labels ...string) int {
		return int(after.sum(metric, labels...) - before.sum(metric, labels...))
	}
	out.reconciles = delta("controller_runtime_reconcile_total")
	out.toKcp = delta("rest_client_requests_total", host(t, env.KCPKubeconfig()))
	out.toCluster = delta("rest_client_requests_total", host(t, env.ClusterKubeconfig("cluster-1")))
	out.upstream, out.downstream = f.writes(t, start)
	return out
}

// writes are those of our controller alone: others of its kind, of other tests, have the same user and user agent.
func (f *fleet) writes(t *testing.T, since time.Time) (upstream, downstream []framework.Write) {
	t.Helper()
	clusters, namespaces := map[string]bool{}, map[string]bool{}
	for _, m := range f.members {
		clusters[m.clusterName] = true
		namespaces[workloadv1alpha1.SyncerNamespace(m.name, workloadv1alpha1.Key(m.clusterName, m.name))] = true
	}
	upstream, err := env.Writes("kcp", since)
	require.NoError(t, err)
	upstream = slices.DeleteFunc(upstream, func(w framework.Write) bool {
		return !clusters[w.Cluster] || !strings.HasSuffix(w.User, ":synctarget-system:synctarget-controller")
	})
	downstream, err = env.Writes("cluster-1", since)
	require.NoError(t, err)
	downstream = slices.DeleteFunc(downstream, func(w framework.Write) bool {
		return !namespaces[w.Namespace] && !namespaces[w.Name] || !strings.HasPrefix(w.UserAgent, "synctarget-controller")
	})
	return upstream, downstream
}

// host is the label of a server in the metrics of client-go.
func host(t *testing.T, kubeconfig string) string {
	t.Helper()
	data, err := os.ReadFile(kubeconfig)
	require.NoError(t, err)
	var config *rest.Config
	config, err = clientcmd.RESTConfigFromKubeConfig(data)
	require.NoError(t, err)
	server, err := url.Parse(config.Host)
	require.NoError(t, err)
	return fmt.Sprintf("host=%q", server.Host)
}

func sleep(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		require.NoError(t, t.Context().Err())
	}
}
