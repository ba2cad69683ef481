package upstream

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/synctarget/synctarget/pkg/syncer/kubeconfig"
)

// tokenLifetime is how long a token is used without a look at the files: as long as client-go's own file
// source does (transport.NewCachedFileTokenSource: a minute less a leeway of 10 s).
const tokenLifetime = 50 * time.Second

// tokenSource reads the token that the kubeconfig at path holds, or names by tokenFile.
type tokenSource struct {
	path string
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
	return &oauth2.Token{AccessToken: token, Expiry: time.Now().Add(tokenLifetime)}, nil //nolint:forbidigo // oauth2 compares it with the real time
}
