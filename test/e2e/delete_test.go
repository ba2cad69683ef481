package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestDeleteLeavesNothing deletes a SyncTarget alone.
func TestDeleteLeavesNothing(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	require.NoError(t, n.Delete(t.Context(), target))
	n.awaitGone(target)
	requireNothingLeft(t, downstream(t), target.Status.Key)
	requireNothingLeft(t, n, target.Status.Key)

	secret := kubeconfigSecret("edge-1", nil)
	require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(secret), secret))
	assert.Empty(t, secret.Finalizers, "the user's Secret is let go")
}

// TestDeleteEverythingAtOnce deletes what the sample applies, in one command: target, Secret and binding.
func TestDeleteEverythingAtOnce(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	for _, object := range []client.Object{sampleBinding(t), kubeconfigSecret("edge-1", nil), syncTarget("edge-1")} {
		require.NoError(t, n.Delete(t.Context(), object))
	}
	n.awaitGone(kubeconfigSecret("edge-1", nil))
	n.awaitGone(sampleBinding(t))
	requireNothingLeft(t, downstream(t), target.Status.Key)
	n.eventually("the identity is gone", func() (bool, string) {
		err := n.Get(t.Context(), client.ObjectKey{Name: n.namespaceOf("edge-1")}, &corev1.Namespace{})
		return apierrors.IsNotFound(err), "namespace is still there"
	})
	requireNothingLeft(t, n, target.Status.Key)
}

// TestDeleteBinding removes the binding first, under a living target.
func TestDeleteBinding(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	s := n.openShop(target, "shop")
	config := s.configMap("config", map[string]string{"a": "1"})
	s.create(config)
	s.awaitCopy("config", map[string]string{"a": "1"})
	binding := sampleBinding(t)
	require.NoError(t, n.Delete(t.Context(), binding))
	n.awaitGone(binding)
	s.requireFree()
	s.awaitNoNamespace(s.counterpart)
	require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(config), config), "the user's objects stay")
	requireNothingLeft(t, downstream(t), target.Status.Key)
	n.eventually("the identity is gone", func() (bool, string) {
		err := n.Get(t.Context(), client.ObjectKey{Name: n.namespaceOf("edge-1")}, &corev1.Namespace{})
		return apierrors.IsNotFound(err), "namespace is still there"
	})
	requireNothingLeft(t, n, target.Status.Key)
	secret := kubeconfigSecret("edge-1", nil)
	require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(secret), secret))
	assert.Empty(t, secret.Finalizers, "the user's Secret is let go")
}

// TestDeleteWorkspace removes the whole workspace.
func TestDeleteWorkspace(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	n.deleteWorkspace()
	n.awaitEmptied()
	requireNothingLeft(t, downstream(t), target.Status.Key)
}

// clusterGone deletes two targets whose cluster does not answer: one ends by the deadline, the other as soon as it is abandoned. Later
// targets of the same names clear away what was left.
func clusterGone(t *testing.T, outage *outagePart) {
	n := newTenant(t)
	n.cluster = secondCluster
	registered := n.registerAll(secondCluster, "edge-1", "edge-2")
	byDeadline, abandoned := registered[0], registered[1]

	outage.begin(t)

	deleted := time.Now()
	require.NoError(t, n.Delete(t.Context(), abandoned))
	require.NoError(t, n.Delete(t.Context(), byDeadline))
	n.await("edge-2", "Deployed", "RemovalFailed", "cannot be removed", workloadv1alpha1.AnnotationAbandon)
	change(n, syncTarget("edge-2"), func(st *workloadv1alpha1.SyncTarget) {
		st.Annotations = map[string]string{workloadv1alpha1.AnnotationAbandon: "true"}
	})
	n.awaitGone(abandoned)
	n.eventually("a Warning says why it was abandoned", func() (bool, string) {
		all := strings.Join(n.events(abandoned), "\n")
		return strings.Contains(all, "abandoned by annotation"), all
	})

	n.awaitGoneWithin(deadline+patience, byDeadline)
	assert.GreaterOrEqual(t, time.Since(deleted), deadline, "it is not given up before the deadline")
	for _, gone := range registered {
		requireNothingLeft(t, n, gone.Status.Key)
	}
	n.eventually("a Warning names what is left", func() (bool, string) {
		all := strings.Join(n.events(byDeadline), "\n")
		return strings.Contains(all, "Warning Abandoned") && strings.Contains(all, n.namespaceOf("edge-1")), all
	})

	outage.end(t)
	require.NoError(t, n.physical().Get(t.Context(), client.ObjectKey{Name: n.namespaceOf("edge-1")}, &corev1.Namespace{}), "left behind, as the Warning said")
	for _, gone := range registered {
		again := syncTarget(gone.Name)
		again.Spec.Cluster = secondCluster
		require.NoError(t, n.Create(t.Context(), again))
	}
	var again []*workloadv1alpha1.SyncTarget
	for _, name := range []string{"edge-1", "edge-2"} {
		n.await(name, "Deployed", "Deployed")
		target := n.await(name, "Ready", "Ready")
		namespace := &corev1.Namespace{}
		require.NoError(t, n.physical().Get(t.Context(), client.ObjectKey{Name: n.namespaceOf(name)}, namespace))
		assert.Equal(t, string(target.UID), namespace.Labels[workloadv1alpha1.LabelUID])
		again = append(again, target)
		require.NoError(t, n.Delete(t.Context(), target))
	}
	for _, target := range again {
		n.awaitGone(target)
		requireNothingLeft(t, n.physical(), target.Status.Key)
	}
}

// kcpRoot is the workspace root, as administrator.
func kcpRoot(t *testing.T) client.Client {
	t.Helper()
	return clientOf(t, env.KCPKubeconfig())
}
