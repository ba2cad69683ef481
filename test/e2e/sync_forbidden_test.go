package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestSyncWithoutRights: a syncer that may not list one side of a Namespace, as it finds when it starts, concludes nothing
// from that. When it has its rights again, what was deleted meanwhile goes, and nothing else has changed.
func TestSyncWithoutRights(t *testing.T) {
	n := newTenant(t)
	target := n.register("edge-1")
	there, here, both := n.openShop(target, "blind-there"), n.openShop(target, "blind-here"), n.openShop(target, "seeing")
	shops := []*shop{there, here, both}
	before := map[string]map[string]types.UID{}
	for _, s := range shops {
		for _, name := range []string{"stays", "goes"} {
			s.create(s.configMap(name, map[string]string{"a": "1"}))
			s.awaitReport(s.configMap(name, nil), `"ready":"Current"`)
		}
		before[s.namespace] = s.uids()
	}
	// The controller would give the rights back.
	require.NoError(t, env.Stop(service.Name))
	start := func() {
		_, err := env.Start(context.Background(), controller)
		require.NoError(t, err)
	}
	t.Cleanup(start)
	require.NoError(t, there.there.Delete(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: there.counterpart, Name: agent.DeploymentName}}))
	grants := here.grants()
	require.NotEmpty(t, grants)
	for _, grant := range grants {
		grant.Finalizers = nil // it is held until the syncer has left
		require.NoError(t, n.Update(t.Context(), &grant))
		require.NoError(t, n.Delete(t.Context(), &grant))
	}
	here.awaitRefused(here.syncerToken(), apierrors.IsForbidden)
	instance := target.Status.Syncer.Instance
	n.killSyncer("edge-1")
	n.eventually("another syncer beats", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		return target.Status.Syncer.Instance != instance, target.Status.Syncer.Instance
	})

	both.create(both.configMap("comes", map[string]string{"a": "1"}))
	both.awaitCopy("comes", map[string]string{"a": "1"})
	for _, s := range shops {
		require.NoError(t, n.Delete(t.Context(), s.configMap("goes", nil)))
	}
	both.awaitNoCopy("goes")
	n.eventually("it is told that something may not be listed", func() (bool, string) {
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		for _, r := range target.Status.SyncedResources {
			if r.Resource == "configmaps" {
				return r.State == workloadv1alpha1.ResourceForbidden && strings.Contains(r.Message, "cannot list"), r.Message
			}
		}
		return false, "not listed"
	})
	there.awaitReport(there.configMap("stays", nil), string(workloadv1alpha1.ResourceForbidden), "cannot list")
	both.rest(5*time.Second, nil)
	for _, s := range []*shop{there, here} {
		assert.Equal(t, before[s.namespace], s.uids(), "the copies in %s, at which nobody may look", s.namespace)
		for _, name := range []string{"stays", "goes"} {
			c := s.configMap(name, nil)
			require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(c), c))
			assert.Contains(t, c.Finalizers, workloadv1alpha1.SyncerFinalizer(target.Status.Key), "%s in %s", name, s.namespace)
		}
	}

	start()
	for _, s := range []*shop{there, here} {
		s.awaitGone(s.configMap("goes", nil))
		s.awaitExactly(map[string]map[string]string{"stays": {"a": "1"}})
		assert.Equal(t, before[s.namespace]["stays"], s.uids()["stays"], "the copy that stays in %s", s.namespace)
		s.awaitReport(s.configMap("stays", nil), `"ready":"Current"`)
	}
}
