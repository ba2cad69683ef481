package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"
)

// TestNamespaceThatHangs: a webhook in the physical cluster answers nothing that concerns one Namespace. Another Namespace
// of the target is synced while all of that hangs, and the first when it hangs no longer.
func TestNamespaceThatHangs(t *testing.T) {
	n := newTenant(t)
	target := n.register("edge-1")
	slow, quick := n.openShop(target, "slow"), n.openShop(target, "quick")
	hook := slow.hangs()

	const many = 80 // are more than there are workers
	for i := range many {
		slow.create(slow.configMap(fmt.Sprintf("c-%d", i), map[string]string{"a": "1"}))
	}
	n.eventually("many applies hang", func() (bool, string) {
		return hook.held.Load() >= 30, fmt.Sprint(hook.held.Load())
	})
	for i := range 10 {
		name := fmt.Sprintf("c-%d", i)
		quick.create(quick.configMap(name, map[string]string{"a": "1"}))
		quick.awaitCopy(name, map[string]string{"a": "1"})
	}
	assert.Zero(t, hook.ended.Load(), "applies that hung no longer when the other Namespace was synced: they hold no worker then")
	t.Logf("%d applies hung all the while", hook.held.Load())

	close(hook.release)
	want := map[string]map[string]string{}
	for i := range many {
		want[fmt.Sprintf("c-%d", i)] = map[string]string{"a": "1"}
	}
	slow.awaitExactly(want)
}

// hook is a webhook that answers when it is released.
type hook struct {
	held, ended atomic.Int32
	release     chan struct{}
}

// hangs has the physical cluster ask a hook about every ConfigMap of the counterpart.
func (s *shop) hangs() *hook {
	s.t.Helper()
	h := &hook{release: make(chan struct{})}
	listener, err := net.Listen("tcp", env.HostAddress()+":0")
	require.NoError(s.t, err)
	chain, key, err := cert.GenerateSelfSignedCertKey(env.HostAddress(), nil, nil)
	require.NoError(s.t, err)
	pair, err := tls.X509KeyPair(chain, key)
	require.NoError(s.t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.held.Add(1)
		var review admissionv1.AdmissionReview
		assert.NoError(s.t, json.NewDecoder(r.Body).Decode(&review))
		select {
		case <-h.release:
		case <-r.Context().Done():
		}
		h.ended.Add(1)
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		_ = json.NewEncoder(w).Encode(review)
	}))
	_ = server.Listener.Close()
	server.Listener, server.TLS = listener, &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	s.t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	name := "hangs-" + s.counterpart
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "hangs.example.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: ptr.To(server.URL), CABundle: chain,
			},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": s.counterpart}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
			TimeoutSeconds:          ptr.To[int32](30),
			MatchConditions:         []admissionregistrationv1.MatchCondition{{Name: "copies", Expression: "object.metadata.name.startsWith('c-')"}},
		}},
	}
	s.t.Cleanup(func() { _ = s.there.Delete(context.Background(), config) })
	require.NoError(s.t, s.there.Create(s.t.Context(), config))
	return h
}
