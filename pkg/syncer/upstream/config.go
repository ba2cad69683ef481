package upstream

import (
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"github.com/synctarget/synctarget/pkg/syncer/kubeconfig"
)

// Config reads the kubeconfig at path. Its token, inline or in a file, follows the files as they change.
func Config(path string) (*rest.Config, error) {
	config, err := kubeconfig.Load(path)
	if err != nil {
		return nil, err
	}
	if config.BearerToken != "" || config.BearerTokenFile != "" {
		// client-go alone re-reads a token file every 50 s, whatever kcp answers, and an inline token never.
		config.BearerToken, config.BearerTokenFile = "", ""
		config.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedTokenSource(&tokenSource{path: path})))
	}
	config.QPS = -1 // the default of 5 requests/s is for people, not for agents that pace themselves
	return config, nil
}
