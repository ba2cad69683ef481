//go:build bench

package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/test/framework"
)

// installed is a syncer as the service has installed it, and a Namespace that is opened to it.
type installed struct {
	*tenant
	target *workloadv1alpha1.SyncTarget
	there  *kubernetes.Clientset
	// home is the syncer's Namespace in the physical cluster, and counterpart that of the opened one.
	home, counterpart string
}

// TestRestart ends a syncer that has nothing to do, in its pod and with the standard settings, and measures how long the next
// one takes until it has looked at everything.
func TestRestart(t *testing.T) {
	count, rounds := size(t, "BENCH_OBJECTS", 1000), size(t, "BENCH_ROUNDS", 3)
	s := newInstalled(t)
	s.fill(count)
	out := newTable("Restart of a syncer in its pod, with %d unchanged ConfigMaps of 1 KiB; at rest is when a new one has arrived and the queue is empty", count)
	out.row("how it ended", "from its end to at rest", "from the next one's start", "writes")
	for round := range rounds {
		// A pod whose process was killed before waits: kubelet backs off.
		for _, way := range []struct {
			name string
			end  func()
		}{
			{"pod deleted", s.deletePod},
			{"process killed", s.killProcess},
		} {
			before, err := s.process()
			require.NoError(t, err)
			began := time.Now()
			way.end()
			rested, started := s.settled(before, fmt.Sprintf("probe-%d-%d", round, before))
			writes := s.writes(began)
			out.row(way.name, rested.Sub(began), rested.Sub(started), len(writes))
			assert.Less(t, rested.Sub(started), restartTime, "%s: from the next one's start", way.name)
			assert.Empty(t, writes, way.name)
		}
	}
	out.print()
}

// newInstalled registers cluster-1 and opens a Namespace to it.
func newInstalled(t *testing.T) *installed {
	t.Helper()
	n := newTenant(t)
	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("cluster-1", clusterKubeconfig(t))))
	targets := follow(t, n, &workloadv1alpha1.SyncTargetList{}, targetFacts)
	s := &installed{tenant: n, target: syncTarget("edge-1", "cluster-1")}
	require.NoError(t, n.Create(t.Context(), s.target))
	targets.await(has("edge-1", workloadv1alpha1.ConditionReady, workloadv1alpha1.ReasonReady))
	targets.await(has("edge-1", workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ReasonDeployed))
	require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(s.target), s.target))
	key := s.target.Status.Key
	s.home, s.counterpart = workloadv1alpha1.SyncerNamespace("edge-1", key), naming.Namespace(key, "sync")
	config, err := clientcmd.BuildConfigFromFlags("", env.ClusterKubeconfig("cluster-1"))
	require.NoError(t, err)
	config.QPS = -1
	s.there, err = kubernetes.NewForConfig(config)
	require.NoError(t, err)
	require.NoError(t, n.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "sync", Labels: map[string]string{workloadv1alpha1.StateLabel(key): workloadv1alpha1.StateSync},
	}}))
	return s
}

func (s *installed) create(name string) {
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "sync", Name: name}, Data: map[string]string{"d": strings.Repeat("x", 1024)}}
	assert.NoError(s.t, s.Create(s.t.Context(), c))
}

// fill creates ConfigMaps and waits until all are there, and told to be.
func (s *installed) fill(count int) {
	s.t.Helper()
	var all errgroup.Group
	all.SetLimit(16)
	for i := range count {
		all.Go(func() error { s.create(fmt.Sprintf("config-%d", i)); return nil })
	}
	require.NoError(s.t, all.Wait())
	s.eventually("all copies are reported", func() (bool, string) {
		var list corev1.ConfigMapList
		require.NoError(s.t, s.List(s.t.Context(), &list, client.InNamespace("sync")))
		done := 0
		for _, c := range list.Items {
			if strings.Contains(c.Annotations[workloadv1alpha1.SyncAnnotation(s.target.Status.Key)], `"ready":"Current"`) {
				done++
			}
		}
		return done >= count, fmt.Sprintf("%d of %d", done, count)
	})
}

// pod is the one that runs, and is to run.
func (s *installed) pod() *corev1.Pod {
	s.t.Helper()
	pods, err := s.there.CoreV1().Pods(s.home).List(s.t.Context(), metav1.ListOptions{})
	require.NoError(s.t, err)
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp == nil {
			return &pods.Items[i]
		}
	}
	return nil
}

func (s *installed) deletePod() {
	s.t.Helper()
	require.NoError(s.t, s.there.CoreV1().Pods(s.home).Delete(s.t.Context(), s.pod().Name, metav1.DeleteOptions{}))
}

func (s *installed) killProcess() {
	s.t.Helper()
	pid, err := s.process()
	require.NoError(s.t, err)
	require.NoError(s.t, syscall.Kill(pid, syscall.SIGKILL))
}

// process is the syncer's.
func (s *installed) process() (int, error) {
	return framework.PIDWith("--sync-target-key=" + s.target.Status.Key)
}

// settled returns when the syncer after this one is at rest, and when it was started. A ConfigMap of this name shows that it does its
// work.
func (s *installed) settled(after int, probe string) (rested, started time.Time) {
	s.t.Helper()
	s.eventually("the next syncer runs", func() (bool, string) {
		pid, err := s.process()
		if err != nil || pid == after {
			return false, fmt.Sprint(pid, err)
		}
		started, err = framework.StartOf(pid)
		return err == nil, fmt.Sprint(err)
	})
	s.create(probe)
	s.eventually("it is at rest", func() (bool, string) {
		_, err := s.there.CoreV1().ConfigMaps(s.counterpart).Get(s.t.Context(), probe, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		waiting, err := s.waiting()
		rested = time.Now()
		return waiting == 0 && err == nil, fmt.Sprint(waiting, err)
	})
	return rested, started
}

// waiting is how much waits in the syncer's queue.
func (s *installed) waiting() (float64, error) {
	pod := s.pod()
	if pod == nil {
		return 0, errors.New("there is no pod")
	}
	page, err := s.there.CoreV1().Pods(s.home).ProxyGet("http", pod.Name, fmt.Sprint(options.DefaultMetricsPort), "metrics", nil).DoRaw(s.t.Context())
	if err != nil {
		return 0, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(page)))
	if err != nil {
		return 0, err
	}
	depth := families["syncer_queue_depth"].GetMetric()
	if len(depth) != 1 {
		return 0, errors.New("it does not tell how much waits")
	}
	return depth[0].GetGauge().GetValue(), nil
}

// writes are what was written of the ConfigMaps that were there before, on both sides, by the time at which nothing has been
// written for 5 s.
func (s *installed) writes(since time.Time) []string {
	s.t.Helper()
	var found []string
	s.eventually("5 s are over", func() (bool, string) {
		found = nil
		last := since
		for _, log := range []string{"kcp", "cluster-1"} {
			all, err := env.WritesBy(log, "system:serviceaccount:"+s.home+":"+agent.DeploymentName, since)
			require.NoError(s.t, err)
			for _, w := range all {
				if w.Resource == "configmaps" && strings.HasPrefix(w.Name, "config-") {
					found = append(found, log+" "+w.Verb+" "+w.Name)
				}
				if w.Resource == "configmaps" && w.Time.After(last) {
					last = w.Time
				}
			}
		}
		return time.Since(last) > 5*time.Second, last.String()
	})
	slices.Sort(found)
	return found
}
