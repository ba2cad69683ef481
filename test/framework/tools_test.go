package framework

import (
	"path/filepath"
	"testing"
)

// TestVersions: what the programs report is a version of Kubernetes, also where the program is kcp, which ends at once if
// it takes its own version for that.
func TestVersions(t *testing.T) {
	for name, tc := range map[string]struct {
		tool              tool
		version, reported string
	}{
		"kcp":        {kcpTool, "v0.31.2", "v1.35.1+kcp-v0.31.2"},
		"kubernetes": {kubernetesTool, "v1.34.4", "v1.34.4"},
	} {
		t.Run(name, func(t *testing.T) {
			version, reported, err := tc.tool.versions(filepath.Join("..", "tools", tc.tool.folder, "go.mod"))
			if version != tc.version || reported != tc.reported || err != nil {
				t.Errorf("versions() = %q, %q, %v, want %q, %q", version, reported, err, tc.version, tc.reported)
			}
		})
	}
	const want = "-X k8s.io/component-base/version.gitVersion=v1.35.1+kcp-v0.31.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=35"
	if got := versionFlags("v1.35.1+kcp-v0.31.2"); got != want {
		t.Errorf("versionFlags() = %s", got)
	}
}
