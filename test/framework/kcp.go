package framework

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// ProcessKCP is kcp's name in Start, Kill, LogPath and so on.
const ProcessKCP = "kcp"

// kcpPlan is where kcp listens; it comes back at the same URL after every restart.
type kcpPlan struct {
	Address  string `json:"address,omitempty"`
	Port     int    `json:"port,omitempty"`
	EtcdPort int    `json:"etcdPort,omitempty"`
	PeerPort int    `json:"peerPort,omitempty"`
}

func (k kcpPlan) url() string { return fmt.Sprintf("https://%s:%d", k.Address, k.Port) }

// planKCP chooses kcp's ports; its embedded etcd listens on loopback only.
func planKCP(address string) (kcpPlan, error) {
	ports, err := freePorts(6443, 1, address)
	if err != nil {
		return kcpPlan{}, err
	}
	etcd, err := freePorts(23790, 2, "127.0.0.1")
	if err != nil {
		return kcpPlan{}, err
	}
	return kcpPlan{Address: address, Port: ports[0], EtcdPort: etcd[0], PeerPort: etcd[1]}, nil
}

// kcpProcess is kcp in one process, etcd included.
func (e *Environment) kcpProcess(binary string) (Process, error) {
	k, root := e.state.KCP, e.path("kcp")
	p, err := openPKI(filepath.Join(root, "serving"))
	if err != nil {
		return Process{}, err
	}
	if err := p.ensure(certSpec{name: "kcp", commonName: "kcp", hosts: []string{k.Address, "127.0.0.1", "localhost"}}); err != nil {
		return Process{}, err
	}
	if err := p.bundle("kcp"); err != nil {
		return Process{}, err
	}
	policy := filepath.Join(root, "audit-policy.yaml")
	if err := writeFile(policy, []byte(auditPolicy), 0o644); err != nil {
		return Process{}, err
	}
	return Process{
		Name:   ProcessKCP,
		Binary: binary,
		Args: []string{
			"start",
			"--root-directory=" + root,
			"--bind-address=" + k.Address,
			"--secure-port=" + strconv.Itoa(k.Port),
			"--external-hostname=" + k.Address,
			"--shard-base-url=" + k.url(),
			"--shard-external-url=" + k.url(),
			"--shard-virtual-workspace-url=" + k.url(),
			"--tls-cert-file=" + p.bundleFile("kcp"),
			"--tls-private-key-file=" + p.keyFile("kcp"),
			"--embedded-etcd-directory=" + filepath.Join(root, "etcd-server"),
			"--embedded-etcd-client-port=" + strconv.Itoa(k.EtcdPort),
			"--embedded-etcd-peer-port=" + strconv.Itoa(k.PeerPort),
			"--audit-policy-file=" + policy,
			"--audit-log-path=" + e.AuditLogPath(ProcessKCP),
			"--profiling=true",
		},
		Env:   []string{"UNSAFE_E2E_HACK_DISABLE_ETCD_FSYNC=true"},
		Ready: k.url() + "/readyz",
		// kcp takes its time to close every watch.
		StopTimeout: 20 * time.Second,
	}, nil
}

// startKCP starts kcp and puts its admin kubeconfig where users look for it.
func (e *Environment) startKCP(ctx context.Context, binary string, p *progress) error {
	process, err := e.kcpProcess(binary)
	if err != nil {
		return err
	}
	if err := e.startAndTell(ctx, process, p); err != nil {
		return err
	}
	data, err := os.ReadFile(e.path("kcp", "admin.kubeconfig"))
	if err != nil {
		return err
	}
	return writeFile(e.KCPKubeconfig(), data, 0o600)
}

// auditPolicy keeps one line per write, after it has been answered, and leaves out the system's own housekeeping.
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
- level: None
  nonResourceURLs: ["*"]
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
`
