package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestDeleteTargetWithCopies: by policy the copies go or stay, with a syncer or without one, and nothing of ours is left
// on the user's objects.
func TestDeleteTargetWithCopies(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.bindCompute()
	shops := n.openShops("cluster-1", "cluster-1", "cluster-1", "cluster-1")
	deleting, orphaning, dead, deadOrphaning := shops[0], shops[1], shops[2], shops[3]
	for _, s := range shops {
		web := idleDeployment(s.namespace, "web")
		s.create(web)
		s.awaitAvailable(web, 1)
		config := s.configMap("config", map[string]string{"a": "1"})
		s.create(config)
		s.awaitCopy("config", map[string]string{"a": "1"})
		s.awaitReport(config, `"ready":"Current"`)
	}
	for _, s := range []*shop{orphaning, deadOrphaning} {
		change(n, syncTarget(s.target.Name), func(st *workloadv1alpha1.SyncTarget) { st.Spec.DeletionPolicy = workloadv1alpha1.DeletionPolicyOrphan })
	}
	for _, s := range []*shop{dead, deadOrphaning} {
		change(n, syncTarget(s.target.Name), func(st *workloadv1alpha1.SyncTarget) {
			st.Spec.Syncer = &workloadv1alpha1.SyncerSpec{Replicas: ptr.To[int32](0)}
		})
	}
	for _, s := range []*shop{dead, deadOrphaning} {
		s.awaitNoSyncer()
	}
	for _, s := range shops {
		require.NoError(t, n.Delete(t.Context(), s.target))
	}
	deleted := time.Now()
	for _, s := range []*shop{dead, deadOrphaning} {
		s.eventually("the objects of "+s.target.Name+" are held no longer", func() (bool, string) {
			config := s.configMap("config", nil)
			require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(config), config))
			return len(config.Finalizers) == 0, fmt.Sprint(config.Finalizers)
		})
	}
	assert.Less(t, time.Since(deleted), deadline, "a syncer that has been silent for a threshold is waited for no longer, and not until the deadline")
	for _, s := range shops {
		n.awaitGone(s.target)
		s.requireFree()
		web := idleDeployment(s.namespace, "web")
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(web), web))
		assert.Empty(t, web.Finalizers, s.namespace)
		assert.Empty(t, web.Status, "what is told of a copy that nobody follows any more, in %s", s.namespace)
		assert.NotContains(t, strings.Join(n.events(s.target), "\n"), workloadv1alpha1.ReasonAbandoned, "what was let go of %s", s.target.Name)
	}
	for _, s := range []*shop{deleting, dead} {
		s.awaitNoNamespace(s.counterpart)
	}
	for _, s := range shops {
		requireNothingLeft(t, s.there, s.target.Status.Key)
		requireNothingLeft(t, n, s.target.Status.Key)
	}
	orphaning.requireOrphan("config")
	require.NoError(t, orphaning.there.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: orphaning.counterpart}}))
	deadOrphaning.leavesOrphan("config")
}

// awaitNoSyncer waits until no pod of the target's syncer is left.
func (s *shop) awaitNoSyncer() {
	s.t.Helper()
	s.eventually("no syncer runs for "+s.target.Name, func() (bool, string) {
		var pods corev1.PodList
		err := s.there.List(s.t.Context(), &pods, client.InNamespace(s.namespaceOf(s.target.Name)))
		return err == nil && len(pods.Items) == 0, fmt.Sprint(len(pods.Items), err)
	})
}

// requireOrphan returns what was the copy of a ConfigMap, and fails if it is not there or carries anything of ours.
func (s *shop) requireOrphan(name string) *corev1.ConfigMap {
	s.t.Helper()
	c, err := s.copyOf(name)
	require.NoError(s.t, err)
	require.Nil(s.t, c.DeletionTimestamp)
	for what, marks := range map[string]map[string]string{"label": c.Labels, "annotation": c.Annotations} {
		for mark := range marks {
			assert.False(s.t, strings.HasPrefix(mark, workloadv1alpha1.GroupName+"/"), "%s %s is left on the copy from %s", what, mark, s.namespace)
		}
	}
	for _, m := range c.ManagedFields {
		assert.NotEqual(s.t, workloadv1alpha1.FieldOwnerSyncer, m.Manager, "who owns fields of the copy from %s", s.namespace)
	}
	return c
}

