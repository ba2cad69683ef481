package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	certutil "k8s.io/client-go/util/cert"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// TestMetricsCertDir: the metrics are served by the certificate in the directory, not by a self-signed one.
func TestMetricsCertDir(t *testing.T) {
	certPEM, keyPEM, err := certutil.GenerateSelfSignedCertKey("metrics.example.com", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"tls.crt": certPEM, "tls.key": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig, _ := files(t, "https://kcp.example.com")
	// Outside a cluster, the only complaint is that nobody reviews the tokens.
	o := parse(t, "--kubeconfig="+kubeconfig, "--metrics-bind-address=127.0.0.1:0", "--metrics-cert-dir="+dir)
	want := "--metrics-secure needs the hosting cluster to review tokens: run as a pod, or give --metrics-secure=false"
	if err := o.complete(); err == nil || err.Error() != want {
		t.Fatalf("complete() = %v, want %q", err, want)
	}

	opts := metricsOptions(o)
	opts.FilterProvider = nil
	server, err := metricsserver.NewServer(opts, nil, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Start() = %v", err)
		}
	})
	block, _ := pem.Decode(certPEM)
	if !bytes.Equal(block.Bytes, servedCertificate(t, server.(interface{ GetBindAddr() string }))) {
		t.Error("another certificate is served")
	}
}

// servedCertificate waits until the server listens, and returns the certificate that it presents.
func servedCertificate(t *testing.T, server interface{ GetBindAddr() string }) []byte {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for range 500 {
		conn, err := tls.Dial("tcp", server.GetBindAddr(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it is compared
		if err == nil {
			defer func() { _ = conn.Close() }()
			return conn.ConnectionState().PeerCertificates[0].Raw
		}
		<-ticker.C
	}
	t.Fatal("the metrics server does not listen")
	return nil
}
