package upstream

import (
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestPatchLease(t *testing.T) {
	k := newKcp(t)
	config, _, err := Config(k.kubeconfig(t, t.TempDir(), "{token: t-1}"))
	if err != nil {
		t.Fatal(err)
	}
	lease, err := NewLease(config, "kcp-syncer-edge-1-k", "syncer")
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Patch(t.Context(), []byte(`[{"op":"test"}]`)); err != nil {
		t.Fatal(err)
	}
	equal(t, "One JSON patch, and nothing before it.", []request{{
		Method: "PATCH", Path: "/clusters/abc/apis/coordination.k8s.io/v1/namespaces/kcp-syncer-edge-1-k/leases/syncer",
		ContentType: "application/json-patch+json", Token: "Bearer t-1", Proto: "HTTP/1.1", Body: `[{"op":"test"}]`,
	}}, k.seen())
	for code, is := range map[int]func(error) bool{
		http.StatusUnauthorized: apierrors.IsUnauthorized, http.StatusForbidden: apierrors.IsForbidden,
		http.StatusNotFound: apierrors.IsNotFound, http.StatusUnprocessableEntity: apierrors.IsInvalid,
	} {
		k.answer(code, "")
		if err := lease.Patch(t.Context(), []byte(`[]`)); !is(err) {
			t.Errorf("Patch() = %v for %d", err, code)
		}
	}
}
