package framework

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/synctarget/synctarget/test/framework/progress"
	"github.com/synctarget/synctarget/test/framework/toolchain"
)

// Options of Up. The zero value is one cluster, everything built from source.
type Options struct {
	// Clusters is how many physical clusters to build; zero: as many as before, or one.
	Clusters int
	// KCPBinary is a kcp to use instead of building one; empty: as before.
	KCPBinary string
	// PhysicalKubeconfig is an existing cluster to use as cluster-1 instead of building any.
	PhysicalKubeconfig string
	// Kind creates a cluster with kind and Docker, and uses it as PhysicalKubeconfig.
	Kind bool
	// KCPAddress is an IP address of this machine, or a name of it, that kcp listens at and syncers find it by. Empty: as
	// before, or one that this machine and its own clusters reach.
	KCPAddress string
	// Tools says whether programs are downloaded or built; empty: toolchain.Auto.
	Tools toolchain.Mode
	// SyncerImage is the syncer's image in PhysicalKubeconfig, where none can be imported; empty: as before.
	SyncerImage string
}

// Up brings kcp and the clusters up and returns when pods can be run. Run again, it starts what has died and leaves
// alone what lives. Progress goes to out, one line per thing.
func (e *Environment) Up(ctx context.Context, o Options, out io.Writer) error {
	unlock, err := e.lock()
	if err != nil {
		return err
	}
	defer unlock()
	p := progress.New(out)
	if err := e.load(); err != nil {
		return err
	}
	if err := e.checkOptions(&o); err != nil {
		return err
	}
	if err := e.prepareMachine(ctx, &o, p); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	programs, needed, err := e.toolchain(ctx, o, p)
	if err != nil {
		cancel()
		return err
	}
	defer programs.Wait() // a build that is canceled ends before the next command may begin the same
	defer cancel()
	programs.Start(ctx, needed...)
	if err := e.decide(ctx, o); err != nil {
		return err
	}
	if err := e.bypassProxy(); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := e.ensureBridge(ctx); err != nil {
			return err
		}
	}

	if err := e.startAll(ctx, programs, p); err != nil {
		return err
	}
	e.sayAddresses(p)
	return nil
}

// prepareMachine creates the kind cluster, if one is asked for, and installs the packages that are missing.
func (e *Environment) prepareMachine(ctx context.Context, o *Options, p *progress.Reporter) error {
	if o.Kind {
		if err := e.ensureKind(ctx, o, p); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return nil // without root nothing can be installed, and no network be built that needs it
	}
	return ensurePackages(ctx, o.PhysicalKubeconfig == "", p)
}

// startAll starts kcp and the clusters at the same time, and waits for all of them.
func (e *Environment) startAll(ctx context.Context, programs *toolchain.Toolchain, p *progress.Reporter) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return e.startKCP(ctx, programs, p) })
	all.Go(func() error { return e.linkKubectl(ctx, programs) })
	for i := range e.state.Clusters {
		c := e.plan(i+1, programs)
		all.Go(func() error { return e.startCluster(ctx, c, p) })
	}
	return all.Wait()
}

// sayAddresses says where kcp and the clusters are.
func (e *Environment) sayAddresses(p *progress.Reporter) {
	p.Say("kcp: %s   KUBECONFIG=%s", e.state.KCP.url(), e.KCPKubeconfig())
	for _, name := range e.Clusters() {
		p.Say("%s:   KUBECONFIG=%s", name, e.ClusterKubeconfig(name))
	}
	if e.state.Physical {
		p.Say("the pods of this cluster must reach kcp at %s; KCP_ADDRESS= sets another address, in a new environment", e.state.KCP.url())
	}
}

// checkOptions refuses what this machine cannot do and says what it can. It fills in what an earlier Up was given.
func (e *Environment) checkOptions(o *Options) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("this environment needs Linux, as it knows its processes by /proc, and this is %s: "+
			"use a Linux machine, a virtual one too, or install the service beside a kcp that you have, see docs/install.md", runtime.GOOS)
	}
	o.KCPBinary = cmp.Or(o.KCPBinary, e.state.KCPBinary)
	o.Kind = o.Kind || e.state.Kind != ""
	if err := e.checkClusters(o); err != nil {
		return err
	}
	if at := e.state.KCP.Address; o.KCPAddress != "" && at != "" && o.KCPAddress != at {
		return fmt.Errorf("this environment's kcp is at %s already: take it down before giving it another KCP_ADDRESS", at)
	}
	if os.Geteuid() != 0 && o.ownClusters() {
		return errors.New("a Kubernetes node needs root (network namespaces, mounts, cgroups): run this as root, " +
			"or use kind and Docker with PHYSICAL=kind, or give a cluster with PHYSICAL_KUBECONFIG=<file>")
	}
	if o.PhysicalKubeconfig != "" && !o.Kind && cmp.Or(o.SyncerImage, e.state.SyncerImage) == "" {
		return errNoSyncerImage
	}
	return errors.Join(makeAbsolute(&o.KCPBinary), makeAbsolute(&o.PhysicalKubeconfig))
}

