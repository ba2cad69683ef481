package framework

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
)

// local is an environment in a folder of its own that nothing runs in.
func local(t *testing.T) *Environment {
	t.Helper()
	dir, err := os.MkdirTemp("", "env") // t.TempDir is too long for unix sockets
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	e, err := Open(dir)
	require.NoError(t, err)
	return e
}

func TestProcess(t *testing.T) {
	e, ctx := local(t), t.Context()
	sleep := Process{Name: "sleep", Binary: "/bin/sleep", Args: []string{"60"}, Env: []string{"A=b"}}
	started, err := e.Start(ctx, sleep)
	require.NoError(t, err)
	require.True(t, started)
	t.Cleanup(func() { _ = e.Kill("sleep") })
	first := e.PID("sleep")

	started, err = e.Start(ctx, sleep)
	require.NoError(t, err)
	require.False(t, started, "what runs is left alone")
	require.Equal(t, first, e.PID("sleep"))

	sleep.Args = []string{"61"}
	started, err = e.Start(ctx, sleep)
	require.NoError(t, err)
	require.True(t, started, "what is to run otherwise is restarted")
	require.NotEqual(t, first, e.PID("sleep"))

	require.NoError(t, e.Pause("sleep"))
	require.NoError(t, e.Stop("sleep"), "a paused process can be stopped")
	require.False(t, e.Alive("sleep"))
	require.NoError(t, e.Stop("sleep"))
	require.NoError(t, e.Stop("never started"))

	require.NoError(t, e.Restart(ctx, "sleep"))
	require.True(t, e.Alive("sleep"))
	require.NoError(t, e.Kill("sleep"))
	require.False(t, e.Alive("sleep"))
}

func TestProcessThatEndsIsReportedWithItsLog(t *testing.T) {
	e := local(t)
	begin := time.Now()
	_, err := e.Start(t.Context(), Process{
		Name: "bad", Binary: "/bin/sh", Args: []string{"-c", "echo no such luck; exit 3"}, Ready: "unix:///nowhere",
	})
	require.ErrorContains(t, err, "no such luck")
	require.Less(t, time.Since(begin), DefaultReadyTimeout/2, "without waiting for the timeout")
}

func TestBuildImage(t *testing.T) {
	e := local(t)
	binary := filepath.Join(e.Dir, "hello")
	require.NoError(t, os.WriteFile(binary, []byte("not really"), 0o755))
	const ref = "synctarget.local/hello:1"
	archive, err := e.BuildImage(t.Context(), ref, binary)
	require.NoError(t, err)

	tag, err := name.NewTag(ref)
	require.NoError(t, err)
	image, err := tarball.ImageFromPath(archive, &tag)
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, []string{"/hello"}, config.Config.Entrypoint)
	require.Equal(t, "65532:65532", config.Config.User)
	require.Len(t, config.RootFS.DiffIDs, 1, "one layer")
}

func TestParseRequest(t *testing.T) {
	r, err := parseRequest([]byte(`{"verb":"patch","user":{"username":"system:serviceaccount:ns:syncer"},"userAgent":"syncer/v1",
		"objectRef":{"resource":"synctargets","apiGroup":"workload.kcp.io","subresource":"status","name":"edge-1"},
		"annotations":{"kcp.io/cluster":"1abc"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-02T03:04:05.000000Z"}`))
	require.NoError(t, err)
	require.Equal(t, Request{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), User: "system:serviceaccount:ns:syncer", UserAgent: "syncer/v1",
		Verb: "patch", Resource: "synctargets.workload.kcp.io/status", Name: "edge-1", Cluster: "1abc", Code: 200,
	}, r)
	require.True(t, r.IsWrite())

	r, err = parseRequest([]byte(`{"verb":"get","requestURI":"/apis?timeout=32s","user":{"username":"system:serviceaccount:ns:syncer"},
		"responseStatus":{"code":304},"requestReceivedTimestamp":"2026-01-02T03:04:05.000000Z"}`))
	require.NoError(t, err)
	require.Equal(t, "/apis", r.Resource)
	require.False(t, r.IsWrite())
}
