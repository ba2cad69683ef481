package simulation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/synctarget/synctarget/test/scale/apiserver"
)

// serverName is in the certificate of each server.
const serverName = "scale.test"

// credentialsCheck is the request by which the controller asks each physical cluster from time to time whether it still accepts
// the credentials.
const credentialsCheck = "get namespaces"

// Server serves HTTPS, with HTTP/2, at any number of addresses, and counts the requests for objects.
type Server struct {
	http http.Server
	// URLs are those of the addresses, without a path, and CA is the PEM of the authority of their certificate.
	URLs []string
	CA   []byte

	// last is LastRequest, in nanoseconds since 1970.
	last   atomic.Int64
	mu     sync.Mutex
	counts map[string]int
}

func newServer(handler http.Handler, addresses ...string) (*Server, error) {
	certificate, ca, err := selfSigned()
	if err != nil {
		return nil, err
	}
	s := &Server{CA: ca, counts: map[string]int{}}
	s.http = http.Server{
		Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ErrorLog:          log.New(io.Discard, "", 0), // of connections that the controller has closed
		ReadHeaderTimeout: time.Minute,
	}
	for _, address := range addresses {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		s.URLs = append(s.URLs, "https://"+listener.Addr().String())
		go func() { _ = s.http.ServeTLS(listener, "", "") }() // ends with the process
	}
	return s, nil
}

// count counts a request, and returns what to call at its end. The end of a watch is no request.
func (s *Server) count(asked apiserver.Request) (ended func()) {
	kind := asked.Verb + " " + asked.Resource.Resource
	if asked.Subresource != "" {
		kind += "/" + asked.Subresource
	}
	s.mu.Lock()
	s.counts[kind]++
	s.mu.Unlock()
	if kind == credentialsCheck {
		return func() {}
	}
	s.last.Store(time.Now().UnixNano())
	return func() {
		if asked.Verb != "watch" {
			s.last.Store(time.Now().UnixNano())
		}
	}
}

// LastRequest returns when the last request came or ended, but for checks of credentials.
func (s *Server) LastRequest() time.Time { return time.Unix(0, s.last.Load()) }

// Requests returns how many requests of each kind there were.
func (s *Server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// kubeconfig leads to one cluster, with a token.
func kubeconfig(cluster *clientcmdapi.Cluster, token string) ([]byte, error) {
	const name = "cluster"
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: cluster},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	})
}

// selfSigned makes the certificate of a server, which is its own authority.
func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		DNSNames: []string{serverName}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, ca, nil
}
