package upstream

import (
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"github.com/synctarget/synctarget/pkg/syncer/kubeconfig"
)

// Config reads the kubeconfig at path. Its token, inline or in a file, follows the files as they change. tokenSecret returns the name
// of the Secret that kcp issued the token in which requests carry now; empty if the token does not tell.
func Config(path string) (config *rest.Config, tokenSecret func() string, err error) {
	config, err = kubeconfig.Load(path)
	if err != nil {
		return nil, nil, err
	}
	source := &tokenSource{path: path}
	if config.BearerToken != "" || config.BearerTokenFile != "" {
		// client-go alone re-reads a token file every 50 s, whatever kcp answers, and an inline token never.
		config.BearerToken, config.BearerTokenFile = "", ""
		config.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedTokenSource(source)))
	}
	config.QPS = -1 // the default of 5 requests/s is for people, not for agents that pace themselves
	return config, source.secret, nil
}
