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

var notInFileNames = regexp.MustCompile(`[^a-zA-Z0-9._-]+`)

// BuildProgram builds a package of this repository as a static binary and returns its path in bin/ below the state
// directory.
func (e *Environment) BuildProgram(ctx context.Context, pkg string) (string, error) {
	out := e.path("bin", filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = e.Repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, msg)
	}
	return out, nil
}

// BuildImage packs a static binary into an image, without a container daemon: one layer, the binary as entrypoint, user
// 65532. It returns a docker archive for Import. Pods that use it need imagePullPolicy IfNotPresent.
func (e *Environment) BuildImage(_ context.Context, ref, binaryPath string) (tarPath string, err error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return "", err
	}
	program := filepath.Base(binaryPath)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return layerOf(binaryPath, program) })
	if err != nil {
		return "", fmt.Errorf("packing %s: %w", binaryPath, err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return "", err
	}
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		RootFS:       rootFS(image),
		Config:       v1.Config{Entrypoint: []string{"/" + program}, User: "65532:65532", WorkingDir: "/"},
	})
	if err != nil {
		return "", err
	}
	tarPath = e.path("images", notInFileNames.ReplaceAllString(ref, "-")+".tar")
	if err := os.MkdirAll(filepath.Dir(tarPath), 0o755); err != nil {
		return "", err
	}
	return tarPath, tarball.WriteToFile(tarPath, tag, image)
}

func rootFS(image v1.Image) v1.RootFS {
	if config, err := image.ConfigFile(); err == nil {
		return config.RootFS
	}
	return v1.RootFS{Type: "layers"}
}

// layerOf is a layer with one executable. It carries no time, so that the same binary makes the same image.
func layerOf(path, program string) (io.ReadCloser, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}); err != nil {
		return nil, err
	}
	if err := w.WriteHeader(&tar.Header{Name: program, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(data))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	return io.NopCloser(&buf), w.Close()
}

// ErrNoImport says that a cluster is the user's own: images must be pushed to a registry that it can pull from.
var ErrNoImport = errors.New("images cannot be imported into a cluster given by PHYSICAL_KUBECONFIG: push them to a registry that it pulls from")

// Import brings an image archive to the node of every cluster.
func (e *Environment) Import(ctx context.Context, tarPath string) error {
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

// ensurePauseImage brings the pause image to a node, and builds it only if it is not there.
func (e *Environment) ensurePauseImage(ctx context.Context, cluster string) error {
	if e.hasImage(ctx, cluster, PauseImage) {
		return nil
	}
	binary, err := e.BuildProgram(ctx, "./test/framework/pause")
	if err != nil {
		return err
	}
	return e.ensureImage(ctx, cluster, PauseImage, binary)
}
