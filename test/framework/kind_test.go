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
"delete cluster") rm %[1]s.clusters;;
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
	require.NoError(t, e.deleteKind(t.Context()), "it is gone already")
	require.Equal(t, 1, strings.Count(calls(), "kind delete cluster --name "+name), calls())
	for _, call := range []string{"create cluster", "delete cluster"} {
		require.Regexp(t, call+".* --kubeconfig "+e.Dir, calls(), "the user's own kubeconfig is left alone")
	}
}

// TestKindRefused: an environment that has clusters of another sort is not given one by kind.
func TestKindRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		state   state
		options Options
		err     string
	}{
		"own clusters":        {state{Clusters: []string{"cluster-1"}}, Options{Kind: true}, "clusters of its own"},
		"a cluster of theirs": {state{Physical: true}, Options{Kind: true}, "a cluster of yours"},
		"both at once":        {state{}, Options{Kind: true, PhysicalKubeconfig: "file"}, "exclude each other"},
		"own after kind":      {state{Physical: true, Kind: "st-1"}, Options{PhysicalKubeconfig: "file"}, "exclude each other"},
	} {
		t.Run(name, func(t *testing.T) {
			e := local(t)
			e.state = tc.state
			require.ErrorContains(t, e.checkOptions(&tc.options), tc.err)
		})
	}
}

func TestNoKind(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	require.ErrorIs(t, local(t).ensureKind(t.Context(), &Options{}, progress.New(nil)), errNoKind)
}
