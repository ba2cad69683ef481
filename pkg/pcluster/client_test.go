package pcluster

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// met returns the client of a server that was met, and its Clusters.
func met(t *testing.T, server *fakeServer) (client.Client, *Clusters) {
	t.Helper()
	clusters, _ := startClusters(t, nil, nil)
	cluster, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig(canary))
	if err != nil {
		t.Fatalf("Get() = %v", err)
	}
	return newClient(t, cluster), clusters
}

func newClient(t testing.TB, cluster *Cluster) client.Client {
	t.Helper()
	c, err := cluster.NewClient()
	if err != nil {
		t.Fatalf("NewClient() = %v", err)
	}
	return c
}

func deployment() *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "d"}}
}

// Each kind of call, and our words for it. The server refuses them all, and says the secret when it does.
func TestClientCalls(t *testing.T) {
	ctx := context.Background()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("apps/v1")
	u.SetKind("Deployment")
	u.SetNamespace("n")
	u.SetName("d")

	for name, test := range map[string]struct {
		call        func(c client.Client) error
		path, words string
	}{
		"get": {
			func(c client.Client) error { return c.Get(ctx, client.ObjectKeyFromObject(deployment()), deployment()) },
			"GET /apis/apps/v1/namespaces/n/deployments/d", `get deployments.apps "d" in namespace "n"`,
		},
		"get metadata": {
			func(c client.Client) error {
				partial := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}}
				return c.Get(ctx, client.ObjectKey{Namespace: "n", Name: "s"}, partial)
			},
			"GET /api/v1/namespaces/n/secrets/s", `get secrets "s" in namespace "n"`,
		},
		"list": {
			func(c client.Client) error { return c.List(ctx, &corev1.PodList{}, client.InNamespace("n")) },
			"GET /api/v1/namespaces/n/pods", `list pods in namespace "n"`,
		},
		"list namespaces": {
			func(c client.Client) error { return c.List(ctx, &corev1.NamespaceList{}) },
			"GET /api/v1/namespaces", `list namespaces`,
		},
		"create": {
			func(c client.Client) error {
				return c.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r"}})
			},
			"POST /apis/rbac.authorization.k8s.io/v1/clusterroles", `create clusterroles.rbac.authorization.k8s.io "r"`,
		},
		"update": {
			func(c client.Client) error { return c.Update(ctx, deployment()) },
			"PUT /apis/apps/v1/namespaces/n/deployments/d", `update deployments.apps "d" in namespace "n"`,
		},
		"patch": {
			func(c client.Client) error {
				return c.Patch(ctx, deployment(), client.RawPatch("application/merge-patch+json", []byte("{}")))
			},
			"PATCH /apis/apps/v1/namespaces/n/deployments/d", `patch deployments.apps "d" in namespace "n"`,
		},
		"apply": {
			func(c client.Client) error {
				return c.Apply(ctx, corev1ac.ServiceAccount("sa", "n"), client.FieldOwner("o"), client.ForceOwnership)
			},
			"PATCH /api/v1/namespaces/n/serviceaccounts/sa", `patch serviceaccounts "sa" in namespace "n"`,
		},
		"apply unstructured": {
			func(c client.Client) error {
				return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("o"))
			},
			"PATCH /apis/apps/v1/namespaces/n/deployments/d", `patch deployments.apps "d" in namespace "n"`,
		},
		"delete": {
			func(c client.Client) error {
				return c.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
			},
			"DELETE /api/v1/namespaces/n", `delete namespaces "n"`,
		},
		"delete all": {
			func(c client.Client) error { return c.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace("n")) },
			"DELETE /api/v1/namespaces/n/pods", `deletecollection pods in namespace "n"`,
		},
		"update status": {
			func(c client.Client) error { return c.Status().Update(ctx, deployment()) },
			"PUT /apis/apps/v1/namespaces/n/deployments/d/status", `update deployments/status.apps "d" in namespace "n"`,
		},
		"patch status": {
			func(c client.Client) error {
				return c.Status().Patch(ctx, deployment(), client.RawPatch("application/merge-patch+json", []byte("{}")))
			},
			"PATCH /apis/apps/v1/namespaces/n/deployments/d/status", `patch deployments/status.apps "d" in namespace "n"`,
		},
		"create token": {
			func(c client.Client) error {
				sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "sa"}}
				return c.SubResource("token").Create(ctx, sa, &authenticationv1.TokenRequest{})
			},
			"POST /api/v1/namespaces/n/serviceaccounts/sa/token", `create serviceaccounts/token "sa" in namespace "n"`,
		},
		"get subresource": {
			func(c client.Client) error { return c.SubResource("status").Get(ctx, deployment(), deployment()) },
			"GET /apis/apps/v1/namespaces/n/deployments/d/status", `get deployments/status.apps "d" in namespace "n"`,
		},
		"apply subresource": {
			func(c client.Client) error {
				return c.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("o"))
			},
			"PATCH /apis/apps/v1/namespaces/n/deployments/d/status", `patch deployments/status.apps "d" in namespace "n"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, except(refuse(http.StatusForbidden, "Forbidden", "your token is "+canary)))
			c, _ := met(t, server)
			err := test.call(c)
			want := "the kubeconfig's user may not " + test.words + " (403 Forbidden)"
			if !strings.Contains(test.words, "secrets") {
				want += "; the cluster says: your token is [redacted]"
			}
			if !apierrors.IsForbidden(err) {
				t.Fatalf("it returned %v, want Forbidden", err)
			}
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff([]string{"GET /api/v1/namespaces/kube-system", test.path}, server.requests); diff != "" {
				t.Errorf("requests, -want +got (no discovery, no retry):\n%s", diff)
			}
		})
	}
}

// Our own mistakes are not blamed on the cluster, and nothing is sent.
func TestClientOwnMistakes(t *testing.T) {
	ctx := context.Background()
	server := newServer(t, nil)
	c, clusters := met(t, server)
	nameless := deployment()
	nameless.Name = ""
	homeless := deployment()
	homeless.Namespace = ""
	ended, cancel := context.WithCancel(ctx)
	cancel()

	for name, err := range map[string]error{
		"no name":      c.Get(ctx, client.ObjectKey{Namespace: "n"}, nameless),
		"no namespace": c.Delete(ctx, homeless),
		"ended":        c.Get(ended, client.ObjectKey{Namespace: "n", Name: "d"}, deployment()),
	} {
		if err == nil || errors.Is(err, ErrUnreachable) || isAboutCluster(err) {
			t.Errorf("%s: %v, want an error that does not judge the cluster", name, err)
		}
	}
	if err := c.Get(ctx, client.ObjectKey{Namespace: "n", Name: "b"}, &policyv1.PodDisruptionBudget{}); !meta.IsNoMatchError(err) {
		t.Errorf("a kind that the mapper lacks: %v, want a no-match error", err)
	}
	if got := server.requestCount(); got != 1 {
		t.Errorf("%d requests, want only the first contact", got)
	}
	if _, err := clusters.Get(ctx, testID("a"), server.kubeconfig(canary)); err != nil {
		t.Errorf("Get() = %v, want the cluster alive", err)
	}
}

// A call that finds the cluster gone marks it dead: what follows in the same pass, and the next pass, fail at once.
func TestClientMarksDead(t *testing.T) {
	ctx := context.Background()
	for name, test := range map[string]struct {
		reason string
		answer http.HandlerFunc
		dead   bool
	}{
		"unavailable":  {"the API server is not there", refuse(http.StatusServiceUnavailable, "ServiceUnavailable", ""), true},
		"unauthorized": {"no other call would be accepted", refuse(http.StatusUnauthorized, "Unauthorized", ""), true},
		"web page":     {"somebody else answers", http.NotFound, true},
		"forbidden":    {"another call may be allowed", refuse(http.StatusForbidden, "Forbidden", ""), false},
		"not found":    {"an answer like any other", refuse(http.StatusNotFound, "NotFound", ""), false},
		"error":        {"it may be this call alone", refuse(http.StatusInternalServerError, "InternalError", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, except(test.answer))
			c, clusters := met(t, server)
			first := c.Get(ctx, client.ObjectKey{Namespace: "n", Name: "d"}, deployment())
			if first == nil {
				t.Fatal("the call succeeded")
			}
			before := server.requestCount()
			_, err := clusters.Get(ctx, testID("a"), server.kubeconfig(canary))
			second := c.Get(ctx, client.ObjectKey{Namespace: "n", Name: "d"}, deployment())
			if test.dead {
				if diff := cmp.Diff([]string{first.Error(), first.Error()}, []string{errorText(err), errorText(second)}); diff != "" {
					t.Errorf("%s: what follows, -want +got:\n%s", test.reason, diff)
				}
				if got := server.requestCount() - before; got != 0 {
					t.Errorf("%s: %d more requests", test.reason, got)
				}
				return
			}
			if err != nil || server.requestCount() == before {
				t.Errorf("%s: Get() = %v, want the cluster alive", test.reason, err)
			}
		})
	}
}

// A web page in place of an answer is no success: not even for a delete, whose answer nobody reads.
func TestClientDeleteNeedsAnAnswer(t *testing.T) {
	server := newServer(t, except(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("Welcome!"))
	}))
	c, _ := met(t, server)
	if err := c.Delete(context.Background(), deployment()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Delete() = %v, want ErrUnreachable", err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What is written arrives, and what is read comes back.
func TestClientRoundTrip(t *testing.T) {
	server := newServer(t, except(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, "not JSON", http.StatusBadRequest)
			return
		}
		writeJSON(w, http.StatusCreated, body)
	}))
	c, _ := met(t, server)
	d := deployment()
	d.Labels = map[string]string{"a": "b"}
	if err := c.Create(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "b"}, d.Labels); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
