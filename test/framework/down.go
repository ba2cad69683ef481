package framework

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Down stops what Up and Start have started, in the reverse order, and removes every trace but the logs. It can be run
// again after a failure and is no error where nothing runs.
func (e *Environment) Down(ctx context.Context, out io.Writer) error {
	unlock, err := e.lock()
	if err != nil {
		return err
	}
	defer unlock()
	p := newProgress(out)
	if err := e.load(); err != nil {
		return err
	}
	// Containerd outlives its pods, or it would leave their mounts and networks behind without a word.
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"stopping processes", e.stopAll},
		{"stopping pods", e.killPods},
		{"unmounting", e.unmountAll},
		{"removing cgroups", func(context.Context) error { return e.deleteCgroups() }},
		{"removing the bridge", e.deleteBridge},
		{"restoring kernel settings", func(context.Context) error { return e.restoreSysctls() }},
		{"removing files", func(context.Context) error { return e.removeFiles() }},
	}
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	e.state = state{}
	p.say("down; logs are kept in %s", e.path("log"))
	return nil
}

func (e *Environment) stopAll(context.Context) error {
	all, err := e.records()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range all {
		errs = append(errs, e.Stop(r.Process.Name))
	}
	return errors.Join(errs...)
}

// killPods ends containerd's shims and all below them. They are children of init by design, so that pods survive a
// restart of containerd; they are ours if they were given our socket.
func (e *Environment) killPods(context.Context) error {
	for i := range e.state.Clusters {
		socket := e.containerdSocket(clusterName(i + 1))
		var shims []int
		processes(func(pid int, cmdline string) {
			if strings.Contains(cmdline, "containerd-shim") && strings.Contains(cmdline, "-address "+socket+" ") {
				shims = append(shims, pid)
			}
		})
		doomed := withDescendants(shims)
		for _, id := range doomed {
			if err := id.signal(syscall.SIGKILL); err != nil {
				return err
			}
		}
		for _, id := range doomed {
			if !awaitEnd(id, 10*time.Second) {
				return fmt.Errorf("pid %d survives SIGKILL", id.PID)
			}
		}
	}
	return nil
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

func (e *Environment) deleteCgroups() error { return deleteCgroup("/" + e.id()) }

// removeFiles removes all but the logs, and first what lies outside of the state directory and knows us by name.
func (e *Environment) removeFiles() error {
	addresses, _ := filepath.Glob(e.path("clusters", "*", "containerd", "state", "io.containerd.runtime.v2.task", "k8s.io", "*", "address"))
	for _, file := range addresses {
		if data, err := os.ReadFile(file); err == nil {
			_ = os.Remove(strings.TrimPrefix(strings.TrimSpace(string(data)), "unix://")) // a shim's socket, in /run/containerd
		}
	}
	cached, _ := filepath.Glob("/var/lib/cni/results/" + e.id() + "-*")
	for _, file := range cached {
		_ = os.Remove(file)
	}
	links, _ := filepath.Glob("/var/log/containers/*.log")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, e.Dir+"/") {
			_ = os.Remove(link)
		}
	}
	for _, name := range []string{"kcp", "clusters", "images", "bin", "run", "kcp.kubeconfig", "state.json"} {
		if err := os.RemoveAll(e.path(name)); err != nil {
			return err
		}
	}
	return nil
}
