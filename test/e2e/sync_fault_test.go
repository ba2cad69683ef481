package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/test/framework"
)

// TestSyncerIsKilled: killed at random during 200 changes, the syncer converges; nothing is lost, nothing left over, and
// what was never deleted is never made anew.
func TestSyncerIsKilled(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	s := n.openShop(n.register("edge-1"), "shop")
	ctx := t.Context()
	const kept = 5 // of 40 names the first are changed like the others, but never deleted
	want, kills := map[string]map[string]string{}, 0
	for i := range kept {
		name := fmt.Sprintf("c-%d", i)
		want[name] = map[string]string{"at": "first"}
		s.create(s.configMap(name, want[name]))
	}
	s.awaitExactly(want)
	before := s.uids()
	for i := range 200 {
		if rand.IntN(12) == 0 {
			// In turn, for a container that ends again and again is made to wait.
			if kills++; kills%2 == 0 {
				n.killSyncer("edge-1")
			} else {
				s.killProcess()
			}
		}
		number := rand.IntN(40)
		name := fmt.Sprintf("c-%d", number)
		switch _, exists := want[name]; {
		case !exists:
			want[name] = map[string]string{"at": fmt.Sprint(i)}
			n.eventually(name+" is created", func() (bool, string) { // an earlier one of the name may still be going
				err := s.Create(ctx, s.configMap(name, want[name]))
				return err == nil, fmt.Sprint(err)
			})
		case number >= kept && rand.IntN(3) == 0:
			require.NoError(t, s.Delete(ctx, s.configMap(name, nil)))
			delete(want, name)
		default:
			want[name] = map[string]string{"at": fmt.Sprint(i)}
			change(n, s.configMap(name, nil), func(c *corev1.ConfigMap) { c.Data = maps.Clone(want[name]) })
		}
	}
	t.Logf("killed %d times", kills)
	s.awaitExactly(want)
	s.awaitHeld(want)
	after := s.uids()
	maps.DeleteFunc(after, func(name string, _ types.UID) bool { return before[name] == "" })
	assert.Equal(t, before, after, "the UIDs of the copies that were there all the time")
}

// killProcess ends the syncer's process, as running out of memory would.
func (s *shop) killProcess() {
	s.t.Helper()
	s.eventually("the syncer's process is killed", func() (bool, string) {
		pid, err := framework.PIDWith("--sync-target-key=" + s.target.Status.Key)
		if err != nil {
			return false, err.Error()
		}
		return syscall.Kill(pid, syscall.SIGKILL) == nil, ""
	})
}

// awaitHeld waits until the ConfigMaps of the Namespace are these and no others, and all of them are held: those that
// were deleted are gone, and none is held without a copy.
func (s *shop) awaitHeld(want map[string]map[string]string) {
	s.t.Helper()
	finalizer := workloadv1alpha1.SyncerFinalizer(s.target.Status.Key)
	s.eventually(fmt.Sprintf("%d ConfigMaps are left, and held", len(want)), func() (bool, string) {
		var list corev1.ConfigMapList
		if err := s.List(s.t.Context(), &list, client.InNamespace(s.namespace)); err != nil {
			return false, err.Error()
		}
		wrong, found := []string{}, 0
		for _, c := range list.Items {
			_, wanted := want[c.Name]
			held := slices.Contains(c.Finalizers, finalizer)
			switch {
			case wanted && held:
				found++
			case wanted, held, !naming.IsClusterDefault("ConfigMap", c.Name):
				wrong = append(wrong, fmt.Sprintf("%s (finalizers %q, deleted %v)", c.Name, c.Finalizers, c.DeletionTimestamp))
			}
		}
		return len(wrong) == 0 && found == len(want), fmt.Sprintf("%d as they should be, others: %v", found, wrong)
	})
}

// awaitExactly waits until the copies of ConfigMaps are these and no others.
func (s *shop) awaitExactly(want map[string]map[string]string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("there are %d copies", len(want)), func() (bool, string) {
		var list corev1.ConfigMapList
		if err := s.there.List(s.t.Context(), &list, client.InNamespace(s.counterpart), client.MatchingLabels{workloadv1alpha1.LabelKey: s.target.Status.Key}); err != nil {
			return false, err.Error()
		}
		got := map[string]map[string]string{}
		for _, c := range list.Items {
			got[c.Name] = c.Data
		}
		return maps.EqualFunc(got, want, maps.Equal[map[string]string, map[string]string]), fmt.Sprintf("%d copies: %v", len(got), got)
	})
}

// syncThroughPartition cuts the cluster off for longer than the threshold. What was deleted meanwhile goes, what was
// not stays and is not even made anew; what runs, runs on.
func syncThroughPartition(t *testing.T) {
	n := newTenant(t)
	n.cluster = secondCluster
	n.bindCompute()
	s := n.openShop(n.register("edge-1"), "shop")
	for _, name := range []string{"stays", "goes"} {
		s.create(s.configMap(name, map[string]string{"a": "1"}))
		s.awaitCopy(name, map[string]string{"a": "1"})
	}
	web := idleDeployment("shop", "web")
	s.create(web)
	s.awaitAvailable(web, 1)
	pod := s.podOf("web")
	before, err := s.copyOf("stays")
	require.NoError(t, err)

	require.NoError(t, env.Partition(t.Context(), secondCluster))
	t.Cleanup(func() { _ = env.Heal(context.Background(), secondCluster) })
	require.NoError(t, s.Delete(t.Context(), s.configMap("goes", nil)))
	s.create(s.configMap("comes", map[string]string{"a": "1"}))
	n.await("edge-1", "Ready", "Unhealthy")
	goes := s.configMap("goes", nil)
	require.NoError(t, s.Get(t.Context(), client.ObjectKeyFromObject(goes), goes), "it is held while its copy exists")

	require.NoError(t, env.Heal(t.Context(), secondCluster))
	n.await("edge-1", "Ready", "Ready")
	s.awaitExactly(map[string]map[string]string{"stays": {"a": "1"}, "comes": {"a": "1"}})
	s.awaitGone(goes)
	after, err := s.copyOf("stays")
	require.NoError(t, err)
	assert.Equal(t, before.UID, after.UID)
	assert.Equal(t, before.ResourceVersion, after.ResourceVersion, "what was right is not written again")
	s.awaitAvailable(web, 1)
	assert.Equal(t, pod.UID, s.podOf("web").UID, "the Deployment's pod")
}

// podOf is the one pod of a Deployment's copy.
func (s *shop) podOf(deployment string) corev1.Pod {
	s.t.Helper()
	var pods corev1.PodList
	require.NoError(s.t, s.there.List(s.t.Context(), &pods, client.InNamespace(s.counterpart), client.MatchingLabels{"app": deployment}))
	require.Len(s.t, pods.Items, 1)
	return pods.Items[0]
}
