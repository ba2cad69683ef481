package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestSyncOfNamespaces: Namespaces with credentials in them are refused, and those that are closed or deleted are left on
// both sides, all beside one that stays as it is.
func TestSyncOfNamespaces(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	stays, closes, goes := n.openShop(target, "stays"), n.openShop(target, "closes"), n.openShop(target, "goes")
	for _, s := range []*shop{stays, closes, goes} {
		config := s.configMap("config", map[string]string{"in": s.namespace})
		s.create(config)
		s.awaitCopy("config", map[string]string{"in": s.namespace})
		s.awaitReport(config, `"ready":"Current"`)
		require.Len(t, s.grants(), 1, "while it is open, the syncer has rights in Namespace %s", s.namespace)
	}
	before, err := stays.copyOf("config")
	require.NoError(t, err)

	t.Log("a Namespace that holds credentials is refused, and why is said")
	credentials, identity := n.shopIn(target, "default"), n.shopIn(target, n.namespaceOf("edge-1"))
	credentials.refuse("the kubeconfig of SyncTarget", "edge-1")
	identity.refuse("the identity of a syncer")
	credentials.withdraw()
	credentials.awaitWithdrawn()

	t.Log("of a Namespace that is closed, and of one that is deleted, nothing of ours is left")
	closes.withdraw()
	_, err = env.Kubectl(t.Context(), n.path.String(), "", "delete", "namespace", "goes", "--timeout=100s")
	require.NoError(t, err)
	err = n.Get(t.Context(), client.ObjectKey{Name: "goes"}, &corev1.Namespace{})
	require.True(t, apierrors.IsNotFound(err), "Namespace goes: %v", err)
	goes.awaitLeft()
	closes.awaitLeft()
	closes.requireFree()
	config := closes.configMap("config", nil)
	require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(config), config), "what the user has in it stays")
	assert.Nil(t, config.DeletionTimestamp)

	t.Log("the neighbour has noticed nothing")
	after, err := stays.copyOf("config")
	require.NoError(t, err)
	assert.Equal(t, before.UID, after.UID)
	assert.Equal(t, before.ResourceVersion, after.ResourceVersion)
	stays.create(stays.configMap("another", map[string]string{"a": "1"}))
	stays.awaitCopy("another", map[string]string{"a": "1"})
}

// TestSyncedMeansThere: who opens a Namespace and waits for Synced finds everything there; what is refused is told first, and
// a Namespace that is opened beside one that is synced takes the condition back until it is, too.
func TestSyncedMeansThere(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	const many = 60 // which takes a few seconds
	open := func(name string) {
		t.Helper()
		s := n.shopIn(target, name)
		s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		for i := range many {
			s.create(s.configMap(fmt.Sprintf("config-%02d", i), map[string]string{"a": "1"}))
		}
		s.place()
		// From when it is admitted, Synced speaks of it, too.
		s.awaitAssigned()
		_, err := env.Kubectl(t.Context(), n.path.String(), "", "wait", "synctarget/edge-1", "--for=condition=Synced", "--timeout=100s")
		require.NoError(t, err)
		var copies corev1.ConfigMapList
		require.NoError(t, s.there.List(t.Context(), &copies, client.InNamespace(s.counterpart), client.MatchingLabels{workloadv1alpha1.LabelKey: target.Status.Key}))
		assert.Len(t, copies.Items, many, "copies of Namespace %s when it is said to be synced", name)
	}
	open("first")
	open("second")
}

// TestManyNamespacesEnd: Namespaces that are deleted together, and one that is placed and withdrawn in quick turns, are left
// without a finalizer of ours, and one that is opened again is synced.
func TestManyNamespacesEnd(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	turns := n.openShop(target, "turns")
	var shops []*shop
	for i := range 10 {
		shops = append(shops, n.openShop(target, fmt.Sprintf("shop-%d", i)))
	}
	for _, s := range append(shops, turns) {
		for i := range 20 {
			s.create(s.configMap(fmt.Sprintf("config-%d", i), map[string]string{"in": s.namespace}))
		}
		config := s.configMap("config", map[string]string{"in": s.namespace})
		s.create(config)
		s.awaitReport(config, `"ready":"Current"`)
	}
	remove := []string{"delete", "namespace", "--timeout=100s"}
	for _, s := range shops {
		remove = append(remove, s.namespace)
	}
	_, err := env.Kubectl(t.Context(), n.path.String(), "", remove...)
	require.NoError(t, err)
	for _, s := range shops {
		s.awaitLeft()
	}

	for range 5 {
		turns.withdraw()
		turns.place()
	}
	turns.awaitCopy("config", map[string]string{"in": "turns"})
	for range 5 {
		turns.withdraw()
		turns.place()
	}
	turns.withdraw()
	turns.awaitLeft()
	turns.requireFree()
	turns.place()
	turns.awaitAssigned()
	turns.awaitCopy("config", map[string]string{"in": "turns"})
}

