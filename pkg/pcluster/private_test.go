package pcluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// resolvingTo is a dialer whose connections lead elsewhere, after the guard was asked about this address.
func resolvingTo(address string, dial func() (net.Conn, error)) dialFunc {
	return func(ctx context.Context, network, _ string, control controlFunc) (net.Conn, error) {
		if err := control(ctx, network, address, nil); err != nil {
			return nil, err
		}
		return dial()
	}
}

// speaking is a connection to a server that says this and closes.
func speaking(words string) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Read(make([]byte, 64<<10)) // the ClientHello
			_, _ = io.WriteString(theirs, words)
			_ = theirs.Close()
		}()
		return ours, nil
	}
}

// A tenant who writes private addresses into kubeconfigs must not learn from the messages which ports are open there.
func TestPrivateAddressesTellNothing(t *testing.T) {
	failing := func(err error) func() (net.Conn, error) {
		return func() (net.Conn, error) { return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	}
	faults := map[string]struct {
		dial   func() (net.Conn, error)
		public string
	}{
		"refused":        {failing(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "the server at %q refuses connections"},
		"timed out":      {failing(os.ErrDeadlineExceeded), "the server at %q does not answer in time"},
		"no route":       {failing(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "there is no route to the server at %q"},
		"not TLS":        {speaking("SSH-2.0-OpenSSH_9.9\r\n"), "the server at %q does not speak TLS"},
		"plain HTTP":     {speaking("HTTP/1.1 400 Bad Request\r\n\r\n"), "the server at %q does not speak TLS"},
		"closes at once": {speaking(""), "the server at %q closes the connection"},
	}
	const private = "no answer from the server at %q; check address, port and firewalls " +
		"(for a private address this service does not say whether it refuses, times out or is not TLS)"
	for name, test := range faults {
		for address, want := range map[string]string{
			"93.184.216.34:6443": test.public, "10.1.2.3:6443": private, "100.64.0.1:6443": private, "[fd12::1]:6443": private,
		} {
			t.Run(name+" at "+address, func(t *testing.T) {
				clusters, _ := startClusters(t, nil, resolvingTo(address, test.dial))
				_, err := clusters.Get(t.Context(), testID("a"), tokenKubeconfig("https://edge.example.com:6443", nil, "t"))
				if !errors.Is(err, ErrUnreachable) {
					t.Fatalf("Get() = %v, want ErrUnreachable", err)
				}
				if diff := cmp.Diff(strings.ReplaceAll(want, "%q", `"edge.example.com:6443"`), errorText(err)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

// What only a server that speaks TLS can cause is still told: its kubeconfig has to be corrected.
func TestPrivateAddressWithAnotherCA(t *testing.T) {
	server := newServer(t, nil)
	other := newCert(t, x509.Certificate{}, nil)
	clusters, _ := startClusters(t, nil, resolvingTo("10.1.2.3:6443", func() (net.Conn, error) { return net.Dial("tcp", server.host()) }))
	_, err := clusters.Get(t.Context(), testID("a"), tokenKubeconfig("https://edge.example.com:6443", other.cert.Raw, "t"))
	want := fmt.Sprintf("the certificate of the server at %q is not signed by the kubeconfig's certificate authority", "edge.example.com:6443")
	if diff := cmp.Diff(want, errorText(err)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
