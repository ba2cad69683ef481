package toolchain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The programs of an environment.
const (
	KCP     = "kcp"
	Kubectl = "kubectl"
	CoreDNS = "coredns"
)

// kubernetesModule is the module whose version programs report: feature gates and clients depend on it.
const kubernetesModule = "k8s.io/kubernetes"

// source is a Go module below test/tools whose programs are built from the versions in its go.mod.
type source struct {
	// folder below test/tools, and the first part of the folder in the cache.
	folder string
	// module whose version is the source's version.
	module string
	// reports is the module whose version the programs report; empty where they know their own.
	reports string
	// static programs are built without cgo, for an image that holds nothing else.
	static bool
	// steps are built in this order.
	steps []step
	// minutes is about how long all steps take on two cores with an empty build cache, beside the other sources.
	minutes int
}

func (s source) about() string {
	return fmt.Sprintf("about %d min on 2 cores, beside the others", s.minutes)
}

// step is one `go build`. Programs that are needed first are built first; programs of one step share its work.
type step struct {
	programs []program
}

// program is a name and the package that it is built from.
type program struct{ name, pkg string }

// sources are all modules. kubelet needs cgo, so all programs of Kubernetes are built with it: a package that is compiled
// with cgo for one program and without it for another is compiled twice.
func sources() []source {
	return []source{
		{folder: "kcp", module: "github.com/kcp-dev/kcp", reports: kubernetesModule, steps: []step{
			{programs: []program{{KCP, "github.com/kcp-dev/kcp/cmd/kcp"}}},
		}, minutes: 23},
		{folder: "kubernetes", module: kubernetesModule, reports: kubernetesModule, steps: []step{
			{programs: []program{
				{"etcd", "go.etcd.io/etcd/server/v3"},
				{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"},
				{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"},
				{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"},
			}},
			{programs: []program{
				{"kubelet", "k8s.io/kubernetes/cmd/kubelet"},
				{"kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"},
				{Kubectl, "k8s.io/kubernetes/cmd/kubectl"},
			}},
		}, minutes: 24},
		{folder: CoreDNS, module: "github.com/coredns/coredns", static: true, steps: []step{
			{programs: []program{{CoreDNS, "."}}},
		}, minutes: 7},
	}
}

// names returns the programs of a source, in the order in which they are built.
func (s source) names() []string {
	var names []string
	for _, st := range s.steps {
		for _, p := range st.programs {
			names = append(names, p.name)
		}
	}
	return names
}

// NodePrograms are the programs of a cluster with a node.
func NodePrograms() []string {
	var names []string
	for _, s := range sources() {
		names = append(names, s.names()...)
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == KCP || name == Kubectl })
}

// versions returns the source's own version, and the one that its programs report. kcp reports the version of the
// Kubernetes that it is made of, from which its feature gates follow: with its own v0.31 it does not start.
func (s source) versions(gomod string) (version, reported string, err error) {
	if version, err = moduleVersion(gomod, s.module); err != nil || s.reports == "" || s.reports == s.module {
		return version, version, err
	}
	if reported, err = moduleVersion(gomod, s.reports); err != nil {
		return "", "", err
	}
	return version, reported + "+" + s.folder + "-" + version, nil
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

// CacheDir is the folder that all environments of the user share: $SYNCTARGET_CACHE, or synctarget in the user's cache.
func CacheDir() (string, error) {
	if dir := os.Getenv("SYNCTARGET_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	// Not os.UserCacheDir, which on other systems than Linux ignores XDG_CACHE_HOME.
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "synctarget"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.Join(errors.New("set SYNCTARGET_CACHE to a folder for built programs"), err)
	}
	return filepath.Join(home, ".cache", "synctarget"), nil
}
