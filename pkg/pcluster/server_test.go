package pcluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
)

const (
	clusterUID = "3f0c2d5e-2b8f-4a51-9f8a-6d0f1f7a0001"
	// canary is a secret that must never be seen in an error.
	canary = "c4n4ry-s3cret"
)

// fakeServer is an API server on loopback, with HTTP/2 and TLS. Tests set what it answers; by default it is a healthy
// cluster that has nothing but kube-system.
type fakeServer struct {
	*httptest.Server
	mu       sync.Mutex
	handler  http.HandlerFunc
	requests []string
	open     map[net.Conn]struct{}
}

func newServer(t *testing.T, handler http.HandlerFunc) *fakeServer {
	t.Helper()
	s := &fakeServer{handler: handler, open: map[net.Conn]struct{}{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch state {
		case http.StateNew:
			s.open[conn] = struct{}{}
		case http.StateClosed, http.StateHijacked:
			delete(s.open, conn)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	handler := s.handler
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if handler == nil {
		handler = healthy
	}
	handler(w, r)
}

func (s *fakeServer) answer(handler http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = handler
}

func (s *fakeServer) requestCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func (s *fakeServer) openConns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (s *fakeServer) host() string { return strings.TrimPrefix(s.URL, "https://") }

// kubeconfig leads to the server with this token.
func (s *fakeServer) kubeconfig(token string) []byte {
	return tokenKubeconfig(s.URL, s.Certificate().Raw, token)
}

func tokenKubeconfig(url string, ca []byte, token string) []byte {
	cluster := "    server: " + url + "\n"
	if ca != nil {
		cluster += "    certificate-authority-data: " + base64.StdEncoding.EncodeToString(certPEM(ca)) + "\n"
	}
	return []byte(`apiVersion: v1
kind: Config
clusters:
- name: c
  cluster:
` + cluster + `users:
- name: u
  user: {token: ` + token + `}
contexts:
- name: x
  context: {cluster: c, user: u}
current-context: x
`)
}

func healthy(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/api/v1/namespaces/kube-system" {
		writeJSON(w, http.StatusOK, map[string]any{
			"apiVersion": "v1", "kind": "Namespace",
			"metadata": map[string]any{"name": "kube-system", "uid": clusterUID},
		})
		return
	}
	refuse(http.StatusNotFound, "NotFound", "not here")(w, r)
}

// another is a cluster other than the healthy one.
func another(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"uid": "other"}})
}

// refuse answers with a Status, as an API server does.
func refuse(code int, reason, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, code, map[string]any{
			"apiVersion": "v1", "kind": "Status", "status": "Failure",
			"code": code, "reason": reason, "message": message,
		})
	}
}

// except answers kube-system like a healthy cluster, and everything else by handler.
func except(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/namespaces/kube-system" {
			healthy(w, r)
			return
		}
		handler(w, r)
	}
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// startClusters returns running Clusters that may dial loopback, and what OnChange was called with.
func startClusters(t *testing.T, clock clock.WithTicker, dial dialFunc) (*Clusters, <-chan ID) {
	t.Helper()
	changes := make(chan ID, 1000)
	clusters := New(Options{Allow: loopback(), Clock: clock, OnChange: func(id ID) { changes <- id }})
	if dial != nil {
		clusters.dial = dial
	}
	clusters.queue = &recordingQueue{TypedDelayingInterface: clusters.queue}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- clusters.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start() = %v", err)
		}
	})
	return clusters, changes
}

// recordingQueue records the delays that it was asked for.
type recordingQueue struct {
	workqueue.TypedDelayingInterface[ID]
	mu     sync.Mutex
	delays []time.Duration
}

func (q *recordingQueue) AddAfter(id ID, delay time.Duration) {
	q.TypedDelayingInterface.AddAfter(id, delay)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.delays = append(q.delays, delay)
}

// scheduled returns the delays before the probes so far.
func scheduled(clusters *Clusters) []time.Duration {
	q := clusters.queue.(*recordingQueue)
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.delays)
}

func testID(name string) ID {
	return ID{ClusterName: "1x2y3z", Name: name, UID: name + "-uid"}
}

// patience is how long a test waits for something that happens in another goroutine at once.
const patience = 20 * time.Second

func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case got := <-c:
		return got
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// pair is a certificate and its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newCert makes a certificate from a template that is completed here; without an issuer it is a CA that signs itself.
func newCert(t *testing.T, template x509.Certificate, issuer *pair) *pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: "test"}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent := &pair{cert: &template, key: key}
	if issuer != nil {
		parent = issuer
	} else {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{cert: cert, key: key}
}

func (p *pair) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key}
}

func (p *pair) keyPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
