package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestNamespaceThatHangs: a webhook in the physical cluster answers nothing that concerns one Namespace. Another Namespace
// of the target is synced while all of that hangs, and the first when it hangs no longer.
func TestNamespaceThatHangs(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	target := n.register("edge-1")
	slow, quick := n.openShop(target, "slow"), n.openShop(target, "quick")
	var held, ended atomic.Int32
	release := make(chan struct{})
	slow.asks(func(ctx context.Context, _ string, _ *admissionv1.AdmissionResponse) {
		held.Add(1)
		defer ended.Add(1)
		select {
		case <-release:
		case <-ctx.Done():
		}
	})

	const many = 80 // are more than there are workers
	for i := range many {
		slow.create(slow.configMap(fmt.Sprintf("c-%d", i), map[string]string{"a": "1"}))
	}
	n.eventually("many applies hang", func() (bool, string) {
		return held.Load() >= 30, fmt.Sprint(held.Load())
	})
	for i := range 10 {
		name := fmt.Sprintf("c-%d", i)
		quick.create(quick.configMap(name, map[string]string{"a": "1"}))
		quick.awaitCopy(name, map[string]string{"a": "1"})
	}
	// A pass ends after 15 s, and with it those that began beside it: did they hold all workers, that would be most of them.
	assert.LessOrEqual(t, ended.Load(), int32(many/2), "applies that hung no longer when the other Namespace was synced")
	t.Logf("%d applies hung all the while", held.Load())

	close(release)
	want := map[string]map[string]string{}
	for i := range many {
		want[fmt.Sprintf("c-%d", i)] = map[string]string{"a": "1"}
	}
	slow.awaitExactly(want)
}

// TestSyncPastWebhook: what a webhook in the physical cluster does to one object is told on that one and holds up no other.
// A label that it sets stays.
func TestSyncPastWebhook(t *testing.T) {
	t.Parallel() // it waits most of its time
	n := newTenant(t)
	s := n.openShop(n.register("edge-1"), "shop")
	const label, value = "e2e.example.com/webhook", "was-here"
	// tellAfter is how many attempts fail before it is told, and later how far apart the webhook wants those of one object.
	const tellAfter, later = 3, 5 * time.Second
	hook := s.asks(func(ctx context.Context, name string, response *admissionv1.AdmissionResponse) {
		switch name {
		case "c-labelled":
			response.PatchType = ptr.To(admissionv1.PatchTypeJSONPatch)
			response.Patch = fmt.Appendf(nil, `[{"op":"add","path":"/metadata/labels/e2e.example.com~1webhook","value":%q}]`, value)
		case "c-denied":
			response.Allowed, response.Result = false, &metav1.Status{Code: http.StatusForbidden, Message: "no such thing in this cluster"}
		case "c-later":
			response.Allowed, response.Result = false, &metav1.Status{
				Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests, Message: "another day", Details: &metav1.StatusDetails{RetryAfterSeconds: int32(later.Seconds())},
			}
		case "c-hangs":
			<-ctx.Done()
		}
	})
	started := time.Now()
	names := []string{"c-hangs", "c-later", "c-denied", "c-labelled", "c-plain"}
	objects := map[string]*corev1.ConfigMap{}
	for _, name := range names {
		objects[name] = s.configMap(name, map[string]string{"a": "1"})
		s.create(objects[name])
	}
	s.awaitCopy("c-plain", map[string]string{"a": "1"})
	s.awaitReport(objects["c-denied"], "no such thing in this cluster")
	assert.Empty(t, objects["c-denied"].Finalizers, "there is no copy to hold it for")

	t.Log("a label of the webhook is neither taken for a difference nor taken away")
	s.awaitCopy("c-labelled", map[string]string{"a": "1"})
	change(n, objects["c-labelled"], func(c *corev1.ConfigMap) { c.Data = map[string]string{"a": "2"} })
	s.awaitCopy("c-labelled", map[string]string{"a": "2"})
	settled := time.Now()
	copied, err := s.copyOf("c-labelled")
	require.NoError(t, err)
	assert.Equal(t, value, copied.Labels[label])

	t.Log("what hangs is told, while others are answered")
	changes := 1
	n.eventually("c-hangs says so", func() (bool, string) {
		changes++
		data := map[string]string{"a": fmt.Sprint(changes)}
		change(n, objects["c-plain"], func(c *corev1.ConfigMap) { c.Data = data })
		s.awaitCopy("c-plain", data)
		require.NoError(t, n.Get(t.Context(), client.ObjectKeyFromObject(objects["c-hangs"]), objects["c-hangs"]))
		report := objects["c-hangs"].Annotations[workloadv1alpha1.SyncAnnotation(s.target.Status.Key)]
		return containsAll(report, []string{"a webhook there may hang"}), report
	})
	t.Logf("told after %s; %d changes of another object arrived meanwhile", time.Since(started).Round(time.Second), changes)

	down, _ := s.writes(settled)
	assert.Empty(t, about("configmaps c-labelled", down), "writes of what was as it should be")

	t.Log("each was tried no more often than it should be, and is, when it is let in")
	// By a backoff that doubles from 0.1 s up to a minute; without it there would be hundreds.
	assert.LessOrEqual(t, len(hook.asked("c-denied")), 20, "attempts of what was denied")
	attempts := hook.asked("c-later")
	assert.Greater(t, len(attempts), tellAfter, "attempts of what was to come later")
	for i := range len(attempts) - 1 {
		assert.GreaterOrEqual(t, attempts[i+1].Sub(attempts[i]), later, "from attempt %d to the next", i)
	}
	s.awaitReport(objects["c-later"], "not this one", "another day")
	hook.remove()
	want := map[string]map[string]string{}
	for _, name := range names {
		change(n, objects[name], func(c *corev1.ConfigMap) { c.Data = map[string]string{"a": "last"} })
		want[name] = map[string]string{"a": "last"}
	}
	s.awaitExactly(want)
	for _, name := range names {
		s.awaitReport(objects[name], `"ready":"Current"`)
	}
}

