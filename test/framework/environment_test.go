package framework

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDefaultDirOfALongCheckout(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp")
	short := filepath.Join("/tmp", "checkout", ".local")
	got, err := defaultDir(short)
	require.NoError(t, err)
	require.Equal(t, short, got)

	long := filepath.Join(t.TempDir(), strings.Repeat("x", longestStateDir))
	for range 2 { // the second time it is there
		got, err = defaultDir(long)
		require.NoError(t, err)
		require.LessOrEqual(t, len(got), longestStateDir)
		target, err := os.Readlink(long)
		require.NoError(t, err)
		require.Equal(t, got, target)
	}
	require.NoError(t, os.RemoveAll(got))
}

func TestStateDirectoryBehindALink(t *testing.T) {
	dir, err := os.MkdirTemp("", "env")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	dir, err = filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o755))
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "link")))
	for path, want := range map[string]string{"link": "real", "link/not/yet": "real/not/yet", "real": "real"} {
		got, err := realPath(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, want), got)
	}
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	_, err = realPath(filepath.Join(dir, "dangling"))
	require.ErrorContains(t, err, "remove it")
}

func TestControllerPortsAreKept(t *testing.T) {
	e := local(t)
	e.state.KCP = kcpPlan{Address: "127.0.0.1", Port: 6443}
	require.NoError(t, e.save())
	first, err := e.WithAddresses(Service{Name: "first"})
	require.NoError(t, err)
	second, err := e.WithAddresses(Service{Name: "second"})
	require.NoError(t, err)
	require.NotEqual(t, first.MetricsAddress, second.MetricsAddress)
	require.NotEqual(t, first.MetricsAddress, first.HealthAddress)

	again, err := Open(e.Dir)
	require.NoError(t, err)
	kept, err := again.WithAddresses(Service{Name: "first"})
	require.NoError(t, err)
	require.Equal(t, first, kept)
	given, err := again.WithAddresses(Service{Name: "first", HealthAddress: "127.0.0.1:1"})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:1", given.HealthAddress, "what is given stays")
}
