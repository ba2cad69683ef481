package framework

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certValidity is long for a local environment; certificates that run out within a day are made anew by Up.
const certValidity = 365 * 24 * time.Hour

// pki is a folder with a CA and what it has signed: <name>.crt and <name>.key. Every cluster has its own, so that
// credentials of one mean nothing to another.
type pki struct {
	dir string
	ca  *x509.Certificate
	key crypto.Signer
}

// certSpec is who a certificate is for; it serves as a client's and as a server's.
type certSpec struct {
	name         string
	commonName   string
	organization string
	// hosts are DNS names and IP addresses.
	hosts []string
}

// openPKI loads the CA in dir, or makes it.
func openPKI(dir string) (*pki, error) {
	p := &pki{dir: dir}
	if cert, key, err := p.load("ca"); err == nil && lasts(cert) {
		p.ca, p.key = cert, key
		return p, nil
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "synctarget local environment"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	var err error
	p.ca, p.key, err = p.issue("ca", template, nil, nil)
	return p, err
}

// ensure makes the certificate unless there is one that was signed by this CA, lasts and is for the same hosts. The key
// survives restarts.
func (p *pki) ensure(spec certSpec) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: spec.commonName},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if spec.organization != "" {
		template.Subject.Organization = []string{spec.organization}
	}
	for _, h := range spec.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	if cert, _, err := p.load(spec.name); err == nil && lasts(cert) && cert.CheckSignatureFrom(p.ca) == nil &&
		cert.Subject.String() == template.Subject.String() && covers(cert, spec.hosts) {
		return nil
	}
	_, _, err := p.issue(spec.name, template, p.ca, p.key)
	return err
}

// ensureKey makes a bare key pair, as for signing ServiceAccount tokens.
func (p *pki) ensureKey(name string) error {
	if _, err := os.Stat(p.keyFile(name)); err == nil {
		return nil
	}
	_, err := p.newKey(name)
	return err
}

func (p *pki) certFile(name string) string { return filepath.Join(p.dir, name+".crt") }
func (p *pki) keyFile(name string) string  { return filepath.Join(p.dir, name+".key") }

// issue signs the template with a new key; without a parent it signs itself.
func (p *pki) issue(name string, template, parent *x509.Certificate, signer crypto.Signer) (*x509.Certificate, crypto.Signer, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour) // clocks of a machine that has just been resumed jump
	template.NotAfter = time.Now().Add(certValidity)
	key, err := p.newKey(name)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("signing certificate %q: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, key, writeFile(p.certFile(name), block, 0o644)
}

func (p *pki) newKey(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return key, writeFile(p.keyFile(name), block, 0o600)
}

func (p *pki) load(name string) (*x509.Certificate, crypto.Signer, error) {
	certPEM, err := os.ReadFile(p.certFile(name))
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := os.ReadFile(p.keyFile(name))
	if err != nil {
		return nil, nil, err
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, nil, errors.New("no PEM block")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	// A crash between the two files leaves a key that does not belong to the certificate.
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("key and certificate %q do not match", name)
	}
	return cert, key, nil
}

func lasts(cert *x509.Certificate) bool { return time.Until(cert.NotAfter) > 24*time.Hour }

func covers(cert *x509.Certificate, hosts []string) bool {
	for _, h := range hosts {
		if cert.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

// bundle writes certificate and CA into one file. kcp hands its serving file out as the CA of its kubeconfigs.
func (p *pki) bundle(name string) error {
	var all []byte
	for _, n := range []string{name, "ca"} {
		data, err := os.ReadFile(p.certFile(n))
		if err != nil {
			return err
		}
		all = append(all, data...)
	}
	return writeFile(p.bundleFile(name), all, 0o644)
}

func (p *pki) bundleFile(name string) string { return filepath.Join(p.dir, name+".bundle.crt") }
