package pcluster

import (
	"time"

	"github.com/golang-jwt/jwt/v5"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
)

// Credential names a credential of a kubeconfig, as in a sentence.
type Credential string

const (
	// ClientCertificate is that in client-certificate-data.
	ClientCertificate Credential = "client certificate"
	// Token is a bearer token.
	Token Credential = "token"
)

// Expiry is when a credential expires.
type Expiry struct {
	Credential Credential
	// Issued is when it was issued, or began to be valid; zero if that is not known.
	Issued time.Time
	// At is zero for never, or not known.
	At time.Time
}

// FirstExpiry returns the expiry of the credential in a kubeconfig that expires first, which Parse has read; a zero one for none. Of
// tokens only JSON Web Tokens say when they expire. Nothing is verified: that is for the physical cluster to do.
func FirstExpiry(config *rest.Config) Expiry {
	certificate, token := certificateExpiry(config.CertData), tokenExpiry(config.BearerToken)
	if token.At.IsZero() || !certificate.At.IsZero() && certificate.At.Before(token.At) {
		return certificate
	}
	return token
}

// certificateExpiry is that of the client certificate, which comes first.
func certificateExpiry(data []byte) Expiry {
	certificates, err := cert.ParseCertsPEM(data)
	if err != nil {
		return Expiry{}
	}
	return Expiry{Credential: ClientCertificate, Issued: certificates[0].NotBefore, At: certificates[0].NotAfter}
}

// tokenExpiry is that of a JSON Web Token.
func tokenExpiry(token string) Expiry {
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil || claims.ExpiresAt == nil {
		return Expiry{}
	}
	expiry := Expiry{Credential: Token, At: claims.ExpiresAt.Time}
	if claims.IssuedAt != nil {
		expiry.Issued = claims.IssuedAt.Time
	}
	return expiry
}
