package framework

import (
	"crypto/x509"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPKI(t *testing.T) {
	dir := t.TempDir()
	p, err := openPKI(dir)
	require.NoError(t, err)
	spec := certSpec{name: "server", commonName: "me", organization: "us", hosts: []string{"10.213.0.1", "localhost"}}
	require.NoError(t, p.ensure(spec))
	first := read(t, p.certFile("server"))

	cert, _, err := p.load("server")
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(p.ca)
	for _, host := range spec.hosts {
		_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		require.NoError(t, err)
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	require.NoError(t, err, "it serves as a client's certificate too")
	require.Equal(t, []string{"us"}, cert.Subject.Organization)

	again, err := openPKI(dir)
	require.NoError(t, err)
	require.NoError(t, again.ensure(spec))
	require.Equal(t, first, read(t, p.certFile("server")), "a restart keeps keys and certificates")

	spec.hosts = append(spec.hosts, "10.213.0.2")
	require.NoError(t, again.ensure(spec))
	require.NotEqual(t, first, read(t, p.certFile("server")), "another address needs another certificate")

	require.NoError(t, os.Remove(p.keyFile("server")))
	require.NoError(t, again.ensure(spec), "what a crash left half done is made anew")
	_, _, err = again.load("server")
	require.NoError(t, err)
}

func TestKubeconfig(t *testing.T) {
	p, err := openPKI(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, p.ensure(certSpec{name: "admin", commonName: "admin"}))
	path := t.TempDir() + "/kubeconfig"
	require.NoError(t, p.kubeconfig(path, "c", kubeContext{name: "c", cluster: "c", server: "https://10.213.0.11:6443", user: "admin"}))
	first := read(t, path)
	require.Contains(t, first, "server: https://10.213.0.11:6443")
	require.NotContains(t, first, p.dir, "nothing refers to a file")
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}
