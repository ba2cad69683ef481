package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// krew is the package manager for kubectl plugins.
type krew struct {
	path string
}

// check has krew install the plugin of a platform from its archive, as it would after a download, into a folder that is removed
// again. If the plugin can run here, it has to say its version.
func (k krew) check(ctx context.Context, manifestPath, archive, version string, p platform) (err error) {
	root, err := os.MkdirTemp("", "krew-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	labels := p.Selector.MatchLabels
	install := exec.CommandContext(ctx, k.path, "install", "--manifest="+manifestPath, "--archive="+archive)
	install.Env = append(os.Environ(), "KREW_ROOT="+root, "KREW_OS="+labels.OS, "KREW_ARCH="+labels.Arch, "KREW_NO_UPGRADE_CHECK=1")
	if output, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("installing %s with krew: %w\n%s", archive, err, output)
	}
	program := filepath.Join(root, "bin", p.Bin)
	if p.String() != runtime.GOOS+"/"+runtime.GOARCH {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("krew has not installed %s of %s: %w", p.Bin, archive, err)
		}
		return nil
	}
	output, err := exec.CommandContext(ctx, program, "version", "--client").Output()
	if err != nil {
		return fmt.Errorf("running %s of %s: %w", p.Bin, archive, err)
	}
	return equal("output of "+p.Bin+" version --client", strings.TrimSpace(string(output)), "Client version: "+version)
}
