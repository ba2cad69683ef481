package framework

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// tool is a module under test/tools whose programs are built once per version into the cache.
type tool struct {
	// folder below test/tools, and the first part of the folder in the cache.
	folder string
	// module whose version in the folder's go.mod is the tool's version.
	module string
	builds []build
}

// build is one `go build`; what is built together shares its work.
type build struct {
	// programs maps the name of a program to its package.
	programs map[string]string
	cgo      bool
	// about is said to whoever waits.
	about string
}

var (
	kcpTool = tool{"kcp", "github.com/kcp-dev/kcp", []build{
		{map[string]string{"kcp": "github.com/kcp-dev/kcp/cmd/kcp"}, true, "about 8 min"},
	}}
	kubernetesTool = tool{"kubernetes", "k8s.io/kubernetes", []build{
		{map[string]string{
			"kube-apiserver":          "k8s.io/kubernetes/cmd/kube-apiserver",
			"kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
			"kube-scheduler":          "k8s.io/kubernetes/cmd/kube-scheduler",
			"kube-proxy":              "k8s.io/kubernetes/cmd/kube-proxy",
		}, false, "about 10 min"},
		// kubelet asks for cgo: its cAdvisor and seccomp parts are left out without it.
		{map[string]string{"kubelet": "k8s.io/kubernetes/cmd/kubelet"}, true, "about 4 min"},
		{map[string]string{"etcd": "go.etcd.io/etcd/server/v3"}, false, "about 1 min"},
	}}
	kubectlTool = tool{"kubernetes", "k8s.io/kubernetes", []build{
		{map[string]string{"kubectl": "k8s.io/kubernetes/cmd/kubectl"}, false, "about 1 min"},
	}}
)

// cacheDir is shared by all environments of the user; tools are built into <cache>/tools/<folder>-<reported version>.
func cacheDir() (string, error) {
	if dir := os.Getenv("SYNCTARGET_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	// Not os.UserCacheDir, which on other systems than Linux does not know XDG_CACHE_HOME.
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "synctarget"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".cache", "synctarget"), nil
}

// ensureTool returns the folder that holds the programs of t, and builds those that are missing.
func (e *Environment) ensureTool(ctx context.Context, t tool, p *progress) (string, error) {
	source := filepath.Join(e.Repo, "test", "tools", t.folder)
	version, reported, err := t.versions(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "tools", t.folder+"-"+reported)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, b := range t.builds {
		if len(b.missing(dir)) == 0 {
			continue
		}
		if err := b.run(ctx, source, dir, version, versionFlags(reported), p); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func (b build) missing(dir string) []string {
	var names []string
	for name := range b.programs {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			names = append(names, name)
		}
	}
	return names
}

// run builds into a temporary folder and renames, so that an interrupted build is never taken for a finished one.
func (b build) run(ctx context.Context, source, dir, version, ldflags string, p *progress) error {
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	// Whoever is building now does our work too.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	names := b.missing(dir)
	if len(names) == 0 {
		return nil
	}
	temp, err := os.MkdirTemp(dir, ".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)

	args := []string{"build", "-ldflags", ldflags, "-o", temp + "/"}
	if len(names) == 1 {
		args[len(args)-1] = filepath.Join(temp, names[0]) // etcd's package is called server/v3
	}
	for _, name := range names {
		args = append(args, b.programs[name])
	}
	cgo := "CGO_ENABLED=0"
	if b.cgo {
		cgo = "CGO_ENABLED=1"
	}
	done := p.during("building %s %s (%s on 2 cores, once)", strings.Join(names, ", "), version, b.about)
	defer done()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), cgo, "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s in %s: %w\n%s", strings.Join(names, ", "), source, err, out)
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(temp, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// versions are the tool's own, and the one that its programs are to report: that of the Kubernetes they are made of, from
// which their feature gates follow. A kcp that takes its own v0.31 for Kubernetes' does not start.
func (t tool) versions(gomod string) (version, reported string, err error) {
	const kubernetes = "k8s.io/kubernetes"
	if version, err = moduleVersion(gomod, t.module); err != nil || t.module == kubernetes {
		return version, version, err
	}
	if reported, err = moduleVersion(gomod, kubernetes); err != nil {
		return "", "", err
	}
	return version, reported + "+" + t.folder + "-" + version, nil
}

// versionFlags set the version that programs report; without them it is "v0.0.0-master+$Format:%H$", which clients cannot
// parse.
func versionFlags(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return ""
	}
	const pkg = "-X k8s.io/component-base/version."
	return pkg + "gitVersion=" + version + " " + pkg + "gitMajor=" + parts[0] + " " + pkg + "gitMinor=" + parts[1]
}

// moduleVersion reads the required version of a module from a go.mod.
func moduleVersion(gomod, module string) (string, error) {
	data, err := os.ReadFile(gomod)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", gomod, module)
}
