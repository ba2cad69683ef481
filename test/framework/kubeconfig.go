package framework

import (
	"bytes"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeContext is a context of a kubeconfig. Its user is the name of a certificate.
type kubeContext struct{ name, cluster, server, user string }

// kubeconfig writes a kubeconfig with everything inline, so that it can be copied anywhere, a Secret included.
func (p *pki) kubeconfig(path, current string, contexts ...kubeContext) error {
	ca, err := os.ReadFile(p.certFile("ca"))
	if err != nil {
		return err
	}
	config := clientcmdapi.NewConfig()
	config.CurrentContext = current
	for _, c := range contexts {
		cert, err := os.ReadFile(p.certFile(c.user))
		if err != nil {
			return err
		}
		key, err := os.ReadFile(p.keyFile(c.user))
		if err != nil {
			return err
		}
		config.Clusters[c.cluster] = &clientcmdapi.Cluster{Server: c.server, CertificateAuthorityData: ca}
		config.AuthInfos[c.user] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
		config.Contexts[c.name] = &clientcmdapi.Context{Cluster: c.cluster, AuthInfo: c.user}
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return writeFile(path, data, 0o600)
}

// minifyAndFlatten keeps the current context alone and reads the files that it names into it.
func minifyAndFlatten(config *clientcmdapi.Config) error {
	if err := clientcmdapi.MinifyConfig(config); err != nil {
		return err
	}
	return clientcmdapi.FlattenConfig(config)
}
