package upstream

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"

	"github.com/synctarget/synctarget/pkg/syncer/kubeconfig"
)

// tokenLifetime is how long a token is used without a look at the files: as long as client-go's own file
// source does (transport.NewCachedFileTokenSource: a minute less a leeway of 10 s).
const tokenLifetime = 50 * time.Second

// tokenSource reads the token that the kubeconfig at path holds, or names by tokenFile.
type tokenSource struct {
	path string
	// last is the token that was returned last.
	last atomic.Pointer[string]
}

// Token implements oauth2.TokenSource. No error of it holds a token.
func (s *tokenSource) Token() (*oauth2.Token, error) {
	config, err := kubeconfig.Load(s.path)
	if err != nil {
		return nil, err
	}
	token := config.BearerToken
	if config.BearerTokenFile != "" {
		raw, err := os.ReadFile(config.BearerTokenFile)
		if err != nil {
			return nil, fmt.Errorf("reading the token: %w", err)
		}
		token = string(raw)
	}
	if token = strings.TrimSpace(token); token == "" {
		return nil, fmt.Errorf("kubeconfig %q holds no token", s.path)
	}
	s.last.Store(&token)
	return &oauth2.Token{AccessToken: token, Expiry: time.Now().Add(tokenLifetime)}, nil //nolint:forbidigo // oauth2 compares it with the real time
}

// secret is the name of the Secret that the token was issued in which is used now. Before the first request, it is that which will be
// used.
func (s *tokenSource) secret() string {
	token := s.last.Load()
	if token == nil {
		if _, err := s.Token(); err != nil {
			return "" // the request that needs the token fails and says why
		}
		token = s.last.Load()
	}
	return secretOf(*token)
}

// secretOf reads, from a token that was issued in a Secret of type kubernetes.io/service-account-token, the name of that Secret. Nothing
// is verified: that is for kcp.
func secretOf(token string) string {
	var claims struct {
		jwt.RegisteredClaims
		// See k8s.io/kubernetes/pkg/serviceaccount, legacyPrivateClaims.
		SecretName string `json:"kubernetes.io/serviceaccount/secret.name"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		return ""
	}
	return claims.SecretName
}
