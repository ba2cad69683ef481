package framework

import (
	"archive/tar"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
)

// TestPush pushes to a registry on loopback and pulls as nodes do, each for its own architecture.
func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	binary := filepath.Join(t.TempDir(), "syncer")
	var images []v1.Image
	for _, arch := range []string{"amd64", "arm64"} {
		require.NoError(t, os.WriteFile(binary, []byte("a program for "+arch), 0o755))
		image, err := imageOf(binary, arch)
		require.NoError(t, err)
		digest, err := image.Digest() // the binary is read now, before the next one takes its place
		require.NoError(t, err)
		require.NotEmpty(t, digest)
		images = append(images, image)
		binary = filepath.Join(t.TempDir(), "syncer")
	}
	r := Release{Registry: strings.TrimPrefix(server.URL, "http://") + "/team/", Version: "v0.1.0"}
	tag, err := name.NewTag(r.ref("syncer"))
	require.NoError(t, err)
	digest, err := push(t.Context(), tag, images)
	require.NoError(t, err)

	index, err := remote.Index(tag)
	require.NoError(t, err)
	got, err := index.Digest()
	require.NoError(t, err)
	require.Equal(t, digest, got.String())
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := remote.Image(tag, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		require.NoError(t, err)
		require.Equal(t, "a program for "+arch, fileIn(t, image, "syncer"))
	}

	server.Close()
	_, err = push(t.Context(), tag, images)
	require.Error(t, err, "a registry that does not answer")
}

func fileIn(t *testing.T, image v1.Image, name string) string {
	t.Helper()
	for files := tar.NewReader(mutate.Extract(image)); ; {
		header, err := files.Next()
		require.NoError(t, err, "looking for %s", name)
		if header.Name == name {
			data, err := io.ReadAll(files)
			require.NoError(t, err)
			return string(data)
		}
	}
}

func TestReleaseWritesTheManager(t *testing.T) {
	e := local(t)
	r := Release{Registry: "registry.example.com:5000/team", Version: "v0.1.0", Dir: e.Dir}
	require.NoError(t, r.writeManager(e.Repo))
	got, err := os.ReadFile(filepath.Join(e.Dir, "manager", "kustomization.yaml"))
	require.NoError(t, err)
	for _, image := range releasedImages {
		require.Contains(t, string(got), `- {name: ghcr.io/synctarget/`+image+`, newName: "registry.example.com:5000/team/`+image+`", newTag: "v0.1.0"}`)
	}
}
