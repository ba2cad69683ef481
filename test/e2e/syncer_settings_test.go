package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestSyncerSettings: a pull secret of the workspace is copied, and goes when it is no longer named; the Namespaces in the physical
// cluster enforce the Pod Security Standards of the SyncTarget. Tools that know the conventions of kstatus see what is missing.
func TestSyncerSettings(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.bindCompute()
	require.NoError(t, n.Create(t.Context(), kubeconfigSecret("edge-1", clusterKubeconfig(t))))
	target := syncTarget("edge-1")
	target.Spec.Syncer = &workloadv1alpha1.SyncerSpec{
		ImagePullSecrets: []workloadv1alpha1.ImagePullSecret{{Name: "mirror", Namespace: "default"}},
		PodSecurity:      &workloadv1alpha1.PodSecuritySpec{Workloads: workloadv1alpha1.PodSecurityRestricted},
	}
	require.NoError(t, n.Create(t.Context(), target))
	n.awaitStatus("edge-1", "Stalled", metav1.ConditionTrue, "ValidationFailed", `Secret "default/mirror" is not found`)

	mirror := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "mirror", Labels: map[string]string{workloadv1alpha1.LabelVisible: "true"}},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"mirror.example.com":{"auth":"dTpw"}}}`)},
	}
	require.NoError(t, n.Create(t.Context(), mirror))
	target = n.await("edge-1", "Ready", "Ready")
	n.await("edge-1", "Deployed", "Deployed")
	for _, condition := range target.Status.Conditions {
		assert.NotEqual(t, "Stalled", condition.Type)
	}
	copied := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: n.namespaceOf("edge-1"), Name: "mirror"}}
	require.NoError(t, downstream(t).Get(t.Context(), client.ObjectKeyFromObject(copied), copied))
	assert.Equal(t, mirror.Data, copied.Data)
	assert.Equal(t, mirror.Type, copied.Type)

	change(n, mirror, func(s *corev1.Secret) { s.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{}}`) })
	n.eventually("the copy follows the Secret", func() (bool, string) {
		require.NoError(t, downstream(t).Get(t.Context(), client.ObjectKeyFromObject(copied), copied))
		return string(copied.Data[corev1.DockerConfigJsonKey]) == `{"auths":{}}`, ""
	})

	s := n.openShop(target, "shop")
	web := idleDeployment("shop", "web")
	web.Spec.Template.Spec.HostNetwork = true
	s.create(web)
	n.eventually("the user is told that the Pods are refused", func() (bool, string) {
		events := &corev1.EventList{}
		require.NoError(t, n.List(t.Context(), events, client.InNamespace("shop")))
		all := ""
		for _, event := range events.Items {
			all += event.InvolvedObject.Name + ": " + event.Message + "\n"
		}
		return containsAll(all, []string{"web: ", `violates PodSecurity "restricted:latest"`}), all
	})

	change(n, target, func(st *workloadv1alpha1.SyncTarget) { st.Spec.Syncer.ImagePullSecrets = nil })
	n.eventually("the copy goes", func() (bool, string) {
		err := downstream(t).Get(t.Context(), client.ObjectKeyFromObject(copied), copied)
		return apierrors.IsNotFound(err), ""
	})
}
