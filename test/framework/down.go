package framework

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/synctarget/synctarget/test/framework/progress"
)

// Down stops what Up and Start have started and removes every trace but the logs. It can be run
// again after a failure and is no error where nothing runs.
func (e *Environment) Down(ctx context.Context, out io.Writer) error {
	unlock, err := e.lock()
	if err != nil {
		return err
	}
	defer unlock()
	p := progress.New(out)
	if err := e.load(); err != nil {
		return err
	}
	if e.state.Physical && e.state.Kind == "" {
		p.Say("your cluster keeps what SyncTargets installed in it that were not deleted before: Namespaces, ClusterRoles and ClusterRoleBindings kcp-syncer-*, which kubectl get ns,clusterrole,clusterrolebinding -l workload.kcp.io/key shows there")
	}
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"stopping processes", e.stopAll},
		{"deleting the kind cluster", e.deleteKind},
		{"stopping pods", e.killPods},
		{"unmounting", e.unmountAll},
		{"removing cgroups", e.deleteCgroups},
		{"removing the bridge", e.deleteBridge},
		{"restoring kernel settings", func(context.Context) error { return e.restoreSysctls() }},
		{"removing files", e.removeFiles},
	}
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	e.state = state{}
	p.Say("down; logs are kept in %s", e.path("log"))
	return nil
}

// stopAll stops everything at once: nothing is kept, so no order is better than another, and nobody needs long.
func (e *Environment) stopAll(context.Context) error {
	all, err := e.records()
	if err != nil {
		return err
	}
	var stopping errgroup.Group
	for _, r := range all {
		stopping.Go(func() error { return e.stop(r, 5*time.Second) })
	}
	return stopping.Wait()
}

// killPods ends what containerd leaves running by design, so that pods survive its restart. Two marks tell that it is
// ours: a shim was given a socket below our state directory, and pods' processes are in our cgroup.
func (e *Environment) killPods(ctx context.Context) error {
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		doomed := cgroupProcesses("/" + e.id())
		processes(func(pid int, args []string) {
			i := slices.Index(args, "-address")
			if strings.Contains(args[0], "containerd-shim") && i >= 0 && i+1 < len(args) && strings.HasPrefix(args[i+1], e.Dir+"/") {
				doomed = append(doomed, pid)
			}
		})
		living := 0
		for _, pid := range doomed {
			id, err := identify(pid)
			if err != nil || !id.alive() {
				continue
			}
			living++
			if err := id.signal(syscall.SIGKILL); err != nil {
				return false, err
			}
		}
		return living == 0, nil
	})
}

// unmountAll takes away what is mounted below the state directory: pods' volumes, root filesystems and network
// namespaces, and the clusters' network namespaces. The last mounted goes first.
func (e *Environment) unmountAll(context.Context) error {
	all := mounts()
	for i := len(all) - 1; i >= 0; i-- {
		if !strings.HasPrefix(all[i].path, e.Dir+"/") {
			continue
		}
		if err := syscall.Unmount(all[i].path, 0); err != nil {
			// Busy means that somebody looks into it; it goes when they leave.
			const detach = 2 // MNT_DETACH
			if err := syscall.Unmount(all[i].path, detach); err != nil {
				return fmt.Errorf("%s: %w", all[i].path, err)
			}
		}
	}
	return nil
}

// deleteCgroups waits a little: the kernel holds a cgroup for a moment after its last process has ended.
func (e *Environment) deleteCgroups(ctx context.Context) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		last = deleteCgroup("/" + e.id())
		return last == nil, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

const devicePlugins = "/var/lib/kubelet/device-plugins"

// removeFiles removes all but the logs, and first what containerd, CNI and kubelet have put outside of the state directory.
func (e *Environment) removeFiles(ctx context.Context) error {
	bundles, _ := filepath.Glob(e.path("clusters", "*", "containerd", "state", "io.containerd.runtime.v2.task", "k8s.io", "*"))
	for _, bundle := range bundles {
		id := filepath.Base(bundle)
		if socket, err := os.ReadFile(filepath.Join(bundle, "address")); err == nil {
			_ = os.Remove(strings.TrimPrefix(strings.TrimSpace(string(socket)), "unix://"))
		}
		_ = os.RemoveAll(filepath.Join("/run/containerd/runc/k8s.io", id))
		removeAll("/var/lib/cni/results/*-" + id + "-*")
	}
	removeAll("/var/lib/cni/results/" + e.id() + "-*")
	links, _ := filepath.Glob("/var/log/containers/*.log")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, e.Dir+"/") {
			_ = os.Remove(link)
		}
	}
	// Kubelet's socket for device plugins is at a fixed place, and every kubelet of the machine takes it from the last.
	if probe(ctx, "unix://"+devicePlugins+"/kubelet.sock") != nil {
		_ = os.Remove(devicePlugins + "/kubelet.sock")
		_ = syscall.Rmdir(devicePlugins)
		_ = syscall.Rmdir(filepath.Dir(devicePlugins)) // not if it holds anything
	}
	removeAll(e.path("*.kubeconfig"))
	for _, name := range []string{"kcp", "clusters", "images", "bin", "run", "state.json"} {
		if err := os.RemoveAll(e.path(name)); err != nil {
			return err
		}
	}
	return nil
}

func removeAll(pattern string) {
	files, _ := filepath.Glob(pattern)
	for _, file := range files {
		_ = os.Remove(file)
	}
}
