package framework

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// cniDirs are where distributions put the CNI plugins.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// requirements of a node, by Debian package.
var requirements = []struct{ pkg, program string }{
	{"containerd", "containerd"},
	{"containerd", "ctr"},
	{"runc", "runc"},
	{"iptables", "iptables"},
	{"conntrack", "conntrack"},
	{"iproute2", "ip"},
	{"util-linux", "nsenter"},
	{"util-linux", "unshare"},
	// kubelet is built with cgo, and so is the race detector.
	{"gcc", "gcc"},
}

// libcHeader is part of libc6-dev, which gcc only recommends.
const libcHeader = "/usr/include/stdlib.h"

// EnsurePackages installs what building, testing and running a node need beyond Go, make and git.
func EnsurePackages(ctx context.Context, out io.Writer) error {
	return ensurePackages(ctx, newProgress(out))
}

// ensurePackages installs what a node needs and the machine lacks. It starts none of the services that come with it.
func ensurePackages(ctx context.Context, p *progress) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("these packages (named as in Debian) are missing and there is no apt-get to install them: %s; install them, or use a cluster of your own with PHYSICAL_KUBECONFIG=<file>", list)
	}
	done := p.during("installing %s with apt-get", list)
	defer done()
	for _, args := range [][]string{{"update"}, append([]string{"install", "-y", "--no-install-recommends"}, missing...)} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s\ninstall %s yourself, or use a cluster of your own with PHYSICAL_KUBECONFIG=<file>", args[0], err, out, list)
		}
	}
	if missing := missingPackages(); len(missing) > 0 {
		return fmt.Errorf("still missing after apt-get install: %s", strings.Join(missing, " "))
	}
	return nil
}

func missingPackages() []string {
	var missing []string
	for _, r := range requirements {
		if _, err := exec.LookPath(r.program); err != nil && !slices.Contains(missing, r.pkg) {
			missing = append(missing, r.pkg)
		}
	}
	if _, err := os.Stat(libcHeader); err != nil {
		missing = append(missing, "libc6-dev")
	}
	if cniDir() == "" {
		missing = append(missing, "containernetworking-plugins")
	}
	return missing
}

func cniDir() string {
	for _, dir := range cniDirs {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir
		}
	}
	return ""
}
