package toolchain

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// linkFlags leave out debug information, which nobody reads here: it costs time to compile and to link.
const linkFlags = "-s -w"

// goBuild builds a step's programs into a temporary folder and moves them, so that an interrupted build is never taken
// for a finished one.
func goBuild(ctx context.Context, module, dir, reported string, s source, st step) error {
	temp, err := os.MkdirTemp(dir, ".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)

	flags, cgo := linkFlags, "CGO_ENABLED=1"
	if s.reports != "" {
		flags += " " + versionFlags(reported)
	}
	if s.static {
		cgo = "CGO_ENABLED=0"
	}
	args := []string{"build", "-gcflags=all=-dwarf=false", "-ldflags", flags, "-o", temp + "/"}
	for _, p := range st.programs {
		args = append(args, p.pkg)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), cgo, "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s in %s: %w\n%s", strings.Join(st.names(), ", "), module, err, out)
	}
	for _, p := range st.programs {
		built := executable(p.pkg)
		if p.pkg == "." {
			built = "tools." + p.name // the module's name
		}
		if err := os.Rename(filepath.Join(temp, built), filepath.Join(dir, p.name)); err != nil {
			return err
		}
	}
	return nil
}

// executable is the name that `go build` gives the program of a package: the last element of its path that is not a
// major version.
func executable(pkg string) string {
	base := filepath.Base(pkg)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		return filepath.Base(filepath.Dir(pkg))
	}
	return base
}

func (st step) names() []string {
	names := make([]string, 0, len(st.programs))
	for _, p := range st.programs {
		names = append(names, p.name)
	}
	return names
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
