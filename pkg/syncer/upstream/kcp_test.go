package upstream

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kcp plays the server: it accepts one token, keeps what it is asked, and answers with one body and code. It
// speaks TLS, since clientcmd ignores the credentials for a server without.
type kcp struct {
	*httptest.Server

	mu       sync.Mutex
	token    string
	code     int
	body     string
	requests []request
}

type request struct {
	Method, Path, ContentType, Token, Proto string
	Body                                    string
}

func newKcp(t *testing.T) *kcp {
	t.Helper()
	k := &kcp{token: "t-1", code: http.StatusOK, body: `{}`}
	k.Server = httptest.NewTLSServer(http.HandlerFunc(k.serve))
	t.Cleanup(k.Close)
	return k
}

func (k *kcp) serve(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	k.requests = append(k.requests, request{
		Method: r.Method, Path: r.URL.Path, ContentType: r.Header.Get("Content-Type"),
		Token: r.Header.Get("Authorization"), Proto: r.Proto, Body: string(body),
	})
	code, answer := k.code, k.body
	if r.Header.Get("Authorization") != "Bearer "+k.token {
		code, answer = http.StatusUnauthorized, ""
	}
	if answer == "" {
		answer = fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","code":%d}`, code)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(answer))
}

// accept changes the token that is accepted from now on.
func (k *kcp) accept(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.token = token
}

func (k *kcp) answer(code int, body string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.code, k.body = code, body
}

// seen returns what was asked so far.
func (k *kcp) seen() []request {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.requests)
}

// kubeconfig writes one into dir, with the user given as YAML.
func (k *kcp) kubeconfig(t *testing.T, dir, user string) string {
	t.Helper()
	path := filepath.Join(dir, "kubeconfig")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.Certificate().Raw})
	write(t, path, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: kcp, cluster: {server: "%s/clusters/abc", certificate-authority-data: %s}}]
users: [{name: syncer, user: %s}]
contexts: [{name: kcp, context: {cluster: kcp, user: syncer}}]
current-context: kcp
`, k.URL, base64.StdEncoding.EncodeToString(ca), user))
	return path
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func equal[T any](t *testing.T, reason string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n-want, +got:\n%s", reason, diff)
	}
}
