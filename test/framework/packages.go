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

	"github.com/synctarget/synctarget/test/framework/progress"
)

// cniDirs are where distributions put the CNI plugins.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// requirement is a program by its Debian package.
type requirement struct{ pkg, program string }

// requirements of every environment: kcp is built with cgo, and so is the race detector; ip makes the bridge.
var requirements = []requirement{{"gcc", "gcc"}, {"iproute2", "ip"}}

// nodeRequirements are those of a node.
var nodeRequirements = []requirement{
	{"containerd", "containerd"},
	{"containerd", "ctr"},
	{"runc", "runc"},
	{"iptables", "iptables"},
	{"conntrack", "conntrack"},
	{"util-linux", "nsenter"},
	{"util-linux", "unshare"},
}

// libcHeader is part of libc6-dev, which gcc only recommends.
const libcHeader = "/usr/include/stdlib.h"

// EnsurePackages installs what building, testing and running a node need beyond Go, make and git.
func EnsurePackages(ctx context.Context, out io.Writer) error {
	return ensurePackages(ctx, true, progress.New(out))
}

// ensurePackages installs what the machine lacks, of a node's needs only where there is to be one. Where systemd runs, Debian starts containerd's own
// service with it; ours is another process beside it, with folders and a socket of its own.
func ensurePackages(ctx context.Context, node bool, p *progress.Reporter) error {
	missing := missingPackages(node)
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	instead := ""
	if node {
		instead = ", or use a cluster of your own with PHYSICAL_KUBECONFIG=<file>"
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("these packages (named as in Debian) are missing and there is no apt-get to install them: %s; install them%s", list, instead)
	}
	done := p.During("installing %s with apt-get", list)
	defer done()
	for _, args := range [][]string{{"update"}, append([]string{"install", "-y", "--no-install-recommends"}, missing...)} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s\ninstall %s yourself%s", args[0], err, out, list, instead)
		}
	}
	if missing := missingPackages(node); len(missing) > 0 {
		return fmt.Errorf("still missing after apt-get install: %s", strings.Join(missing, " "))
	}
	return nil
}

func missingPackages(node bool) []string {
	var missing []string
	needed := requirements
	if node {
		needed = slices.Concat(requirements, nodeRequirements)
	}
	for _, r := range needed {
		if _, err := exec.LookPath(r.program); err != nil && !slices.Contains(missing, r.pkg) {
			missing = append(missing, r.pkg)
		}
	}
	if _, err := os.Stat(libcHeader); err != nil {
		missing = append(missing, "libc6-dev")
	}
	if node && cniDir() == "" {
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
