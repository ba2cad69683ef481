package pcluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// get makes the first contact by this kubeconfig and returns its error.
func get(t *testing.T, kubeconfig []byte, dial dialFunc) error {
	t.Helper()
	clusters, _ := startClusters(t, nil, dial)
	_, err := clusters.Get(context.Background(), testID("a"), kubeconfig)
	return err
}

func failing(err error) dialFunc {
	return func(context.Context, string, string, controlFunc) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
}

// What can be wrong before a server answers, by real servers where that is possible.
func TestUnreachable(t *testing.T) {
	ca := newCert(t, x509.Certificate{}, nil)
	names := x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	tlsServer := func(t *testing.T, config *tls.Config) string {
		t.Helper()
		s := httptest.NewUnstartedServer(http.HandlerFunc(healthy))
		s.TLS = config
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	plain := httptest.NewServer(http.HandlerFunc(healthy))
	t.Cleanup(plain.Close)

	for name, test := range map[string]struct {
		reason string
		url    func(t *testing.T) string
		dial   dialFunc
		want   string // %s is the host
	}{
		"unknown authority": {
			reason: "the certificate is signed by somebody else",
			url: func(t *testing.T) string {
				return tlsServer(t, &tls.Config{Certificates: []tls.Certificate{newCert(t, names, newCert(t, x509.Certificate{}, nil)).tls()}})
			},
			want: "the certificate of the server at %q is not signed by the kubeconfig's certificate authority",
		},
		"another name": {
			reason: "as when the API server is reached through a tunnel",
			url: func(t *testing.T) string {
				cert := newCert(t, x509.Certificate{DNSNames: []string{canary + ".example.com"}}, ca)
				return tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert.tls()}})
			},
			want: "the certificate of the server at %q is for another name; tls-server-name can say which",
		},
		"expired": {
			url: func(t *testing.T) string {
				expired := names
				expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
				return tlsServer(t, &tls.Config{Certificates: []tls.Certificate{newCert(t, expired, ca).tls()}})
			},
			want: "the certificate of the server at %q has expired or is not valid yet",
		},
		"not for servers": {
			url: func(t *testing.T) string {
				client := names
				client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
				return tlsServer(t, &tls.Config{Certificates: []tls.Certificate{newCert(t, client, ca).tls()}})
			},
			want: "the certificate of the server at %q cannot be verified",
		},
		"client certificate wanted": {
			reason: "the server ends the handshake with an alert",
			url: func(t *testing.T) string {
				return tlsServer(t, &tls.Config{
					Certificates: []tls.Certificate{newCert(t, names, ca).tls()}, ClientAuth: tls.RequireAnyClientCert,
				})
			},
			want: "the server at %q refuses the TLS handshake; it may not accept the client certificate",
		},
		"plain HTTP": {
			url:  func(*testing.T) string { return strings.Replace(plain.URL, "http:", "https:", 1) },
			want: "the server at %q does not speak TLS",
		},
		"refused": {
			reason: "nobody listens",
			url: func(t *testing.T) string {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = listener.Close() }()
				return "https://" + listener.Addr().String()
			},
			want: "the server at %q refuses connections",
		},
		"closed": {
			reason: "accepted and closed at once",
			url: func(t *testing.T) string {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = listener.Close() })
				go func() {
					for {
						conn, err := listener.Accept()
						if err != nil {
							return
						}
						_ = conn.Close()
					}
				}()
				return "https://" + listener.Addr().String()
			},
			want: "the server at %q closes the connection",
		},
		"unknown host":  {dial: failing(&net.DNSError{Name: "h", IsNotFound: true}), want: `the host name "edge.example.com" is not known to DNS`},
		"DNS times out": {dial: failing(&net.DNSError{Name: "h", IsTimeout: true}), want: `the host name "edge.example.com" cannot be looked up in DNS`},
		"connect in vain": {
			reason: "packets are dropped",
			dial:   failing(os.ErrDeadlineExceeded), want: "the server at %q does not answer in time",
		},
		"no route":      {dial: failing(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), want: "there is no route to the server at %q"},
		"anything else": {dial: failing(errors.New(canary)), want: "the server at %q does not answer like a Kubernetes API server"},
	} {
		t.Run(name, func(t *testing.T) {
			url := "https://edge.example.com:6443"
			if test.url != nil {
				url = test.url(t)
			}
			err := get(t, tokenKubeconfig(url, ca.cert.Raw, "t"), test.dial)
			if !errors.Is(err, ErrUnreachable) {
				t.Fatalf("%s: Get() = %v, want ErrUnreachable", test.reason, err)
			}
			want := strings.ReplaceAll(test.want, "%q", fmt.Sprintf("%q", strings.TrimPrefix(url, "https://")))
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Errorf("%s: -want +got:\n%s", test.reason, diff)
			}
		})
	}
}

