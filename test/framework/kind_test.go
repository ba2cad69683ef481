package framework

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/synctarget/synctarget/test/framework/progress"
)

// fakeKind puts a kind and a docker into the PATH that note how they are called.
func fakeKind(t *testing.T) (calls func() string) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "calls")
	for name, script := range map[string]string{
		"kind": `case "$1 $2" in
"get clusters") cat %[1]s.clusters 2>/dev/null || true;;
"create cluster") echo "$4" > %[1]s.clusters;;
"get kubeconfig") echo "kind's kubeconfig";;
esac`,
		"docker": `printf 'fc00:f853::1\n172.18.0.1\n'`,
	} {
		text := fmt.Sprintf("#!/bin/sh\necho "+name+" \"$@\" >> %[1]s\n"+script+"\n", log)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() string {
		data, err := os.ReadFile(log)
		require.NoError(t, err)
		return string(data)
	}
}

// TestKind: the cluster is created once, kcp listens where its nodes reach it, images are loaded, and Down deletes it.
func TestKind(t *testing.T) {
	calls := fakeKind(t)
	e := local(t)
	name := e.id()
	for range 2 {
		var o Options
		require.NoError(t, e.ensureKind(t.Context(), &o, progress.New(nil)))
		require.Equal(t, "172.18.0.1", o.KCPAddress)
		data, err := os.ReadFile(o.PhysicalKubeconfig)
		require.NoError(t, err)
		require.Equal(t, "kind's kubeconfig\n", string(data))
	}
	require.Equal(t, 1, strings.Count(calls(), "kind create cluster --name "+name), calls())
	require.NoError(t, e.Import(t.Context(), "image.tar"))
	require.Contains(t, calls(), "kind load image-archive image.tar --name "+name)
	require.NoError(t, e.deleteKind(t.Context()))
	require.Contains(t, calls(), "kind delete cluster --name "+name)
}

func TestNoKind(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	require.ErrorIs(t, local(t).ensureKind(t.Context(), &Options{}, progress.New(nil)), errNoKind)
}
