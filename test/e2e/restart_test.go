package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"k8s.io/apimachinery/pkg/api/meta"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestControllerRestart restarts the controller under two targets, one alive and one silent: neither may change its
// Ready for that, and nothing may be written.
func TestControllerRestart(t *testing.T) {
	t.Parallel()
	own := newOwnService(t, "restart")
	n := own.newTenant(t)
	n.register("alive")
	n.register("silent")
	change(n, syncTarget("silent"), func(st *workloadv1alpha1.SyncTarget) {
		var none int32
		st.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: &none}
	})
	n.await("silent", "Deployed", "Deployed")
	n.await("silent", "Ready", "ScaledToZero")

	before := conditionsOf(n)
	start := time.Now()
	own.stop(t)
	own.start(t)
	// Longer than the threshold: the silent one is judged anew in it, and must come out the same.
	for time.Since(start) < threshold+15*time.Second {
		require.Equal(t, before, conditionsOf(n))
		<-time.After(time.Second)
	}
	n.requireNoControllerWrites(start, "alive", "silent")

	// It works, and did not just stand still.
	change(n, syncTarget("silent"), func(st *workloadv1alpha1.SyncTarget) { st.Spec.Syncer = nil })
	n.await("silent", "Ready", "Ready")
}

// conditionsOf is the Ready of every target, with the time of its last change.
func conditionsOf(n *tenant) map[string]string {
	n.t.Helper()
	var targets workloadv1alpha1.SyncTargetList
	require.NoError(n.t, n.List(n.t.Context(), &targets))
	out := map[string]string{}
	for _, target := range targets.Items {
		ready := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionReady)
		out[target.Name] = ready.Reason + " since " + ready.LastTransitionTime.String()
	}
	return out
}

// TestKcpRestart restarts kcp under the controller, and under the syncer: what was synced stays as it is, and what is
// changed from then on travels as before.
func TestKcpRestart(t *testing.T) {
	n := newTenant(t)
	target := n.register("edge-1")
	s := n.openShop(target, "shop")
	want := map[string]map[string]string{}
	for i := range 5 {
		name := fmt.Sprintf("config-%d", i)
		want[name] = map[string]string{"a": "1"}
		s.create(s.configMap(name, want[name]))
	}
	s.awaitExactly(want)
	s.awaitHeld(want)
	before := s.uids()
	beat := n.renewed("edge-1")
	require.NoError(t, env.Kill("kcp"))
	require.NoError(t, env.Restart(t.Context(), "kcp"))

	n.eventually("heartbeats arrive again", func() (bool, string) {
		next, err := n.renewTime("edge-1")
		return err == nil && next.After(beat), fmt.Sprint(next, err)
	})
	n.await("edge-1", "Ready", "Ready")

	want["later"] = map[string]string{"a": "1"}
	s.create(s.configMap("later", want["later"]))
	s.awaitExactly(want)
	after := s.uids()
	delete(after, "later")
	assert.Equal(t, before, after, "the UIDs of the copies from before")
	gone := s.configMap("config-0", nil)
	require.NoError(t, n.Delete(t.Context(), gone))
	n.awaitGone(gone)
	delete(want, "config-0")
	s.awaitExactly(want)
	n.register("edge-2")
}

// TestControllerBeforeKcp starts the controller while kcp is down.
func TestControllerBeforeKcp(t *testing.T) {
	n := newTenant(t)
	require.NoError(t, env.Stop(service.Name))
	require.NoError(t, env.Kill("kcp"))
	var once sync.Once
	up := func() { once.Do(func() { require.NoError(t, env.Restart(context.Background(), "kcp")) }) }
	t.Cleanup(up)

	_, err := env.Start(t.Context(), controller)
	require.NoError(t, err, "the controller is ready without kcp: it waits for it")
	pid := env.PID(service.Name)
	up()
	n.eventually("kcp serves again", func() (bool, string) {
		err := n.List(t.Context(), &workloadv1alpha1.SyncTargetList{})
		return err == nil, "the workspace is not served yet"
	})
	n.register("edge-1")
	assert.Equal(t, pid, env.PID(service.Name), "it is the same process")
}
