package framework

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLoopbackServers(t *testing.T) {
	for server, want := range map[string][]string{
		"https://127.0.0.1:6443": {"--allow-pcluster-cidr=127.0.0.1/32"},
		"https://[::1]:6443":     {"--allow-pcluster-cidr=::1/128"},
		"https://10.1.2.3":       nil,
	} {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n" +
			"clusters: [{name: c, cluster: {server: \"" + server + "\"}}]\nusers: [{name: u, user: {token: t}}]\n"
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := loopbackServers(path)
		require.NoError(t, err)
		assert.Equal(t, want, got, server)
	}
}

func TestLoopbackServer(t *testing.T) {
	for server, want := range map[string]string{"https://127.0.0.1:6443": "https://127.0.0.1:6443", "https://10.1.2.3": ""} {
		e := &Environment{Dir: t.TempDir()}
		text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n" +
			"clusters: [{name: c, cluster: {server: \"" + server + "\"}}]\nusers: [{name: u, user: {token: t}}]\n"
		require.NoError(t, writeFile(e.ClusterKubeconfig("cluster-1"), []byte(text), 0o600))
		got, err := e.LoopbackServer("cluster-1")
		require.NoError(t, err)
		assert.Equal(t, want, got, server)
	}
}
