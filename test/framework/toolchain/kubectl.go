package toolchain

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// FindKubectl returns the path of a kubectl in the PATH whose version fits both API servers, kcp's 1.35 and the clusters'
// 1.34: kubectl supports one minor version to either side. It is empty if there is none. link is the environment's own link to
// a kubectl, which may be in the PATH too: what it links to is returned in its place.
func FindKubectl(ctx context.Context, link string) string {
	path, err := exec.LookPath(Kubectl)
	if err == nil && path == link {
		path, err = os.Readlink(link)
	}
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version", "--client", "--output=json").Output()
	if err != nil || !kubectlFits(out) {
		return ""
	}
	return path
}

// kubectlFits reads what `kubectl version --client --output=json` prints.
func kubectlFits(out []byte) bool {
	var v struct {
		ClientVersion struct{ Major, Minor string }
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return false
	}
	minor, err := strconv.Atoi(strings.TrimRight(v.ClientVersion.Minor, "+"))
	return err == nil && v.ClientVersion.Major == "1" && minor >= 34 && minor <= 35
}
