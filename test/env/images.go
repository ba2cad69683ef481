package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/synctarget/synctarget/test/framework"
)

// images builds the two images and pushes them to IMAGE_REGISTRY, or writes archives where there is none.
func images(ctx context.Context, env *framework.Environment) error {
	r := framework.Release{
		Registry:      os.Getenv("IMAGE_REGISTRY"),
		Version:       os.Getenv("VERSION"),
		Architectures: strings.FieldsFunc(cmp.Or(os.Getenv("ARCH"), runtime.GOARCH), func(r rune) bool { return r == ' ' || r == ',' }),
		Dir:           filepath.Join(env.Repo, "bin", "release"),
	}
	if r.Version == "" {
		cmd := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty")
		cmd.Dir = env.Repo
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("asking git for a version: %w; give one with VERSION=", err)
		}
		r.Version = strings.TrimSpace(string(out))
	}
	fmt.Printf("building version %s for %s\n", r.Version, strings.Join(r.Architectures, ", "))
	made, err := env.Publish(ctx, r)
	if err != nil {
		return err
	}
	for _, line := range made {
		fmt.Println("  " + line)
	}
	if r.Registry == "" {
		fmt.Println("These are docker archives; with IMAGE_REGISTRY=registry/path the images are pushed instead.")
		return nil
	}
	fmt.Println("Install this version beside kcp with: kubectl apply -k " + filepath.Join("bin", "release", "manager"))
	return nil
}
