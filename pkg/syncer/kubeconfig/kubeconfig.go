// Package kubeconfig reads the syncer's kubeconfigs strictly: from one file, its current context, and nothing
// else. kubectl's rules would fall back to the cluster that the process runs in, which here means to send to
// the physical cluster what is meant for kcp.
package kubeconfig

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Load returns a config of the current context of the kubeconfig at path. Relative paths in it are relative
// to it. A file that is missing, empty or without a usable context is an error.
func Load(path string) (*rest.Config, error) {
	rules := clientcmd.ClientConfigLoadingRules{ExplicitPath: path}
	kubeconfig, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig %q: %w", path, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*kubeconfig, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("using kubeconfig %q: %w", path, err)
	}
	return config, nil
}
