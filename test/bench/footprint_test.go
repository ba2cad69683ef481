//go:build bench

package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/test/framework"
)

const (
	// settling is what a process gets to become quiet.
	settling = 20 * time.Second
	// heartbeatStatusInterval is the default of --heartbeat-status-interval.
	heartbeatStatusInterval = time.Minute
)

// TestFootprint registers many targets in many workspaces and measures what they cost the controller once all is done.
// The Pods of their syncers are on a simulated Node, since one machine could not run them all: this test renews the Leases as
// often as they would, and reports the installation as they would.
func TestFootprint(t *testing.T) {
	workspaces, count := size(t, "BENCH_WORKSPACES", 50), size(t, "BENCH_TARGETS", 100)
	rest := time.Duration(size(t, "BENCH_REST", 900)) * time.Second
	// A fresh process, so that the memory of earlier tests is not in it.
	require.NoError(t, env.Stop(service.Name))
	_, err := env.Start(t.Context(), controller)
	require.NoError(t, err)
	sleep(t, settling)

	out := newTable("Footprint: %d SyncTargets in %d workspaces, all Deployed and Ready, heartbeats every %s", count, workspaces, options.DefaultHeartbeatInterval)
	out.row("controller's memory (RSS), no workspace", mebibytes(memory(t)))
	simulateNode(t)
	var tenants []*tenant
	kubeconfig, downstreamUser := serviceAccountKubeconfig(t)
	for range workspaces {
		n := newTenant(t)
		require.NoError(t, n.Create(t.Context(), kubeconfigSecret("cluster-1", kubeconfig)))
		tenants = append(tenants, n)
	}
	t.Cleanup(func() { clearAll(tenants) }) // not one after the other
	sleep(t, settling)
	out.row(fmt.Sprintf("controller's memory (RSS), %d empty workspaces", workspaces), mebibytes(memory(t)))

	f := newFleet(t, tenants, count)
	took := f.register(t)
	sleep(t, settling)
	m := f.measure(t, rest, downstreamUser)

	out.row(fmt.Sprintf("controller's memory (RSS), %d targets Ready", count), mebibytes(m.memory))
	out.row("from creating the targets, all at once, until the last is Deployed", took)
	out.row(fmt.Sprintf("in %s at rest:", rest), "")
	out.row("  heartbeats received", m.heartbeats)
	out.row("  controller's reconciles", m.reconciles)
	out.row("  controller's requests, by the audit logs of kcp and of the cluster", fmt.Sprintf("%d and %d", len(m.toKcp), len(m.toCluster)))
	for _, side := range []struct {
		name     string
		requests []framework.Request
	}{{"kcp", m.toKcp}, {"the cluster", m.toCluster}} {
		for _, count := range countRequests(side.requests) {
			out.row("    to "+side.name, count)
		}
	}
	out.row("  controller's CPU time", fmt.Sprintf("%s (%.1f %% of a core)", seconds(m.cpu), 100*m.cpu.Seconds()/rest.Seconds()))
	out.print()
	requireHeartbeatTimesAlone(t, m.toKcp, rest)
	assert.False(t, slices.ContainsFunc(m.toCluster, framework.Request.IsWrite), "the controller's writes to the cluster")
	assert.Zero(t, f.failed.Load(), "heartbeats that kcp refused")
}

// requireHeartbeatTimesAlone requires that the controller has written nothing but the time of the last heartbeat of each SyncTarget, as
// often as --heartbeat-status-interval says.
func requireHeartbeatTimesAlone(t *testing.T, toKcp []framework.Request, rest time.Duration) {
	t.Helper()
	writes := map[string]int{}
	for _, r := range toKcp {
		if r.IsWrite() {
			writes[r.Verb+" "+r.Resource+" "+r.Cluster+"/"+r.Name]++
		}
	}
	for what, count := range writes {
		assert.Contains(t, what, " synctargets.workload.kcp.io/status ", "the controller's writes to kcp")
		assert.LessOrEqual(t, count, int(rest/heartbeatStatusInterval)+1, what)
	}
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
	members []member
	// clusterID is that of the physical cluster.
	clusterID    string
	sent, failed atomic.Int64
}

