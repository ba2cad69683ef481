package framework

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// releasedImages are the programs that run in clusters, by the name of their image.
var releasedImages = []string{"synctarget-controller", "syncer"}

// defaultRegistry is the one in config/manager, whose images a release replaces.
const defaultRegistry = "ghcr.io/synctarget"

// Release is a version of the two images.
type Release struct {
	// Registry and path before the images' names, as registry.example.com/team. Empty: archives instead of a push.
	Registry string
	// Version is the tag, and what the programs call themselves.
	Version string
	// Architectures by Go's names.
	Architectures []string
	// Dir is where binaries, archives and the kustomization go.
	Dir string
}

func (r Release) ref(image string) string {
	registry := r.Registry
	if registry == "" {
		registry = defaultRegistry
	}
	return strings.TrimSuffix(registry, "/") + "/" + image + ":" + r.Version
}

// Publish builds both images, without a container daemon, and pushes them, one tag for all architectures, with the
// credentials of docker's or podman's login. Without a registry it writes one archive per image and architecture. It
// returns what it made, line by line.
func (e *Environment) Publish(ctx context.Context, r Release) (made []string, err error) {
	if r.Version == "" || len(r.Architectures) == 0 {
		return nil, errors.New("a release needs a version and an architecture")
	}
	for _, program := range releasedImages {
		published, err := e.publishImage(ctx, r, program)
		if err != nil {
			return nil, err
		}
		made = append(made, published...)
	}
	return made, r.writeManager(e.Repo)
}

// publishImage builds the image of a program and pushes it, or writes its archives.
func (e *Environment) publishImage(ctx context.Context, r Release, program string) (made []string, err error) {
	tag, err := name.NewTag(r.ref(program))
	if err != nil {
		return nil, err
	}
	images, err := e.buildRelease(ctx, r, program)
	if err != nil {
		return nil, err
	}
	if r.Registry == "" {
		return e.writeArchives(r, tag, images)
	}
	digest, err := push(ctx, tag, images)
	if err != nil {
		return nil, fmt.Errorf("pushing %s: %w", tag, err)
	}
	return []string{tag.Name() + "@" + digest}, nil
}

// writeArchives writes one archive per architecture and returns their paths.
func (e *Environment) writeArchives(r Release, tag name.Tag, images []v1.Image) (paths []string, err error) {
	for i, image := range images {
		path, err := e.writeArchive(filepath.Join(r.Dir, r.Architectures[i]), tag.Name(), image)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// buildRelease builds a program for every architecture and packs it.
func (e *Environment) buildRelease(ctx context.Context, r Release, program string) ([]v1.Image, error) {
	var images []v1.Image
	for _, arch := range r.Architectures {
		binary := filepath.Join(r.Dir, arch, program)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+r.Version, "-o", binary, "./cmd/"+program)
		cmd.Dir = e.Repo
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if msg, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building %s for %s: %w\n%s", program, arch, err, msg)
		}
		image, err := imageOf(binary, arch)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

// push puts the images under one tag and returns the digest.
func push(ctx context.Context, tag name.Tag, images []v1.Image) (digest string, err error) {
	index := v1.ImageIndex(empty.Index)
	for _, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			return "", err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture}},
		})
	}
	if err := remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", err
	}
	hash, err := index.Digest()
	return hash.String(), err
}

// writeManager writes <dir>/manager, which is config/manager with these images. The syncer's stands in a variable, where
// kustomize looks for images only if it is told to, and in every folder anew.
func (r Release) writeManager(repo string) error {
	dir := filepath.Join(r.Dir, "manager")
	base, err := filepath.Rel(dir, filepath.Join(repo, "config", "manager"))
	if err != nil {
		return err
	}
	where, err := os.ReadFile(filepath.Join(repo, "config", "manager", "images.yaml"))
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, "images.yaml"), where, 0o644); err != nil {
		return err
	}
	text := "# Made by `make images`: config/manager with the images of " + r.Version + ".\n" +
		"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" +
		"resources: [" + base + "]\nconfigurations: [images.yaml]\nimages:\n"
	for _, image := range releasedImages {
		ref := r.ref(image)
		colon := strings.LastIndex(ref, ":")
		text += fmt.Sprintf("- {name: %s/%s, newName: %q, newTag: %q}\n", defaultRegistry, image, ref[:colon], ref[colon+1:])
	}
	return writeFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644)
}
