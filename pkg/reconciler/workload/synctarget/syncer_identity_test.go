package synctarget

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
)

func TestTokensCheck(t *testing.T) {
	type look struct{ uid, url, ca, token string }
	base := look{"uid", "https://kcp", "ca", "token"}
	tests := map[string]struct {
		reason string
		second look
		want   int
	}{
		"the same":           {"What was seen to work is not asked again.", base, 1},
		"a rotated token":    {"", look{"uid", "https://kcp", "ca", "other"}, 2},
		"another URL":        {"", look{"uid", "https://other", "ca", "token"}, 2},
		"another CA":         {"", look{"uid", "https://kcp", "other", "token"}, 2},
		"another target":     {"", look{"other", "https://kcp", "ca", "token"}, 2},
		"moved boundaries":   {"No two inputs look the same.", look{"uid", "https://kcp", "cat", "oken"}, 2},
		"a recreated target": {"", look{"uid-2", "https://kcp", "ca", "token"}, 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := 0
			tokens := newTokens()
			tokens.get = func(context.Context, string, []byte, string, []byte) error { got++; return nil }
			for _, l := range []look{base, tc.second} {
				if err := tokens.check(t.Context(), types.UID(l.uid), l.url, []byte(l.ca), testName, []byte(l.token)); err != nil {
					t.Fatal(err)
				}
			}
			if got != tc.want {
				t.Errorf("%s\n%d requests, want %d", tc.reason, got, tc.want)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		got := 0
		tokens := newTokens()
		tokens.get = func(context.Context, string, []byte, string, []byte) error { got++; return errInjected }
		for range 2 {
			if err := tokens.check(t.Context(), "uid", "u", nil, testName, nil); err == nil {
				t.Error("no error")
			}
		}
		if got != 2 {
			t.Errorf("%d requests: a refusal is not remembered", got)
		}
	})
	t.Run("forgotten", func(t *testing.T) {
		tokens := newTokens()
		tokens.proven["uid"] = [32]byte{}
		tokens.forget("uid")
		if len(tokens.proven) != 0 {
			t.Error("a target that is gone is remembered")
		}
	})
}

// TestGetWithToken asks a server of its own, as the syncer will.
func TestGetWithToken(t *testing.T) {
	var asked, bearer string
	code := http.StatusOK
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, bearer = r.Method+" "+r.URL.Path, r.Header.Get("Authorization")
		w.WriteHeader(code)
	}))
	defer api.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	get := func() error {
		return getWithToken(t.Context(), api.URL+"/clusters/"+testCluster, ca, testName, []byte("token"))
	}
	if err := get(); err != nil {
		t.Error(err)
	}
	if want := "GET /clusters/" + testCluster + "/apis/workload.kcp.io/v1alpha1/synctargets/edge-1"; asked != want || bearer != "Bearer token" {
		t.Errorf("asked %q as %q, want %q", asked, bearer, want)
	}
	code = http.StatusUnauthorized
	if err := get(); !apierrors.IsUnauthorized(err) {
		t.Errorf("401 is %v", err)
	}
	code = http.StatusForbidden
	if err := get(); !apierrors.IsForbidden(err) {
		t.Errorf("403 is %v", err)
	}
	if err := getWithToken(t.Context(), api.URL, []byte("no PEM"), testName, []byte("token")); err == nil {
		t.Error("verified by a CA that is none")
	}
}

// TestIdentity: the syncer gets the token of its own ServiceAccount, and kcp's token appears nowhere else.
func TestIdentity(t *testing.T) {
	w := usual(t)
	w.kcp.token = canary
	w.ready()
	var credentials corev1.Secret
	if err := w.there.raw.Get(t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: "kcp"}, &credentials); err != nil {
		t.Fatal(err)
	}
	if w.installedToken() != canary {
		t.Error("the syncer's credentials do not hold its token")
	}
	if !strings.Contains(string(credentials.Data["kubeconfig"]), "https://kcp.example.com/clusters/"+testCluster) {
		t.Errorf("the syncer's kubeconfig does not lead to its workspace: %s", credentials.Data["kubeconfig"])
	}
	if status := fmt.Sprintf("%+v", w.target().Status); strings.Contains(status, canary) {
		t.Errorf("the token is in the status: %s", status)
	}
}

func TestTokenThatIsIssuedLate(t *testing.T) {
	w := usual(t)
	w.kcp.token = ""
	w.settle()
	if len(w.there.writes) != 0 || w.clusters.gets != 0 {
		t.Error("the physical cluster was asked before there is a token")
	}
	w.kcp.token = "late"
	if err := w.kcp.issue(t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: agent.TokenSecretName}); err != nil {
		t.Fatal(err)
	}
	w.ready()
}

// serverKubeconfig leads to a server of a test.
func serverKubeconfig(api *httptest.Server) []byte {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	return []byte(strings.Replace(string(testKubeconfig), `{server: "https://edge-1.example.com:6443"}`,
		`{server: "`+api.URL+`", certificate-authority-data: "`+base64.StdEncoding.EncodeToString(ca)+`"}`, 1))
}
