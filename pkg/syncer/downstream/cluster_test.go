package downstream

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// newCluster reads a server that answers only this path, with this code and body.
func newCluster(t *testing.T, path string, code int, body string) *Cluster {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			t.Errorf("want no request but %s, got %s", path, r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	cluster, err := NewCluster(&rest.Config{Host: server.URL}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

func TestID(t *testing.T) {
	cases := map[string]struct {
		reason string
		code   int
		body   string
		want   string
		is     func(error) bool
	}{
		"UID": {
			reason: "The UID of kube-system is the cluster's.",
			code:   http.StatusOK, body: `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"c-1"}}`,
			want: "c-1",
		},
		"Forbidden": {
			reason: "The server's refusal can be told apart.",
			code:   http.StatusForbidden, body: `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`,
			is: apierrors.IsForbidden,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := newCluster(t, "/api/v1/namespaces/kube-system", tc.code, tc.body).ID(t.Context())
			if got != tc.want || (tc.is == nil && err != nil) || (tc.is != nil && !tc.is(err)) {
				t.Errorf("\n%s\nID(): want %q, got %q and error %v", tc.reason, tc.want, got, err)
			}
		})
	}
}

func TestKubernetesVersion(t *testing.T) {
	cases := map[string]struct {
		reason string
		code   int
		body   string
		want   string
		err    string
	}{
		"Version":    {reason: "As kubectl version shows it.", code: http.StatusOK, body: `{"major":"1","gitVersion":"v1.34.4"}`, want: "v1.34.4"},
		"NotJSON":    {reason: "A proxy's page is no version.", code: http.StatusOK, body: `<html>`, err: "parsing /version"},
		"NotAllowed": {reason: "A refusal is no version.", code: http.StatusUnauthorized, body: `{}`, err: "reading /version"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := newCluster(t, "/version", tc.code, tc.body).KubernetesVersion(t.Context())
			if got != tc.want || (err != nil) != (tc.err != "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("\n%s\nKubernetesVersion(): want %q and an error with %q, got %q and %v", tc.reason, tc.want, tc.err, got, err)
			}
		})
	}
}

// readerFunc is a client.Reader that lists.
type readerFunc func(ctx context.Context, list client.ObjectList) error

func (readerFunc) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("only lists are expected")
}

func (f readerFunc) List(ctx context.Context, list client.ObjectList, _ ...client.ListOption) error {
	return f(ctx, list)
}

func TestNodes(t *testing.T) {
	want := []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n-1"}}}
	c := &Cluster{nodes: readerFunc(func(_ context.Context, list client.ObjectList) error {
		list.(*corev1.NodeList).Items = want
		return nil
	})}
	got, err := c.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Nodes(): -want, +got:\n%s", diff)
	}
}

func TestNodesDoNotHoldUpTheHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Cluster{nodes: readerFunc(func(ctx context.Context, _ client.ObjectList) error {
			<-ctx.Done() // a cache that never syncs
			return ctx.Err()
		})}
		started := time.Now()
		if _, err := c.Nodes(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("want a cache that does not sync to be an error, got %v", err)
		}
		if took := time.Since(started); took != nodesTimeout {
			t.Errorf("want Nodes() to give up after %s, it took %s", nodesTimeout, took)
		}
	})
}

func TestConfigOutsideACluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := Config(""); !errors.Is(err, rest.ErrNotInCluster) {
		t.Errorf("want a plain error outside a pod, got %v", err)
	}
	if _, err := Config("/does/not/exist"); err == nil {
		t.Error("want an error for a kubeconfig that is missing")
	}
}
