package framework

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// modulePath tells our repository from others when searching upwards for its root.
const modulePath = "github.com/synctarget/synctarget"

// longestStateDir keeps the unix sockets below the state directory within the kernel's 107 bytes; the longest are
// kubelet's, 52 bytes below it.
const longestStateDir = 54

// Environment is a kcp and physical clusters, rooted in one state directory. Its methods may be used by several
// processes one after the other: everything that must be remembered is on disk.
type Environment struct {
	// Dir is the state directory, absolute.
	Dir string
	// Repo is the root of the repository whose programs are built.
	Repo string

	// mu guards state while Up starts clusters side by side.
	mu    sync.Mutex
	state state
	// building keeps parallel stories from building a program into the same file at once.
	building sync.Mutex
	// linking keeps clusters that start side by side from linking kubectl at once.
	linking sync.Mutex
}

// state is what the first Up decides and every later one keeps, so that addresses and URLs survive restarts.
type state struct {
	// Network is empty as long as Up never got as far as the network.
	Network network `json:"network"`
	KCP     kcpPlan `json:"kcp"`
	// Clusters built by us, in order; a PHYSICAL_KUBECONFIG is not among them.
	Clusters []string `json:"clusters,omitempty"`
	// Physical is true if clusters/cluster-1.kubeconfig was given by the user.
	Physical bool `json:"physical,omitempty"`
	// Kind is the name of the kind cluster that Up created; Physical is true with it.
	Kind string `json:"kind,omitempty"`
	// SyncerImage is the image that the user pushed for that cluster.
	SyncerImage string `json:"syncerImage,omitempty"`
	// KCPBinary is the kcp that the user gave, empty for the one we build: another one is not started on its data.
	KCPBinary string `json:"kcpBinary,omitempty"`
	// Services are the ports of controllers, by name; see WithAddresses.
	Services map[string]servicePorts `json:"services,omitempty"`
	// Sysctls are the machine's settings as they were before the first kubelet changed them.
	Sysctls map[string]string `json:"sysctls,omitempty"`
}

// Open returns the environment in dir, or in .local of the repository around the working directory if dir is empty.
// Nothing is started or changed.
func Open(dir string) (*Environment, error) {
	repo, err := findRepo()
	if err != nil {
		return nil, err
	}
	if repo, err = filepath.EvalSymlinks(repo); err != nil {
		return nil, err
	}
	if dir == "" {
		if dir, err = defaultDir(filepath.Join(repo, ".local")); err != nil {
			return nil, err
		}
	}
	if dir, err = realPath(dir); err != nil {
		return nil, err
	}
	if len(dir) > longestStateDir {
		return nil, fmt.Errorf("state directory %q is longer than %d bytes, which unix sockets below it cannot bear: choose a shorter one with STATE_DIR=", dir, longestStateDir)
	}
	e := &Environment{Dir: dir, Repo: repo}
	if err := e.load(); err != nil {
		return nil, err
	}
	return e, e.bypassProxy()
}

// defaultDir is the directory itself, or, where its path is too long for sockets, a short one that it is made a link to.
func defaultDir(dir string) (string, error) {
	if len(dir) <= longestStateDir {
		return dir, nil
	}
	sum := sha256.Sum256([]byte(dir))
	short := filepath.Join(os.TempDir(), "synctarget-"+hex.EncodeToString(sum[:])[:8])
	if err := os.MkdirAll(short, 0o755); err != nil {
		return "", err
	}
	if err := os.Symlink(short, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return short, nil
}

// realPath is the path without symbolic links, as the kernel shows it in mountinfo and in the arguments of containerd's
// shims, by which Down finds what is ours. The end of the path need not exist yet.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	found, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	if _, err := os.Lstat(path); err == nil {
		return "", fmt.Errorf("%s is a link to what does not exist: remove it or make its target", path)
	}
	parent, err := realPath(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

func findRepo() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module "+modulePath+"\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("the working directory is not inside a checkout of %s", modulePath)
		}
		dir = parent
	}
}

// KCPKubeconfig is the path of kcp's admin kubeconfig; its current context leads to workspace root.
func (e *Environment) KCPKubeconfig() string { return e.path("kcp.kubeconfig") }

// ClusterKubeconfig is the path of a physical cluster's admin kubeconfig.
func (e *Environment) ClusterKubeconfig(cluster string) string {
	return e.path("clusters", cluster+".kubeconfig")
}

// Physical tells whether the cluster was given by the user.
func (e *Environment) Physical() bool { return e.state.Physical }

// Clusters names the physical clusters, the user's own included.
func (e *Environment) Clusters() []string {
	if e.state.Physical {
		return []string{"cluster-1"}
	}
	return append([]string(nil), e.state.Clusters...)
}

// LogPath is the log of a process; its text of earlier runs is kept.
func (e *Environment) LogPath(process string) string { return e.path("log", process+".log") }

// AuditLogPath is the log of writes to "kcp" or to a cluster: one audit.k8s.io/v1 Event a line.
func (e *Environment) AuditLogPath(name string) string { return e.path("log", name+"-audit.log") }

// HostAddress is the address at which pods reach processes of the host, kcp among them.
func (e *Environment) HostAddress() string { return e.state.KCP.Address }

// id is short and unique to the state directory. It names what cannot live below the directory: the bridge,
// cgroups, CNI networks.
func (e *Environment) id() string {
	sum := sha256.Sum256([]byte(e.Dir))
	return "st-" + hex.EncodeToString(sum[:])[:6]
}

func (e *Environment) path(elem ...string) string {
	return filepath.Join(append([]string{e.Dir}, elem...)...)
}

func (e *Environment) load() (err error) {
	e.state, err = e.stored()
	return err
}

// stored is the state on disk.
func (e *Environment) stored() (s state, err error) {
	data, err := os.ReadFile(e.path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

func (e *Environment) save() error {
	data, err := json.MarshalIndent(e.state, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(e.path("state.json"), append(data, '\n'), 0o644)
}

// lock keeps two commands from changing the environment at once. It is held until the returned function is called
// or the process ends.
func (e *Environment) lock() (unlock func(), err error) {
	if err := os.MkdirAll(e.Dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(e.path("lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another command is working on %s: wait until it is done", e.Dir)
	}
	return func() { f.Close() }, nil
}

// writeFile replaces a file in one step, so that a reader or a crash never meets half of it.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temp := path + ".tmp"
	if err := os.WriteFile(temp, data, mode); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
