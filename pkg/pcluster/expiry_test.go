package pcluster

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// jwtOf is a JSON Web Token with these claims. Nobody looks at its signature here.
func jwtOf(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
}

// TestFirstExpiry: the credential that expires first counts, and what does not say when it expires does not.
func TestFirstExpiry(t *testing.T) {
	issued := time.Now().Add(-time.Hour).Truncate(time.Second)
	soon := issued.Add(2 * time.Hour)
	late := soon.Add(time.Hour)
	certificate := func(notAfter time.Time) []byte {
		issuer := newCert(t, x509.Certificate{NotAfter: soon.Add(-time.Minute)}, nil)
		leaf := newCert(t, x509.Certificate{NotBefore: issued, NotAfter: notAfter}, issuer)
		return append(certPEM(leaf.cert.Raw), certPEM(issuer.cert.Raw)...)
	}
	token := func(at time.Time) string {
		return jwtOf(fmt.Sprintf(`{"iat":%d,"exp":%d,"sub":"s"}`, issued.Unix(), at.Unix()))
	}
	ofToken, ofCertificate := Expiry{Token, issued, soon}, Expiry{ClientCertificate, issued, soon}
	for name, tc := range map[string]struct {
		config rest.Config
		want   Expiry
	}{
		"nothing":                       {rest.Config{}, Expiry{}},
		"a token that is no JWT":        {rest.Config{BearerToken: "opaque.to.us"}, Expiry{}},
		"a JWT without an end":          {rest.Config{BearerToken: jwtOf(`{"sub":"s"}`)}, Expiry{}},
		"a JWT with a strange end":      {rest.Config{BearerToken: jwtOf(`{"exp":"tomorrow"}`)}, Expiry{}},
		"a JWT without a beginning":     {rest.Config{BearerToken: jwtOf(fmt.Sprintf(`{"exp":%d}`, soon.Unix()))}, Expiry{Credential: Token, At: soon}},
		"a JWT":                         {rest.Config{BearerToken: token(soon)}, ofToken},
		"a certificate with its issuer": {rest.Config{TLSClientConfig: rest.TLSClientConfig{CertData: certificate(soon)}}, ofCertificate},
		"both, the token first":         {rest.Config{BearerToken: token(soon), TLSClientConfig: rest.TLSClientConfig{CertData: certificate(late)}}, ofToken},
		"both, the certificate first":   {rest.Config{BearerToken: token(late), TLSClientConfig: rest.TLSClientConfig{CertData: certificate(soon)}}, ofCertificate},
		"a certificate and an opaque token": {
			rest.Config{BearerToken: "opaque", TLSClientConfig: rest.TLSClientConfig{CertData: certificate(soon)}}, ofCertificate,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := FirstExpiry(&tc.config)
			if got.Credential != tc.want.Credential || !got.Issued.Equal(tc.want.Issued) || !got.At.Equal(tc.want.At) {
				t.Errorf("FirstExpiry() = %+v, want %+v", got, tc.want)
			}
		})
	}
}
