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
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestTokenRotation: on demand the syncer gets another token, while its SyncTarget is Ready and its copies follow. The earlier token is
// refused afterwards. A second rotation takes the name of the first Secret again.
func TestTokenRotation(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	since := map[string]string{"edge-1": meta.FindStatusCondition(target.Status.Conditions, "Ready").LastTransitionTime.String()}
	s := n.openShop(target, "shop")
	config := s.configMap("config", map[string]string{"round": "0"})
	s.create(config)
	s.awaitCopy("config", config.Data)
	n.awaitToken("edge-1", agent.TokenSecretName)

	second := agent.OtherTokenSecret(agent.TokenSecretName)
	for round, secrets := range [][2]string{{agent.TokenSecretName, second}, {second, agent.TokenSecretName}} {
		before, after := secrets[0], secrets[1]
		var token corev1.Secret
		require.NoError(t, n.Get(t.Context(), client.ObjectKey{Namespace: n.namespaceOf("edge-1"), Name: before}, &token))
		// Creation times are whole seconds, so the demand must be of a later one.
		n.eventually("the token is older than a second", func() (bool, string) { return time.Since(token.CreationTimestamp.Time) > 2*time.Second, "" })
		change(n, target, func(st *workloadv1alpha1.SyncTarget) {
			metav1.SetMetaDataAnnotation(&st.ObjectMeta, workloadv1alpha1.AnnotationRotateTokenAt, time.Now().Format(time.RFC3339))
		})
		n.awaitToken("edge-1", after)
		n.eventually("the earlier token is deleted", func() (bool, string) {
			err := n.Get(t.Context(), client.ObjectKeyFromObject(&token), &corev1.Secret{})
			return apierrors.IsNotFound(err), fmt.Sprint(err)
		})
		s.awaitRefused(string(token.Data["token"]), apierrors.IsUnauthorized)
		n.await("edge-1", "Deployed", "Deployed")
		data := map[string]string{"round": fmt.Sprint(round + 1)}
		change(n, config, func(c *corev1.ConfigMap) { c.Data = data })
		s.awaitCopy("config", data)
		requireReadySince(n, since)
	}
	n.eventually("there are Events", func() (bool, string) {
		all := strings.Join(n.events(target), "\n")
		return strings.Contains(all, "Normal TokenRotated: The syncer uses the token in Secret"), all
	})
	assert.NotNil(t, n.credentials("edge-1").NextRotation)

	require.NoError(t, n.Delete(t.Context(), target))
	n.awaitGone(target)
	requireNothingLeft(t, n, target.Status.Key)
	requireNothingLeft(t, s.there, target.Status.Key)
}

// awaitToken waits until the syncer of a target uses the newest token, and that is in this Secret.
func (n *tenant) awaitToken(name, secret string) {
	n.t.Helper()
	n.eventually("the syncer uses the token in Secret "+secret, func() (bool, string) {
		credentials := n.credentials(name)
		return credentials.Secret == secret && credentials.InUse == secret, fmt.Sprintf("%+v", credentials)
	})
}
