package framework

import (
	"bytes"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig writes a kubeconfig with everything inline, so that it can be copied anywhere, a Secret included.
func (p *pki) kubeconfig(path, server, user string) error {
	ca, err := os.ReadFile(p.certFile("ca"))
	if err != nil {
		return err
	}
	cert, err := os.ReadFile(p.certFile(user))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(p.keyFile(user))
	if err != nil {
		return err
	}
	const name = "default"
	data, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: server, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: cert, ClientKeyData: key}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: user}},
		CurrentContext: name,
	})
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