// What a server may answer that is no answer of an API server. Nothing of it may be seen.
func TestStrangeAnswers(t *testing.T) {
	var followed atomic.Bool
	elsewhere := newServer(t, func(http.ResponseWriter, *http.Request) { followed.Store(true) })
	text := func(code int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	notKubernetes := "the server at %q does not answer like a Kubernetes API server"
	redirect := "the server at %q answers with a redirect, which this service does not follow"

	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"redirect":           {http.RedirectHandler(elsewhere.URL+"/"+canary, http.StatusFound).ServeHTTP, redirect},
		"permanent redirect": {http.RedirectHandler(elsewhere.URL+"/"+canary, http.StatusPermanentRedirect).ServeHTTP, redirect},
		"not modified":       {text(http.StatusNotModified, "", ""), redirect},
		"web page":           {text(http.StatusOK, "text/html", canary), notKubernetes},
		"no content type":    {text(http.StatusOK, "", canary), notKubernetes},
		"web page 404":       {text(http.StatusNotFound, "text/plain", canary), notKubernetes},
		"web page 500":       {text(http.StatusInternalServerError, "text/plain", canary), notKubernetes},
		"JSON 404":           {text(http.StatusNotFound, "application/json", `{"error":"`+canary+`"}`), notKubernetes},
		"not JSON":           {text(http.StatusOK, "application/json", canary), notKubernetes},
		"JSON scalar":        {text(http.StatusOK, "application/json", `"`+canary+`"`), notKubernetes},
		"unknown kind":       {text(http.StatusOK, "application/json", `{"kind":"`+canary+`","apiVersion":"v1"}`), notKubernetes},
		"wrong type":         {text(http.StatusOK, "application/json", `{"kind":"Namespace","apiVersion":"v1","metadata":"`+canary+`"}`), notKubernetes},
		"no UID":             {text(http.StatusOK, "application/json", `{"kind":"Namespace","apiVersion":"v1"}`), notKubernetes},
		"strange UID":        {text(http.StatusOK, "application/json", `{"kind":"Namespace","apiVersion":"v1","metadata":{"uid":"a b"}}`), notKubernetes},
		"long UID":           {text(http.StatusOK, "application/json", `{"kind":"Namespace","apiVersion":"v1","metadata":{"uid":"`+strings.Repeat("a", 65)+`"}}`), notKubernetes},
		"bad gateway":        {text(http.StatusBadGateway, "text/html", canary), "the API server at %q is not available (502 Bad Gateway)"},
		"unavailable":        {refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "down"), "the API server at %q is not available (503 Service Unavailable); the cluster says: down"},
		"retry after": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "1")
			refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "down")(w, r)
		}, "the API server at %q is not available (503 Service Unavailable); the cluster says: down"},
		"huge": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for chunk := []byte(strings.Repeat(" ", 1<<20)); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "the server at %q sends an answer of more than 2 MiB"},
		"huge refusal": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			for chunk := []byte(strings.Repeat(canary, 1<<16)); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "the server at %q sends an answer of more than 2 MiB"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "{")
		}, "the server at %q closes the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, test.handler)
			err := get(t, server.kubeconfig("t"), nil)
			if !errors.Is(err, ErrUnreachable) {
				t.Fatalf("Get() = %v, want ErrUnreachable", err)
			}
			if diff := cmp.Diff(strings.ReplaceAll(test.want, "%q", fmt.Sprintf("%q", server.host())), err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got := server.requestCount(); got != 1 {
				t.Errorf("%d requests, want 1: nothing is retried before its time", got)
			}
		})
	}
	if followed.Load() {
		t.Error("a redirect was followed")
	}
}

// A proxy from the environment would see what is sent, and would dial what the guard refuses.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
	t.Setenv("NO_PROXY", "")
	var dialled []string
	_ = get(t, tokenKubeconfig("https://edge.example.com:6443", nil, "t"),
		func(_ context.Context, _, address string, _ controlFunc) (net.Conn, error) {
			dialled = append(dialled, address)
			return nil, syscall.ECONNREFUSED
		})
	if diff := cmp.Diff([]string{"edge.example.com:6443"}, dialled); diff != "" {
		t.Errorf("dialled, -want +got:\n%s", diff)
	}
}

// Of an endless answer, no more is read than is allowed, give or take what is under way.
func TestBoundedRead(t *testing.T) {
	var sent atomic.Int64
	server := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for chunk := []byte(strings.Repeat(" ", 1<<20)); ; sent.Add(1 << 20) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if err := get(t, server.kubeconfig("t"), nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Get() = %v, want ErrUnreachable", err)
	}
	if got := sent.Load(); got < maxResponseBytes/2 || got > 2*maxResponseBytes {
		t.Errorf("%d MiB were sent, want about %d", got>>20, maxResponseBytes>>20)
	}
}

// Credentials reach the server, by either way.
func TestCredentials(t *testing.T) {
	ca := newCert(t, x509.Certificate{}, nil)
	user := newCert(t, x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca)
	server := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		byToken := r.Header.Get("Authorization") == "Bearer "+canary
		byCert := len(r.TLS.PeerCertificates) == 1 && r.TLS.PeerCertificates[0].Equal(user.cert)
		if r.UserAgent() != userAgent || !byToken && !byCert {
			refuse(http.StatusUnauthorized, "Unauthorized", "Unauthorized")(w, r)
			return
		}
		healthy(w, r)
	})
	server.TLS.ClientAuth = tls.RequestClientCert

	if err := get(t, server.kubeconfig(canary), nil); err != nil {
		t.Errorf("by token: %v", err)
	}
	byCert := strings.Replace(string(server.kubeconfig("t")), "{token: t}", fmt.Sprintf(
		"{client-certificate-data: %s, client-key-data: %s}", b64(certPEM(user.cert.Raw)), b64(user.keyPEM(t))), 1)
	if err := get(t, []byte(byCert), nil); err != nil {
		t.Errorf("by client certificate: %v", err)
	}
}
