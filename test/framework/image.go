package framework

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// PauseImage is on every node: the sandbox of every pod, and the cheapest workload there is.
const PauseImage = "synctarget.local/pause:1"

// WebImage is on every node too: a workload that serves HTTP at port 8080, see test/framework/web.
const WebImage = "synctarget.local/web:1"

var notInFileNames = regexp.MustCompile(`[^a-zA-Z0-9._-]+`)

// BuildProgram builds a package of this repository as a static binary and returns its path in bin/ below the state
// directory.
func (e *Environment) BuildProgram(ctx context.Context, pkg string) (string, error) {
	e.building.Lock()
	defer e.building.Unlock()
	return buildProgram(ctx, e.Repo, pkg, e.path("bin"))
}

// buildProgram builds a package of a repository as a static binary and returns its path in dir.
func buildProgram(ctx context.Context, repo, pkg, dir string) (string, error) {
	out := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, msg)
	}
	return out, nil
}

// BuildImage packs a static binary into an image, without a container daemon: one layer, the binary as entrypoint, user
// 65532. It returns a docker archive for Import. Pods that use it need imagePullPolicy IfNotPresent.
func (e *Environment) BuildImage(_ context.Context, ref, binaryPath string) (tarPath string, err error) {
	image, err := imageOf(binaryPath, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	return e.writeArchive(e.path("images"), ref, image)
}

// writeArchive writes a docker archive, named by the image, into a folder.
func (e *Environment) writeArchive(dir, ref string, image v1.Image) (string, error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, notInFileNames.ReplaceAllString(ref, "-")+".tar")
	// Aside and renamed, as two clusters that start side by side write and read the same archive.
	temp, err := os.CreateTemp(dir, ".archive-")
	if err != nil {
		return "", err
	}
	defer os.Remove(temp.Name())
	if err := errors.Join(tarball.Write(tag, image, temp), temp.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(temp.Name(), path)
}

// imageOf is the image of a static binary, the same for the same binary: it carries no time.
func imageOf(binaryPath, architecture string) (v1.Image, error) {
	program := filepath.Base(binaryPath)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return layerOf(binaryPath, program) })
	if err != nil {
		return nil, fmt.Errorf("packing %s: %w", binaryPath, err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: architecture,
		OS:           "linux",
		RootFS:       rootFS(image),
		Config:       v1.Config{Entrypoint: []string{"/" + program}, User: "65532:65532", WorkingDir: "/"},
	})
}

func rootFS(image v1.Image) v1.RootFS {
	if config, err := image.ConfigFile(); err == nil {
		return config.RootFS
	}
	return v1.RootFS{Type: "layers"}
}

// caBundles are where systems keep the certificates of public authorities; the first is where Go looks first.
var caBundles = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}

// layerOf is a layer with one executable, a /tmp, and the public authorities that this machine trusts, by which a kcp
// with a public certificate is verified.
func layerOf(path, program string) (io.ReadCloser, error) {
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	headers := []tar.Header{
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: program, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(binary))},
	}
	contents := [][]byte{nil, binary}
	for _, bundle := range caBundles {
		if roots, err := os.ReadFile(bundle); err == nil {
			headers = append(headers, tar.Header{Name: caBundles[0][1:], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(roots))})
			contents = append(contents, roots)
			break
		}
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := range headers {
		if err := w.WriteHeader(&headers[i]); err != nil {
			return nil, err
		}
		if _, err := w.Write(contents[i]); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(&buf), w.Close()
}

// ErrNoImport says that a cluster is the user's own: images must be pushed to a registry that it can pull from.
var ErrNoImport = errors.New("images cannot be imported into a cluster given by PHYSICAL_KUBECONFIG: push them to a registry that it pulls from")

var errNoSyncerImage = fmt.Errorf("%w (see make images), and give the syncer's with SYNCER_IMAGE=", ErrNoImport)

// Imports says that images can be imported into the clusters; otherwise the user pushes them to a registry.
func (e *Environment) Imports() bool { return !e.state.Physical || e.state.Kind != "" }

// Import brings an image archive to the node of every cluster.
func (e *Environment) Import(ctx context.Context, tarPath string) error {
	if e.state.Kind != "" {
		_, err := run(ctx, "kind", "load", "image-archive", tarPath, "--name", e.state.Kind)
		return err
	}
	if e.state.Physical {
		return ErrNoImport
	}
	for _, cluster := range e.Clusters() {
		if _, err := e.ctr(ctx, cluster, "images", "import", tarPath); err != nil {
			return fmt.Errorf("importing %s into %s: %w", tarPath, cluster, err)
		}
	}
	return nil
}

func (e *Environment) ctr(ctx context.Context, cluster string, args ...string) (string, error) {
	return run(ctx, "ctr", append([]string{"--address", e.containerdSocket(cluster), "--namespace", "k8s.io"}, args...)...)
}

// hasImage asks the node itself: a note of ours would know nothing of a cluster that was added or made anew since.
func (e *Environment) hasImage(ctx context.Context, cluster, ref string) bool {
	list, err := e.ctr(ctx, cluster, "images", "list", "--quiet", "name=="+ref)
	return err == nil && strings.TrimSpace(list) != ""
}

// ensureImage packs a binary into an image and imports it, unless the cluster's node has it.
func (e *Environment) ensureImage(ctx context.Context, cluster, ref, binaryPath string) error {
	if e.hasImage(ctx, cluster, ref) {
		return nil
	}
	archive, err := e.BuildImage(ctx, ref, binaryPath)
	if err != nil {
		return err
	}
	if _, err := e.ctr(ctx, cluster, "images", "import", archive); err != nil {
		return fmt.Errorf("importing %s into %s: %w", ref, cluster, err)
	}
	return nil
}

// ensureImages brings the pause and the web image to a node, and builds them only if they are not there.
func (e *Environment) ensureImages(ctx context.Context, cluster string) error {
	for image, pkg := range map[string]string{PauseImage: "./test/framework/pause", WebImage: "./test/framework/web"} {
		if e.hasImage(ctx, cluster, image) {
			continue
		}
		binary, err := e.BuildProgram(ctx, pkg)
		if err != nil {
			return err
		}
		if err := e.ensureImage(ctx, cluster, image, binary); err != nil {
			return err
		}
	}
	return nil
}
