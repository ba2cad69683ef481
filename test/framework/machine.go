package framework

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroup is the parent of all pods of a cluster, in every cgroup hierarchy.
func (e *Environment) cgroup(c clusterPlan) string { return "/" + e.id() + "/" + c.Name }

// ensureCgroup makes a cgroup, which kubelet wants to find as it starts.
func ensureCgroup(cgroup string) error {
	for _, root := range cgroupRoots() {
		dir := root
		for _, part := range strings.Split(strings.Trim(cgroup, "/"), "/") {
			// In version 2 the parent decides what the child can control. A controller that is not there is not needed.
			if controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers")); err == nil {
				for _, name := range strings.Fields(string(controllers)) {
					_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0)
				}
			}
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return nil
}

// deleteCgroup removes a cgroup and all below it. The kernel allows that when no process is left in it.
func deleteCgroup(cgroup string) error {
	dirs := cgroupDirs(cgroup)
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := syscall.Rmdir(dirs[i]); err != nil && err != syscall.ENOENT {
			return &fs.PathError{Op: "rmdir", Path: dirs[i], Err: err}
		}
	}
	return nil
}

// cgroupProcesses are the processes in a cgroup and below it.
func cgroupProcesses(cgroup string) []int {
	var pids []int
	for _, dir := range cgroupDirs(cgroup) {
		data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// cgroupDirs are the folders of a cgroup and all below it in every hierarchy, parents before children.
func cgroupDirs(cgroup string) []string {
	var dirs []string
	for _, root := range cgroupRoots() {
		_ = filepath.WalkDir(filepath.Join(root, cgroup), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // what vanishes meanwhile is as good as removed
		})
	}
	return dirs
}

// cgroupRoots are the mounted hierarchies: one in version 2, one per controller in version 1.
func cgroupRoots() []string {
	var roots []string
	for _, m := range mounts() {
		if (m.kind == "cgroup" || m.kind == "cgroup2") && strings.HasPrefix(m.path, cgroupMount) {
			roots = append(roots, m.path)
		}
	}
	return roots
}

type mount struct{ path, kind string }

// mounts of this process, the latest last, see proc_pid_mountinfo(5).
func mounts() []mount {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	var all []mount
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) > 4 && len(right) > 0 {
			// Blanks in paths are written in octal; nothing else that is escaped occurs here.
			all = append(all, mount{strings.ReplaceAll(left[4], `\040`, " "), right[0]})
		}
	}
	return all
}

func isMounted(path string) bool {
	for _, m := range mounts() {
		if m.path == path {
			return true
		}
	}
	return false
}

// sysctls are the machine's settings that kubelet changes.
var sysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// rememberSysctls notes the settings before the first kubelet starts; Down puts them back.
func (e *Environment) rememberSysctls() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state.Sysctls != nil {
		return nil
	}
	e.state.Sysctls = map[string]string{}
	for _, name := range sysctls {
		if data, err := os.ReadFile("/proc/sys/" + name); err == nil {
			e.state.Sysctls[name] = strings.TrimSpace(string(data))
		}
	}
	return e.save()
}

func (e *Environment) restoreSysctls() error {
	var errs []error
	for name, value := range e.state.Sysctls {
		errs = append(errs, os.WriteFile("/proc/sys/"+name, []byte(value), 0))
	}
	return errors.Join(errs...)
}

// snapshotter of containerd: overlay does not lie upon overlay, as when the state directory is inside a container.
func snapshotter(dir string) string {
	const overlayMagic = 0x794c7630
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) == nil && st.Type == overlayMagic {
		return "native"
	}
	return "overlayfs"
}

// mustLook finds a program that ensurePackages has seen.
func mustLook(program string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		return program
	}
	return path
}
