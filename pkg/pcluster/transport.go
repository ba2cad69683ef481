package pcluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

const (
	// maxResponseBytes bounds the answer to one call, and so the memory that a hostile server can take. We ask for single
	// small objects; for the pods and ReplicaSets of one namespace: a few of each, below 10 KiB apiece; for the metadata of
	// everything in a namespace, by the hundred; and for what the cluster serves: about 500 bytes for each resource.
	maxResponseBytes = 2 << 20
	maxHeaderBytes   = 64 << 10
	// Answers beyond largeAnswer are read when there is a place for them, which they keep until their call ends. So all large
	// answers together take a bounded amount of memory, however many workers there are.
	largeAnswer              = 64 << 10
	largeAnswers             = 32
	largeAnswersPerWorkspace = 8
	// maxBufferedBytes bounds what an HTTP/2 server may send ahead of its reader, for each call and watch.
	maxBufferedBytes = 256 << 10
	// idleTimeout is when a connection is closed over which nothing is under way. By HTTP/2 a target at rest has one connection,
	// which carries its watch and everything else. By HTTP/1.1 the watch has it for itself, and every 20 s, with many targets
	// much more rarely, the check of the credentials needs another: a new one costs less than 13 KiB and a socket all the time.
	// The calls of one pass share theirs.
	idleTimeout = 10 * time.Second
	// A connection that carries a watch and has gone silent is given up after the sum of these, as in client-go.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// newTransport connects by this config, directly and guarded, with connections of its own.
func newTransport(config *rest.Config, dial func(context.Context, string, string) (net.Conn, error)) (*http.Transport, error) {
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, invalid("the kubeconfig's certificates cannot be used")
	}
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &http.Transport{
		Proxy:                  nil, // not even from the environment
		DialContext:            dial,
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    tlsHandshakeTimeout,
		ResponseHeaderTimeout:  Budget,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true, // nothing that grows after it was measured
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    2,
		ForceAttemptHTTP2:      true,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout, MaxReceiveBufferPerStream: maxBufferedBytes,
		},
	}, nil
}

// answerFilter stands between the hostile server and client-go: it bounds what is read, lets nothing pass that is not an
// answer of an API server, and turns what goes wrong on the way into our own sentences.
type answerFilter struct {
	next http.RoundTripper
	host string // of the kubeconfig's server, for the sentences
	// private is set when the server is, or was, dialled at a private address. Then the sentences do not tell apart what
	// would make this service a scanner of the ports of its own network.
	private atomic.Bool
	// reserve waits for a place for a large answer, and gives it back when the context ends. An error means that there is
	// none. Nil: there always is one.
	reserve func(context.Context) error
}

func (b *answerFilter) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, b.explain(r.Context(), err)
	}
	if response.StatusCode >= 300 && response.StatusCode < 400 {
		_ = response.Body.Close()
		return nil, unreachable("the server at %q answers with a redirect, which this service does not follow", b.host)
	}
	if response.StatusCode < 200 {
		// 101: what follows is a bare connection, whose reading nothing would end.
		_ = response.Body.Close()
		return nil, b.notKubernetes()
	}
	if response.StatusCode < 300 && !isAPIContent(response.Header.Get("Content-Type")) {
		_ = response.Body.Close()
		return nil, b.notKubernetes()
	}
	// client-go would wait as long as this says, and try ten times.
	response.Header.Del("Retry-After")
	if r.URL.Query().Has("watch") {
		return response, nil // its reader bounds each event
	}
	body, err := b.readBody(r.Context(), response.Body)
	if err != nil {
		return nil, b.explain(r.Context(), err)
	}
	if len(body) > maxResponseBytes {
		return nil, unreachable("the server at %q sends an answer of more than %d MiB", b.host, maxResponseBytes>>20)
	}
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return response, nil
}

// readBody reads an answer, or one byte more than is allowed of it, and ends with the context: by closing the body, which
// holds for every kind of connection.
func (b *answerFilter) readBody(ctx context.Context, body io.ReadCloser) ([]byte, error) {
	defer func() { _ = body.Close() }()
	defer context.AfterFunc(ctx, func() { _ = body.Close() })()
	read, err := io.ReadAll(io.LimitReader(body, largeAnswer))
	if err == nil && len(read) == largeAnswer {
		if b.reserve != nil && b.reserve(ctx) != nil {
			return nil, errBusy
		}
		var rest []byte
		rest, err = io.ReadAll(io.LimitReader(body, maxResponseBytes+1-largeAnswer))
		read = append(read, rest...)
	}
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err() // the reason why it was closed
	}
	return read, err
}

func (b *answerFilter) notKubernetes() *problem {
	return unreachable("the server at %q does not answer like a Kubernetes API server", b.host)
}

func isAPIContent(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || media == "application/vnd.kubernetes.protobuf")
}

// explain turns a failure to get an answer into a problem, or into context.Canceled if we gave up ourselves. It does
// not change errBusy.
func (b *answerFilter) explain(ctx context.Context, err error) error {
	var (
		known *problem
		dns   *net.DNSError
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case errors.Is(err, errBusy):
		return errBusy
	case errors.As(err, &known):
		return known
	case errors.As(err, &dns) && dns.IsNotFound:
		return unreachable("the host name %q is not known to DNS", b.hostname())
	case errors.As(err, &dns):
		return unreachable("the host name %q cannot be looked up in DNS", b.hostname())
	}
	if refused := b.explainTLS(err); refused != nil {
		return refused
	}
	failed := b.explainConnection(err)
	switch {
	case failed == nil:
		return b.notKubernetes()
	case b.private.Load():
		return unreachable("no answer from the server at %q; check address, port and firewalls "+
			"(for a private address this service does not say whether it refuses, times out or is not TLS)", b.host)
	default:
		return failed
	}
}

// explainTLS explains why a handshake failed with a server that speaks TLS, or returns nil if that is not the failure.
func (b *answerFilter) explainTLS(err error) *problem {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		validity  x509.CertificateInvalidError
		cert      *tls.CertificateVerificationError
		operation *net.OpError
	)
	switch {
	case errors.As(err, &authority):
		return unreachable("the certificate of the server at %q is not signed by the kubeconfig's certificate authority", b.host)
	case errors.As(err, &hostname):
		return unreachable("the certificate of the server at %q is for another name; tls-server-name can say which", b.host)
	case errors.As(err, &validity) && validity.Reason == x509.Expired:
		return unreachable("the certificate of the server at %q has expired or is not valid yet", b.host)
	case errors.As(err, &cert):
		return unreachable("the certificate of the server at %q cannot be verified", b.host)
	case errors.As(err, &operation) && operation.Op == "remote error": // crypto/tls, for an alert
		return unreachable("the server at %q refuses the TLS handshake; it may not accept the client certificate", b.host)
	default:
		return nil
	}
}

// explainConnection explains why there is no connection, or none that speaks TLS, or returns nil if that is not the failure.
func (b *answerFilter) explainConnection(err error) *problem {
	var (
		notTLS  tls.RecordHeaderError
		timeout net.Error
	)
	switch {
	case errors.As(err, &notTLS), errors.Is(err, http.ErrSchemeMismatch):
		return unreachable("the server at %q does not speak TLS", b.host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return unreachable("the server at %q refuses connections", b.host)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return unreachable("there is no route to the server at %q", b.host)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return unreachable("the server at %q does not answer in time", b.host)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, net.ErrClosed):
		return unreachable("the server at %q closes the connection", b.host)
	default:
		return nil
	}
}

func (b *answerFilter) hostname() string {
	return (&url.URL{Host: b.host}).Hostname()
}
