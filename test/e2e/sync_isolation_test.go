package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestSyncOfTwoWorkspaces: equal names of workspaces that share a cluster do not meet, nor can the one's syncer read
// what the other, or another Namespace, holds.
func TestSyncOfTwoWorkspaces(t *testing.T) {
	t.Parallel()
	one, two := newTenant(t), newTenant(t)
	shops := []*shop{one.openShop(one.register("edge-1"), "shop"), two.openShop(two.register("edge-1"), "shop")}
	for i, s := range shops {
		s.create(s.configMap("config", map[string]string{"of": fmt.Sprint(i)}))
	}
	for i, s := range shops {
		s.awaitCopy("config", map[string]string{"of": fmt.Sprint(i)})
	}
	require.NoError(t, one.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "private"}}))

	syncer, err := client.New(one.syncerConfig("edge-1"), client.Options{Scheme: newScheme(t)})
	require.NoError(t, err)
	require.NoError(t, syncer.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("shop")), "what is opened to it")
	for _, namespace := range []string{"private", "default", one.namespaceOf("edge-1"), ""} {
		assert.True(t, apierrors.IsForbidden(syncer.List(t.Context(), &corev1.SecretList{}, client.InNamespace(namespace))), "Secrets in Namespace %q", namespace)
	}
	assert.True(t, apierrors.IsForbidden(syncer.Delete(t.Context(), shops[0].configMap("config", nil))), "it deletes nothing upstream")

	require.NoError(t, one.Delete(t.Context(), shops[0].target))
	one.awaitGone(shops[0].target)
	shops[0].awaitNoCopy("config")
	shops[1].awaitCopy("config", map[string]string{"of": "1"})
}

// syncOfTwoTargets: what is opened to the one, in one cluster, is closed to the other, in another, on both sides.
func syncOfTwoTargets(t *testing.T) {
	n := newTenant(t)
	shops := n.openShops("cluster-1", secondCluster)
	one, two := shops[0], shops[1]
	for _, s := range shops {
		s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "password"}, StringData: map[string]string{"p": "x"}})
		s.eventually("the Secret is there", func() (bool, string) {
			err := s.there.Get(t.Context(), client.ObjectKey{Namespace: s.counterpart, Name: "password"}, &corev1.Secret{})
			return err == nil, fmt.Sprint(err)
		})
	}
	down, err := clientcmd.BuildConfigFromFlags("", env.ClusterKubeconfig(one.target.Spec.Cluster))
	require.NoError(t, err)
	down.Impersonate.UserName = "system:serviceaccount:" + n.namespaceOf("edge-1") + ":syncer"
	for side, c := range map[string]struct {
		config      *rest.Config
		own, others string
	}{
		"workspace":        {n.syncerConfig("edge-1"), "shop-1", "shop-2"},
		"physical cluster": {down, one.counterpart, two.counterpart},
	} {
		syncer, err := client.New(c.config, client.Options{Scheme: newScheme(t)})
		require.NoError(t, err)
		require.NoError(t, syncer.List(t.Context(), &corev1.SecretList{}, client.InNamespace(c.own)), side)
		for _, list := range []client.ObjectList{&corev1.SecretList{}, &corev1.ConfigMapList{}} {
			assert.True(t, apierrors.IsForbidden(syncer.List(t.Context(), list, client.InNamespace(c.others))), "%T in the %s", list, side)
		}
		patch := client.RawPatch(types.MergePatchType, []byte(`{"data":{"p":null}}`))
		other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.others, Name: "password"}}
		assert.True(t, apierrors.IsForbidden(syncer.Patch(t.Context(), other, patch)), "a write in the %s", side)
	}

	for i, s := range shops {
		other := shops[1-i]
		require.NotEqual(t, other.target.Status.ClusterID, s.target.Status.ClusterID)
		err := other.there.Get(t.Context(), client.ObjectKey{Name: s.counterpart}, &corev1.Namespace{})
		assert.True(t, apierrors.IsNotFound(err), "the counterpart of %s in %s: %v", s.namespace, other.target.Spec.Cluster, err)
		var secrets corev1.SecretList
		require.NoError(t, other.there.List(t.Context(), &secrets, client.MatchingLabels{workloadv1alpha1.LabelKey: s.target.Status.Key}))
		assert.Empty(t, secrets.Items, "Secrets of %s, copies or its own, in %s", s.target.Name, other.target.Spec.Cluster)
	}
}

// syncerConfig speaks to the workspace with the token of a target's syncer.
func (n *tenant) syncerConfig(name string) *rest.Config {
	n.t.Helper()
	token := &corev1.Secret{}
	require.NoError(n.t, n.Get(n.t.Context(), client.ObjectKey{Namespace: n.namespaceOf(name), Name: "syncer-token"}, token))
	config := rest.AnonymousClientConfig(n.config)
	config.BearerToken = string(token.Data["token"])
	return config
}