// leavesOrphan: a later target of the same name, to which the Namespace is open as it was, leaves alone what was left to
// others, though its source is gone.
func (s *shop) leavesOrphan(name string) {
	t, n := s.t, s.tenant
	before := s.requireOrphan(name)
	source := s.configMap(name, nil)
	require.NoError(t, n.Delete(t.Context(), source))
	n.awaitGone(source)
	require.NoError(t, n.Create(t.Context(), syncTarget(s.target.Name)))
	n.await(s.target.Name, "Deployed", "Deployed")
	later := n.shopIn(n.await(s.target.Name, "Ready", "Ready"), s.namespace)
	require.Equal(t, s.counterpart, later.counterpart)
	later.awaitAssigned()
	later.create(later.configMap("other", map[string]string{"a": "1"}))
	later.awaitCopy("other", map[string]string{"a": "1"})
	assert.Equal(t, before, later.requireOrphan(name), "while there is a target again")

	require.NoError(t, n.Delete(t.Context(), later.target))
	n.awaitGone(later.target)
	later.awaitNoCopy("other")
	later.requireFree()
	assert.Equal(t, before, later.requireOrphan(name), "when that target is gone, too")
	requireNothingLeft(t, later.there, later.target.Status.Key)
	require.NoError(t, later.there.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: later.counterpart}}))
}

// TestDeleteWorkspaceWithCopies: a workspace that is deleted takes the syncer's identity along with everything else, and
// still neither a finalizer nor a copy is left, even if the syncer has no time to do its part.
func TestDeleteWorkspaceWithCopies(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	s := n.openShop(n.register("edge-1"), "shop")
	for i := range 20 {
		s.create(s.configMap(fmt.Sprintf("config-%d", i), map[string]string{"a": "1"}))
	}
	s.awaitCopy("config-19", map[string]string{"a": "1"})
	n.killSyncer("edge-1")

	n.deleteWorkspace()
	n.awaitEmptied()
	requireNothingLeft(t, s.there, s.target.Status.Key)
	_, err := s.copyOf("config-0")
	assert.True(t, apierrors.IsNotFound(err), "a copy: %v", err)
}

// TestDeleteWithoutIdentity: a syncer is dead and no controller runs while the syncer's token comes to its end, with the whole
// workspace or by hand. The controller that comes back still takes the finalizers off, and keeps no right that it took for that.
func TestDeleteWithoutIdentity(t *testing.T) {
	t.Parallel()
	own := newOwnService(t, "without-identity")
	whole, byHand := own.newTenant(t), own.newTenant(t)
	shops := []*shop{whole.openShop(whole.register("edge-1"), "shop"), byHand.openShop(byHand.register("edge-1"), "shop")}
	for _, s := range shops {
		for i := range 5 {
			config := s.configMap(fmt.Sprintf("config-%d", i), map[string]string{"a": "1"})
			s.create(config)
			s.awaitReport(config, `"ready":"Current"`)
		}
	}
	own.stop(t)
	var tokens []string
	for _, s := range shops {
		_, err := env.ClusterKubectl(t.Context(), "cluster-1", "", "-n", s.namespaceOf("edge-1"), "scale", "deployment/"+agent.DeploymentName, "--replicas=0")
		require.NoError(t, err)
		s.awaitNoSyncer()
		tokens = append(tokens, s.syncerToken())
	}

	whole.deleteWorkspace()
	identity := metav1.ObjectMeta{Namespace: byHand.namespaceOf("edge-1"), Name: agent.DeploymentName}
	require.NoError(t, byHand.Delete(t.Context(), &corev1.ServiceAccount{ObjectMeta: identity}))
	require.NoError(t, byHand.Delete(t.Context(), shops[1].target))
	for i, s := range shops {
		s.awaitRefused(tokens[i], apierrors.IsUnauthorized)
		require.NoError(t, s.Get(t.Context(), client.ObjectKeyFromObject(s.target), s.target))
		config := s.configMap("config-0", nil)
		require.NoError(t, s.Get(t.Context(), client.ObjectKeyFromObject(config), config))
		require.Contains(t, config.Finalizers, workloadv1alpha1.SyncerFinalizer(s.target.Status.Key))
	}
	own.start(t)

	byHand.awaitGone(shops[1].target)
	shops[1].requireFree()
	requireNothingLeft(t, byHand, shops[1].target.Status.Key)
	whole.awaitEmptied()
	for _, s := range shops {
		requireNothingLeft(t, s.there, s.target.Status.Key)
	}
}

// syncerToken is the token of the target's syncer.
func (s *shop) syncerToken() string {
	s.t.Helper()
	secret := &corev1.Secret{}
	require.NoError(s.t, s.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespaceOf(s.target.Name), Name: agent.TokenSecretName}, secret))
	return string(secret.Data[corev1.ServiceAccountTokenKey])
}

// awaitRefused waits until kcp answers so when somebody lists the ConfigMaps of the Namespace with a token.
func (s *shop) awaitRefused(token string, so func(error) bool) {
	s.t.Helper()
	config := rest.AnonymousClientConfig(s.config)
	config.BearerToken = token
	c, err := client.New(config, client.Options{Scheme: newScheme(s.t), Mapper: s.RESTMapper()})
	require.NoError(s.t, err)
	s.eventually("the syncer's token is refused", func() (bool, string) {
		err := c.List(s.t.Context(), &corev1.ConfigMapList{}, client.InNamespace(s.namespace))
		return so(err), fmt.Sprint(err)
	})
}