// checkClusters refuses clusters that exclude each other or those of an earlier Up, and fills in those that are not named.
func (e *Environment) checkClusters(o *Options) error {
	known := len(e.state.Clusters)
	switch {
	case o.Clusters < 0 || o.Clusters > maxClusters:
		return fmt.Errorf("between 1 and %d clusters, not %d", maxClusters, o.Clusters)
	case o.Kind && o.PhysicalKubeconfig != "":
		return errors.New("PHYSICAL=kind and PHYSICAL_KUBECONFIG exclude each other: give one of them")
	case (o.Kind || o.PhysicalKubeconfig != "") && known > 0:
		return errors.New("this environment has clusters of its own already: take it down before giving it another")
	case o.Kind && e.state.Physical && e.state.Kind == "":
		return errors.New("this environment uses a cluster of yours already: take it down before using kind")
	case o.PhysicalKubeconfig == "" && e.state.Physical:
		o.PhysicalKubeconfig = e.ClusterKubeconfig(clusterName(1))
	case o.PhysicalKubeconfig == "" && !o.Kind:
		o.Clusters = max(o.Clusters, known, 1)
	}
	return nil
}

// ownClusters says that the environment builds its clusters itself.
func (o Options) ownClusters() bool { return o.PhysicalKubeconfig == "" && !o.Kind }

// makeAbsolute makes a path, if one was given, absolute; its file must be there.
func makeAbsolute(file *string) (err error) {
	if *file == "" {
		return nil
	}
	if _, err := os.Stat(*file); err != nil {
		return err
	}
	*file, err = filepath.Abs(*file)
	return err
}

// Plan says, line by line, which programs Up would download or build, and about how long that takes.
func (e *Environment) Plan(ctx context.Context, o Options) ([]string, error) {
	if err := e.checkOptions(&o); err != nil {
		return nil, err
	}
	programs, needed, err := e.toolchain(ctx, o, progress.New(nil))
	if err != nil {
		return nil, err
	}
	return programs.Plan(needed...)
}

// toolchain returns where programs come from, and which of them have to be downloaded or built.
func (e *Environment) toolchain(ctx context.Context, o Options, p *progress.Reporter) (*toolchain.Toolchain, []string, error) {
	programs, err := toolchain.New(e.Repo, o.Tools, p)
	if err != nil {
		return nil, nil, err
	}
	var needed []string
	if o.KCPBinary != "" {
		programs.Provide(toolchain.KCP, o.KCPBinary)
	} else {
		needed = append(needed, toolchain.KCP)
	}
	if kubectl := toolchain.FindKubectl(ctx, e.kubectlLink()); kubectl != "" {
		programs.Provide(toolchain.Kubectl, kubectl)
	} else {
		needed = append(needed, toolchain.Kubectl)
	}
	if o.ownClusters() {
		needed = append(needed, toolchain.NodePrograms()...)
	}
	return programs, needed, nil
}

// kubectlLink is the link to a kubectl that fits.
func (e *Environment) kubectlLink() string { return e.path("bin", "kubectl") }

// linkKubectl links bin/kubectl to one whose version fits kcp and the clusters.
func (e *Environment) linkKubectl(ctx context.Context, programs *toolchain.Toolchain) error {
	kubectl, err := programs.Path(ctx, toolchain.Kubectl)
	if err != nil {
		return err
	}
	e.linking.Lock()
	defer e.linking.Unlock()
	link := e.kubectlLink()
	if target, err := os.Readlink(link); err == nil && target == kubectl {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	_ = os.Remove(link) // it points elsewhere
	return os.Symlink(kubectl, link)
}

// chooseKCPAddress settles the network and where kcp listens: where it is told to, otherwise on the bridge or, without root, on the
// loopback interface.
func (e *Environment) chooseKCPAddress(ctx context.Context, told string) error {
	address := "127.0.0.1" // without root there is no bridge
	var err error
	if os.Geteuid() == 0 {
		if e.state.Network, err = chooseNetwork(ctx); err != nil {
			return err
		}
		// The ports are tried on the address, so it has to be there.
		if err := e.ensureBridge(ctx); err != nil {
			return err
		}
		address = e.state.Network.host()
	}
	e.state.KCP, err = planKCP(cmp.Or(told, address))
	return err
}

// decide settles addresses and ports, once.
func (e *Environment) decide(ctx context.Context, o Options) error {
	if e.state.KCP.Port == 0 {
		if err := e.chooseKCPAddress(ctx, o.KCPAddress); err != nil {
			return err
		}
	}
	e.state.KCPBinary = o.KCPBinary
	if o.PhysicalKubeconfig != "" {
		e.state.Physical = true
		e.state.SyncerImage = cmp.Or(o.SyncerImage, e.state.SyncerImage)
		if err := e.adoptKubeconfig(o.PhysicalKubeconfig); err != nil {
			return err
		}
		return e.save()
	}
	for i := len(e.state.Clusters); i < o.Clusters; i++ {
		e.state.Clusters = append(e.state.Clusters, clusterName(i+1))
	}
	return e.save()
}

// adoptKubeconfig copies the user's kubeconfig with its files inline, so that it can be put into a Secret.
func (e *Environment) adoptKubeconfig(path string) error {
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return fmt.Errorf("reading PHYSICAL_KUBECONFIG: %w", err)
	}
	if err := clientcmd.ResolveLocalPaths(config); err != nil {
		return err
	}
	if err := minifyAndFlatten(config); err != nil {
		return fmt.Errorf("reading PHYSICAL_KUBECONFIG: %w", err)
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	return writeFile(e.ClusterKubeconfig(clusterName(1)), data, 0o600)
}