// newFleet spreads targets over tenants.
func newFleet(t *testing.T, tenants []*tenant, count int) *fleet {
	t.Helper()
	kubeSystem := &corev1.Namespace{}
	require.NoError(t, downstream(t).Get(t.Context(), client.ObjectKey{Name: metav1.NamespaceSystem}, kubeSystem))
	f := &fleet{clusterID: string(kubeSystem.UID)}
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
			target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{NodeSelector: onSimulatedNode}
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

// beat renews the Lease of a SyncTarget, at first soon and then as often as a syncer does, and reports the installation once.
// The controller makes the Lease.
func (f *fleet) beat(ctx context.Context, m member) {
	const interval = options.DefaultHeartbeatInterval
	reported := false
	next := time.Duration(rand.Int64N(int64(interval)))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
		next = time.Duration((0.9 + 0.2*rand.Float64()) * float64(interval))
		err := f.renewLease(ctx, m)
		if err == nil && !reported {
			err = reportInstallation(ctx, m)
			reported = err == nil
		}
		switch {
		case err == nil:
			f.sent.Add(1)
		case apierrors.IsNotFound(err) || apierrors.IsForbidden(err): // it is not there yet, nor its Namespace
			next = time.Second
		case !errors.Is(err, context.Canceled):
			f.failed.Add(1)
		}
	}
}

func (f *fleet) renewLease(ctx context.Context, m member) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}},"spec":{"holderIdentity":"bench","leaseDurationSeconds":%d,"renewTime":%q}}`,
		workloadv1alpha1.AnnotationClusterID, f.clusterID, 3*int(options.DefaultHeartbeatInterval.Seconds()), time.Now().UTC().Format(metav1.RFC3339Micro))
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: workloadv1alpha1.SyncerNamespace(m.name, workloadv1alpha1.Key(m.clusterName, m.name)), Name: workloadv1alpha1.HeartbeatLeaseName,
	}}
	return m.Patch(ctx, lease, client.RawPatch(types.MergePatchType, patch))
}

// reportInstallation says that the syncer watches what is installed for it. Nothing of that changes here.
func reportInstallation(ctx context.Context, m member) error {
	target := &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: m.name}}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"status":{"installationHash":"bench"}}`))
	return m.Status().Patch(ctx, target, patch)
}

// figures are what the fleet costs in a time at rest.
type figures struct {
	memory     float64
	cpu        time.Duration
	heartbeats int64
	reconciles int
	// toKcp and toCluster are the controller's requests.
	toKcp, toCluster []framework.Request
}

// measure waits for a time at rest. The controller is this user in the cluster.
func (f *fleet) measure(t *testing.T, rest time.Duration, downstreamUser string) figures {
	t.Helper()
	start, before, cpu, sent := time.Now(), readCounters(t), cpuTime(t), f.sent.Load()
	sleep(t, rest)
	out := figures{cpu: cpuTime(t) - cpu, memory: memory(t), heartbeats: f.sent.Load() - sent}
	const reconciles = "controller_runtime_reconcile_total"
	out.reconciles = int(readCounters(t).sum(reconciles) - before.sum(reconciles))
	var err error
	out.toKcp, err = env.RequestsBy("kcp", "system:serviceaccount:synctarget-system:synctarget-controller", start)
	require.NoError(t, err)
	out.toCluster, err = env.RequestsBy("cluster-1", downstreamUser, start)
	require.NoError(t, err)
	return out
}

// countRequests says how many requests there are of each kind, the most frequent first.
func countRequests(requests []framework.Request) []string {
	counts := map[string]int{}
	for _, r := range requests {
		counts[r.Verb+" "+r.Resource]++
	}
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) })
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", counts[kind], kind)
	}
	return kinds
}

// serviceAccountKubeconfig gives the controller a user of its own in cluster-1, whose reads are in the audit log too.
func serviceAccountKubeconfig(t *testing.T) (kubeconfig []byte, user string) {
	t.Helper()
	const name = "bench-controller"
	c, ctx := downstream(t), t.Context()
	meta := metav1.ObjectMeta{Name: name}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: name}}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: meta}, account,
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: name, Name: name}},
		},
	} {
		require.NoError(t, client.IgnoreAlreadyExists(c.Create(ctx, object)))
	}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64((4 * time.Hour).Seconds()))}}
	require.NoError(t, c.SubResource("token").Create(ctx, account, token))
	config, err := clientcmd.Load(clusterKubeconfig(t))
	require.NoError(t, err)
	config.AuthInfos = map[string]*clientcmdapi.AuthInfo{config.Contexts[config.CurrentContext].AuthInfo: {Token: token.Status.Token}}
	kubeconfig, err = clientcmd.Write(*config)
	require.NoError(t, err)
	return kubeconfig, "system:serviceaccount:" + name + ":" + name
}

func sleep(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		require.NoError(t, t.Context().Err())
	}
}
