//go:build bench

package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"k8s.io/client-go/tools/clientcmd"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// blackHoleLimit is how many times longer healthy targets may take beside black-holed ones.
const blackHoleLimit = 2.0

// TestBlackHoles registers healthy targets in one workspace while another has registered clusters that swallow every
// packet: first none, then many that are known to be dead, then many that nobody has met yet. A burst of registrations
// takes its time whatever their clusters do, so the last is compared with as many clusters that refuse at once.
func TestBlackHoles(t *testing.T) {
	healthy, holes := size(t, "BENCH_HEALTHY", 3), size(t, "BENCH_BLACKHOLES", 30)
	good, bad := newTenant(t), newTenant(t)
	require.NoError(t, good.Create(t.Context(), kubeconfigSecret("cluster-1", clusterKubeconfig(t))))
	require.NoError(t, bad.Create(t.Context(), kubeconfigSecret("black-hole", kubeconfigAt(t, env.BlackHole()+":6443"))))
	// Nothing listens on the port that TCP knows as tcpmux.
	require.NoError(t, bad.Create(t.Context(), kubeconfigSecret("refusing", kubeconfigAt(t, env.HostAddress()+":1"))))
	goodTargets := follow(t, good, &workloadv1alpha1.SyncTargetList{}, targetFacts)
	badTargets := follow(t, bad, &workloadv1alpha1.SyncTargetList{}, targetFacts)
	good.readyTogether("warm-up", 1, goodTargets) // not counted

	out := newTable("Time to Ready of %d targets created at once, beside %d whose clusters are black holes", healthy, holes)
	out.row("beside", "each, until Ready=True", "median", "ratio")
	defer out.print()
	alone := good.readyTogether("alone", healthy, goodTargets)
	out.row("none", list(alone), median(alone), "")

	start := time.Now()
	bad.createTogether("dead", holes, "black-hole")
	met := bad.awaitUnreachable("dead", holes, badTargets).Sub(start)
	known := good.readyTogether("known", healthy, goodTargets)
	out.row(fmt.Sprintf("%d black holes, known to be dead (after %s)", holes, seconds(met)), list(known), median(known), ratio(known, alone))
	bad.clear()

	burst := func(prefix, secret, what string) []time.Duration {
		start := time.Now()
		bad.createTogether(prefix, holes, secret)
		took := good.readyTogether("beside-"+prefix, healthy, goodTargets)
		met := bad.awaitUnreachable(prefix, holes, badTargets).Sub(start)
		bad.clear()
		out.row(fmt.Sprintf("%d %s, created just before (dead after %s)", holes, what, seconds(met)), list(took), median(took), ratio(took, alone))
		return took
	}
	refusing := burst("refusing", "refusing", "that refuse connections")
	unmet := burst("unmet", "black-hole", "black holes")
	out.row("the last two compared", "", "", ratio(unmet, refusing))

	assert.LessOrEqual(t, times(known, alone), blackHoleLimit, "beside clusters that are known to be dead")
	// Workspaces take turns, so a burst of registrations in one costs another little more than the work that it is.
	assert.LessOrEqual(t, times(unmet, alone), blackHoleLimit, "beside clusters that nobody has met yet")
}

// readyTogether creates healthy targets at once, returns how long each takes until it is Ready, and removes them.
func (n *tenant) readyTogether(prefix string, count int, targets *record) []time.Duration {
	n.t.Helper()
	took := make([]time.Duration, count)
	start := n.createTogether(prefix, count, "cluster-1")
	for i := range took {
		took[i] = targets.await(has(numbered(prefix, i), workloadv1alpha1.ConditionReady, workloadv1alpha1.ReasonReady)).Sub(start[i])
	}
	for i := range took {
		// Until the rollout is over the service has work to do.
		targets.await(has(numbered(prefix, i), workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ReasonDeployed))
	}
	n.clear()
	return took
}

// awaitUnreachable returns when the service knew of the last target that its cluster does not answer.
func (n *tenant) awaitUnreachable(prefix string, count int, targets *record) (last time.Time) {
	n.t.Helper()
	for i := range count {
		at := targets.await(has(numbered(prefix, i), workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ReasonClusterUnreachable))
		if at.After(last) {
			last = at
		}
	}
	return last
}

// createTogether creates targets side by side and returns when each was asked for.
func (n *tenant) createTogether(prefix string, count int, secret string) []time.Time {
	n.t.Helper()
	start := make([]time.Time, count)
	var all errgroup.Group
	for i := range count {
		all.Go(func() error {
			start[i] = time.Now()
			return n.Create(n.t.Context(), syncTarget(numbered(prefix, i), secret))
		})
	}
	require.NoError(n.t, all.Wait())
	return start
}

func numbered(prefix string, i int) string { return fmt.Sprintf("%s-%d", prefix, i+1) }

// kubeconfigAt is cluster-1's, but for the address.
func kubeconfigAt(t *testing.T, address string) []byte {
	t.Helper()
	config, err := clientcmd.Load(clusterKubeconfig(t))
	require.NoError(t, err)
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + address
	}
	data, err := clientcmd.Write(*config)
	require.NoError(t, err)
	return data
}

func times(with, without []time.Duration) float64 {
	return median(with).Seconds() / median(without).Seconds()
}

func ratio(with, without []time.Duration) string { return fmt.Sprintf("%.1fx", times(with, without)) }