// TestSyncLeavesWhatIsOfOthers: a counterpart stays, without anything of ours, while somebody has something in it, be it of a
// resource that is not synced, and goes when it is closed with nothing in it.
func TestSyncLeavesWhatIsOfOthers(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.bindCompute()
	s := n.openShop(n.register("edge-1"), "shop")
	config, web := s.configMap("config", map[string]string{"a": "1"}), idleDeployment("shop", "web")
	s.create(config)
	s.create(web)
	s.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: web.Spec.Selector.MatchLabels, Ports: []corev1.ServicePort{{Port: 80}},
	}})
	s.awaitReport(config, `"ready":"Current"`)
	s.awaitReport(web, `"ready":"Current"`)
	there := metav1.ObjectMeta{Namespace: s.counterpart, Name: "theirs"}
	theirs := []client.Object{
		&autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: there, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}, MaxReplicas: 2,
		}},
		&rbacv1.Role{ObjectMeta: there},
	}
	for _, object := range theirs {
		require.NoError(t, s.there.Create(t.Context(), object))
	}

	t.Log("closed with something of others in it")
	s.withdraw()
	s.awaitWithdrawn()
	s.awaitNoCopy("config")
	s.requireFree()
	s.eventually("an Event says what keeps the Namespace", func() (bool, string) {
		all := s.events(s.target)
		return slices.ContainsFunc(all, func(event string) bool {
			return strings.HasPrefix(event, "Normal "+workloadv1alpha1.ReasonNamespaceLeft+": ") &&
				containsAll(event, []string{s.counterpart, `"shop"`, `HorizontalPodAutoscaler "theirs" in it is not ours`})
		}), strings.Join(all, "\n")
	})
	for _, object := range theirs {
		require.NoError(t, s.there.Get(t.Context(), client.ObjectKeyFromObject(object), object))
		assert.Nil(t, object.GetDeletionTimestamp(), "%T", object)
	}
	namespace := &corev1.Namespace{}
	require.NoError(t, s.there.Get(t.Context(), client.ObjectKey{Name: s.counterpart}, namespace))
	assert.NotContains(t, namespace.Labels, workloadv1alpha1.LabelKey)
	err := s.there.Get(t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "syncer"}, &rbacv1.RoleBinding{})
	assert.True(t, apierrors.IsNotFound(err), "our rights in it: %v", err)

	t.Log("opened again, and closed when they have taken it away")
	s.place()
	s.awaitAssigned()
	s.awaitCopy("config", map[string]string{"a": "1"})
	s.awaitReport(web, `"ready":"Current"`)
	for _, object := range theirs {
		require.NoError(t, s.there.Delete(t.Context(), object))
	}
	s.withdraw()
	s.awaitLeft()
}

// refuse places a Namespace that must never be synced, and waits until the Placement says why it is not.
func (s *shop) refuse(words ...string) {
	s.t.Helper()
	s.place()
	told := append([]string{s.namespace}, words...)
	s.eventually("the Placement tells that Namespace "+s.namespace+" is refused", func() (bool, string) {
		status := s.placementStatus()
		return containsAll(status, told), status
	})
	assert.Empty(s.t, s.grants(), "the syncer's rights in Namespace %s", s.namespace)
	err := s.there.Get(s.t.Context(), client.ObjectKey{Name: s.counterpart}, &corev1.Namespace{})
	assert.True(s.t, apierrors.IsNotFound(err), "the counterpart of Namespace %s: %v", s.namespace, err)
}
