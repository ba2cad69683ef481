package toolchain

import (
	"path/filepath"
	"testing"
)

var toolsDir = filepath.Join("..", "..", "tools")

// TestVersions: what the programs report is a version of Kubernetes, also for kcp, which does not start if it takes its own
// version for that.
func TestVersions(t *testing.T) {
	want := map[string][2]string{
		"kcp":        {"v0.31.2", "v1.35.1+kcp-v0.31.2"},
		"kubernetes": {"v1.34.4", "v1.34.4"},
		"coredns":    {"v1.14.4", "v1.14.4"},
	}
	for _, s := range sources() {
		version, reported, err := s.versions(filepath.Join(toolsDir, s.folder, "go.mod"))
		if got := [2]string{version, reported}; got != want[s.folder] || err != nil {
			t.Errorf("versions of %s = %q, %v, want %q", s.folder, got, err, want[s.folder])
		}
	}
	const flags = "-X k8s.io/component-base/version.gitVersion=v1.35.1+kcp-v0.31.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=35"
	if got := versionFlags("v1.35.1+kcp-v0.31.2"); got != flags {
		t.Errorf("versionFlags() = %s", got)
	}
}

func TestExecutable(t *testing.T) {
	for pkg, want := range map[string]string{
		"k8s.io/kubernetes/cmd/kubelet": "kubelet",
		"go.etcd.io/etcd/server/v3":     "server",
		"./coredns":                     "coredns",
		"example.com/vault":             "vault",
	} {
		if got := executable(pkg); got != want {
			t.Errorf("executable(%q) = %q, want %q", pkg, got, want)
		}
	}
}

// TestReleases: each archive in releases.json is for the version in go.mod, so that a new version does not silently bring
// the long build back, has one checksum, and holds programs that exist.
func TestReleases(t *testing.T) {
	archives, err := loadArchives(releasesFile)
	if err != nil {
		t.Fatal(err)
	}
	folder := map[string]string{} // of a program's module
	for _, s := range sources() {
		for _, name := range s.names() {
			folder[name] = s.folder
		}
	}
	for _, a := range archives {
		if len(a.SHA256) != 64 && len(a.SHA512) != 128 || a.Source == "" {
			t.Errorf("%s has no checksum, or none with a source", a.URL)
		}
		for name := range a.Programs {
			version, err := moduleVersion(filepath.Join(toolsDir, folder[name], "go.mod"), a.Module)
			if err != nil || version != a.Version {
				t.Errorf("%s holds %s of %s %s, and go.mod requires %q, %v", a.URL, name, a.Module, a.Version, version, err)
			}
		}
	}
}
