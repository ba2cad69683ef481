package framework

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/synctarget/synctarget/test/framework/progress"
	"github.com/synctarget/synctarget/test/framework/toolchain"
)

// ProcessKCP is kcp's name in Start, Kill, LogPath and so on.
const ProcessKCP = "kcp"

// DemoWorkspace is the workspace below root in which `make demo` registers a cluster, and the kubeconfig's context for it.
const DemoWorkspace = "demo"

// kcpPlan is where kcp listens; it comes back at the same URL after every restart.
type kcpPlan struct {
	// Address is what kcp is known by, in its certificate and to syncers: an IP address or a name.
	Address string `json:"address,omitempty"`
	// Bind is the IP address of a name.
	Bind     string `json:"bind,omitempty"`
	Port     int    `json:"port,omitempty"`
	EtcdPort int    `json:"etcdPort,omitempty"`
	PeerPort int    `json:"peerPort,omitempty"`
}

func (k kcpPlan) url() string { return "https://" + net.JoinHostPort(k.Address, strconv.Itoa(k.Port)) }

// bind is the IP address that kcp listens at.
func (k kcpPlan) bind() string { return cmp.Or(k.Bind, k.Address) }

// planKCP chooses kcp's ports; its embedded etcd listens on loopback only.
func planKCP(address string) (kcpPlan, error) {
	plan := kcpPlan{Address: address}
	if net.ParseIP(address) == nil {
		found, err := net.LookupHost(address)
		if err != nil {
			return kcpPlan{}, fmt.Errorf("finding the IP address of KCP_ADDRESS: %w", err)
		}
		plan.Bind = found[0]
	}
	ports, err := freePorts(6443, 1, plan.bind())
	if err != nil {
		return kcpPlan{}, fmt.Errorf("%w; is it an address of this machine?", err)
	}
	etcd, err := freePorts(23790, 2, "127.0.0.1")
	if err != nil {
		return kcpPlan{}, err
	}
	plan.Port, plan.EtcdPort, plan.PeerPort = ports[0], etcd[0], etcd[1]
	return plan, nil
}

// kcpProcess is kcp in one process, etcd included.
func (e *Environment) kcpProcess(binary string, p *pki) Process {
	k, root := e.state.KCP, e.path("kcp")
	return Process{
		Name:   ProcessKCP,
		Binary: binary,
		Args: []string{
			"start",
			"--root-directory=" + root,
			"--bind-address=" + k.bind(),
			"--secure-port=" + strconv.Itoa(k.Port),
			"--external-hostname=" + k.Address,
			"--shard-base-url=" + k.url(),
			"--shard-external-url=" + k.url(),
			"--shard-virtual-workspace-url=" + k.url(),
			"--tls-cert-file=" + p.bundleFile("kcp"),
			"--tls-private-key-file=" + p.keyFile("kcp"),
			"--client-ca-file=" + p.certFile("ca"),
			"--embedded-etcd-directory=" + filepath.Join(root, "etcd-server"),
			"--embedded-etcd-client-port=" + strconv.Itoa(k.EtcdPort),
			"--embedded-etcd-peer-port=" + strconv.Itoa(k.PeerPort),
			"--audit-policy-file=" + filepath.Join(root, "audit-policy.yaml"),
			"--audit-log-path=" + e.AuditLogPath(ProcessKCP), auditLogSize,
		},
		// kcp takes half of all CPU time of the stories, a fifth of that for garbage collection; memory is less scarce.
		Env:   []string{"UNSAFE_E2E_HACK_DISABLE_ETCD_FSYNC=true", "GOGC=300"},
		Ready: k.url() + "/readyz",
		// kcp takes its time to close every watch.
		StopTimeout: 20 * time.Second,
	}
}

// startKCP starts kcp and writes the kubeconfig for its admin.
func (e *Environment) startKCP(ctx context.Context, programs *toolchain.Toolchain, p *progress.Reporter) error {
	binary, err := programs.Path(ctx, toolchain.KCP)
	if err != nil {
		return err
	}
	pki, err := e.prepareKCP()
	if err != nil {
		return err
	}
	return e.startAndTell(ctx, e.kcpProcess(binary, pki), p)
}

func (e *Environment) prepareKCP() (*pki, error) {
	p, err := openPKI(e.path("kcp", "pki"))
	if err != nil {
		return nil, err
	}
	for _, spec := range []certSpec{
		{name: "kcp", commonName: "kcp", hosts: []string{e.state.KCP.Address, "127.0.0.1", "localhost"}},
		// Names and groups are those of kcp's own admin.kubeconfig.
		{name: "kcp-admin", commonName: "kcp-admin", organization: "system:kcp:admin"},
		{name: "shard-admin", commonName: "shard-admin", organization: "system:masters"},
	} {
		if err := p.ensure(spec); err != nil {
			return nil, err
		}
	}
	// kcp hands its serving file out as the CA of kubeconfigs, so the CA has to be in it.
	if err := p.bundle("kcp"); err != nil {
		return nil, err
	}
	if err := writeFile(e.path("kcp", "audit-policy.yaml"), []byte(auditPolicy), 0o644); err != nil {
		return nil, err
	}
	return p, e.writeKCPKubeconfig(p)
}

// writeKCPKubeconfig has the contexts of the admin.kubeconfig that kcp writes, on which tools and kcp's test harness rely,
// but client certificates: kcp's own admin token changes with every start.
func (e *Environment) writeKCPKubeconfig(p *pki) error {
	server := e.state.KCP.url()
	return p.kubeconfig(e.KCPKubeconfig(), "root",
		kubeContext{name: "base", cluster: "base", server: server, user: "kcp-admin"},
		kubeContext{name: "root", cluster: "root", server: server + "/clusters/root", user: "kcp-admin"},
		kubeContext{name: DemoWorkspace, cluster: DemoWorkspace, server: server + "/clusters/root:" + DemoWorkspace, user: "kcp-admin"},
		kubeContext{name: "shard-base", cluster: "base", server: server, user: "shard-admin"},
		kubeContext{name: "system:admin", cluster: "system:admin", server: server + "/clusters/system:admin", user: "shard-admin"},
	)
}

// auditPolicy keeps one line per write, and per request of a ServiceAccount, after it has been answered, and leaves out the system's
// own housekeeping.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  users:
  - system:apiserver
  - system:kube-scheduler
  - system:kube-proxy
  - system:kube-controller-manager
- level: None
  userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
- level: Metadata
  userGroups: ["system:serviceaccounts"]
- level: None
  nonResourceURLs: ["*"]
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
`
