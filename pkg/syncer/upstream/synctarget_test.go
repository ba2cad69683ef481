package upstream

import (
	"context"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

func newTarget(t *testing.T, k *kcp) *SyncTarget {
	t.Helper()
	config, _, err := Config(k.kubeconfig(t, t.TempDir(), "{token: t-1}"))
	if err != nil {
		t.Fatal(err)
	}
	target, err := NewSyncTarget(config, "edge-1")
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestGet(t *testing.T) {
	k := newKcp(t)
	k.answer(http.StatusOK, `{"apiVersion":"workload.kcp.io/v1alpha1","kind":"SyncTarget","metadata":{"name":"edge-1","uid":"u-1"},
		"status":{"key":"k","syncer":{"clusterID":"c-1","nodes":1,"capacity":{"cpu":"4"}}}}`)
	got, err := newTarget(t, k).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "The UID is what it is read for.", types.UID("u-1"), got.UID)
	equal(t, "So is the report of an earlier leader.", "c-1", got.Status.Syncer.ClusterID)
	equal(t, "In the workspace, by name, and with nothing before it: no discovery.", []request{{
		Method: "GET", Path: "/clusters/abc/apis/workload.kcp.io/v1alpha1/synctargets/edge-1",
		Token: "Bearer t-1", Proto: "HTTP/1.1",
	}}, k.seen())
}

func TestPatchStatus(t *testing.T) {
	k := newKcp(t)
	if err := newTarget(t, k).PatchStatus(t.Context(), []byte(`[{"op":"test"}]`)); err != nil {
		t.Fatal(err)
	}
	equal(t, "One JSON patch of the subresource.", []request{{
		Method: "PATCH", Path: "/clusters/abc/apis/workload.kcp.io/v1alpha1/synctargets/edge-1/status",
		ContentType: "application/json-patch+json", Token: "Bearer t-1", Proto: "HTTP/1.1", Body: `[{"op":"test"}]`,
	}}, k.seen())
}

func TestErrorsKeepTheirKind(t *testing.T) {
	cases := map[string]struct {
		code int
		is   func(error) bool
	}{
		"Unauthorized":  {code: http.StatusUnauthorized, is: apierrors.IsUnauthorized},
		"Forbidden":     {code: http.StatusForbidden, is: apierrors.IsForbidden},
		"NotFound":      {code: http.StatusNotFound, is: apierrors.IsNotFound},
		"Unprocessable": {code: http.StatusUnprocessableEntity, is: apierrors.IsInvalid},
		"TooMany":       {code: http.StatusTooManyRequests, is: apierrors.IsTooManyRequests},
		"Unavailable":   {code: http.StatusServiceUnavailable, is: apierrors.IsServiceUnavailable},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			k := newKcp(t)
			k.answer(tc.code, "")
			target := newTarget(t, k)
			if err := target.PatchStatus(t.Context(), []byte(`[]`)); !tc.is(err) {
				t.Errorf("PatchStatus: want an error that can be told apart, got %v", err)
			}
			if _, err := target.Get(t.Context()); !tc.is(err) {
				t.Errorf("Get: want an error that can be told apart, got %v", err)
			}
			equal(t, "The caller decides when to try again.", 2, len(k.seen()))
		})
	}
}

func TestDeadlineIsKept(t *testing.T) {
	k := newKcp(t)
	target := newTarget(t, k)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := target.PatchStatus(ctx, []byte(`[]`)); err == nil {
		t.Error("want an error after the deadline")
	}
	equal(t, "Nothing is sent after it.", 0, len(k.seen()))
}

// TestEveryRequestEnds: also that of a caller who sets no deadline, on a connection that died in silence.
func TestEveryRequestEnds(t *testing.T) {
	target := newTarget(t, newKcp(t))
	if client, ok := target.upstream.(*rest.RESTClient); !ok || client.Client.Timeout != answerTime {
		t.Errorf("a request of %T has no bound", target.upstream)
	}
}