// hook is a webhook of the physical cluster.
type hook struct {
	// remove takes it out of the physical cluster.
	remove func()

	lock  sync.Mutex
	names map[string][]time.Time
}

// asked is when it was asked about an object.
func (h *hook) asked(name string) []time.Time {
	h.lock.Lock()
	defer h.lock.Unlock()
	return slices.Clone(h.names[name])
}

// asks has the physical cluster ask a hook about every new ConfigMap of the counterpart whose name begins with "c-". What is
// answered is that it may, unless answer says otherwise; ctx ends when the cluster waits no longer.
func (s *shop) asks(answer func(ctx context.Context, name string, response *admissionv1.AdmissionResponse)) *hook {
	s.t.Helper()
	h := &hook{names: map[string][]time.Time{}}
	listener, err := net.Listen("tcp", env.HostAddress()+":0")
	require.NoError(s.t, err)
	chain, key, err := cert.GenerateSelfSignedCertKey(env.HostAddress(), nil, nil)
	require.NoError(s.t, err)
	pair, err := tls.X509KeyPair(chain, key)
	require.NoError(s.t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if !assert.NoError(s.t, json.NewDecoder(r.Body).Decode(&review)) {
			return
		}
		h.lock.Lock()
		h.names[review.Request.Name] = append(h.names[review.Request.Name], time.Now())
		h.lock.Unlock()
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		answer(r.Context(), review.Request.Name, review.Response)
		_ = json.NewEncoder(w).Encode(review)
	}))
	_ = server.Listener.Close()
	server.Listener, server.TLS = listener, &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	s.t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	config := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "asks-" + s.counterpart},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "asks.example.com",
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
	h.remove = func() { _ = s.there.Delete(context.Background(), config) }
	s.t.Cleanup(h.remove)
	require.NoError(s.t, s.there.Create(s.t.Context(), config))
	return h
}
