package framework

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/synctarget/synctarget/test/framework/progress"
	"github.com/synctarget/synctarget/test/framework/toolchain"
)

// Components of a physical cluster, for ProcessName.
const (
	Etcd              = "etcd"
	APIServer         = "apiserver"
	ControllerManager = "controller-manager"
	Scheduler         = "scheduler"
	Containerd        = "containerd"
	Kubelet           = "kubelet"
	KubeProxy         = "kube-proxy"
)

// ProcessName is the name of a cluster's component in Start, Kill, LogPath and so on.
func ProcessName(cluster, component string) string { return cluster + "-" + component }

// clusterPlan is everything about a cluster that follows from its number.
type clusterPlan struct {
	Name  string
	Index int
	// Dir holds the cluster's data, configuration and keys.
	Dir     string
	Address string
	// Netns is the file of the network namespace that the whole cluster lives in.
	Netns string
	// programs provides etcd's and Kubernetes' programs.
	programs *toolchain.Toolchain
	pki      *pki
}

func clusterName(i int) string { return fmt.Sprintf("cluster-%d", i) }

func (e *Environment) plan(i int, programs *toolchain.Toolchain) clusterPlan {
	c := clusterPlan{Name: clusterName(i), Index: i, Address: e.state.Network.node(i), programs: programs}
	c.Dir = e.path("clusters", c.Name)
	c.Netns = e.netns(c)
	return c
}

func (c clusterPlan) path(elem ...string) string {
	return filepath.Join(append([]string{c.Dir}, elem...)...)
}

// server is the API server's URL for host and pods. The port is Kubernetes' usual one: nobody else lives at this address.
func (c clusterPlan) server() string { return "https://" + c.Address + ":6443" }

func (c clusterPlan) nodeName() string { return c.Name + "-node" }

// process is a component of the cluster. Its Binary is the program's name until start has obtained the program.
func (c clusterPlan) process(component, program, ready string, args ...string) Process {
	return Process{
		Name:   ProcessName(c.Name, component),
		Binary: program,
		Args:   args,
		Netns:  c.Netns,
		Ready:  ready,
	}
}

// startCluster brings one cluster up, from the network to a node that takes pods.
func (e *Environment) startCluster(ctx context.Context, c clusterPlan, p *progress.Reporter) error {
	if err := e.ensureNetns(ctx, c); err != nil {
		return err
	}
	if err := c.prepareCredentials(e); err != nil {
		return err
	}
	if err := writeFile(c.path("audit-policy.yaml"), []byte(auditPolicy), 0o644); err != nil {
		return err
	}
	for _, process := range c.controlPlane(e) {
		if err := e.startComponent(ctx, c, process, p); err != nil {
			return err
		}
	}
	return e.startNode(ctx, c, p)
}

// startComponent waits for a component's program and starts it.
func (e *Environment) startComponent(ctx context.Context, c clusterPlan, process Process, p *progress.Reporter) (err error) {
	if process.Binary, err = c.programs.Path(ctx, process.Binary); err != nil {
		return err
	}
	return e.startAndTell(ctx, process, p)
}

// prepareCredentials makes the keys of everyone who speaks to the API server.
func (c *clusterPlan) prepareCredentials(e *Environment) error {
	var err error
	if c.pki, err = openPKI(c.path("pki")); err != nil {
		return err
	}
	specs := []certSpec{
		{name: "apiserver", commonName: "kube-apiserver", hosts: []string{
			c.Address, e.state.Network.serviceIP(c.Index), "127.0.0.1", "localhost",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		}},
		// What the API server shows to kubelet.
		{name: "apiserver-kubelet", commonName: "kube-apiserver-kubelet", organization: "system:masters"},
		{name: "admin", commonName: "admin", organization: "system:masters"},
		{name: "controller-manager", commonName: "system:kube-controller-manager"},
		{name: "scheduler", commonName: "system:kube-scheduler"},
		{name: "kube-proxy", commonName: "system:kube-proxy"},
		{name: "kubelet", commonName: "system:node:" + c.nodeName(), organization: "system:nodes",
			hosts: []string{c.Address, c.nodeName()}},
	}
	for _, s := range specs {
		if err := c.pki.ensure(s); err != nil {
			return err
		}
	}
	if err := c.pki.ensureKey("service-account"); err != nil {
		return err
	}
	for _, user := range []string{"controller-manager", "scheduler", "kube-proxy", "kubelet"} {
		if err := c.writeKubeconfig(c.kubeconfig(user), user); err != nil {
			return err
		}
	}
	return c.writeKubeconfig(e.ClusterKubeconfig(c.Name), "admin")
}

func (c *clusterPlan) writeKubeconfig(path, user string) error {
	return c.pki.kubeconfig(path, c.Name, kubeContext{name: c.Name, cluster: c.Name, server: c.server(), user: user})
}

func (c *clusterPlan) kubeconfig(user string) string { return c.path(user + ".kubeconfig") }

// controlPlane lists etcd, API server, controller manager and scheduler in the order of their start.
func (c *clusterPlan) controlPlane(e *Environment) []Process {
	net, pki := e.state.Network, c.pki
	etcd := c.process(Etcd, "etcd", "http://"+c.Address+":2381/readyz",
		"--name="+c.Name,
		"--data-dir="+c.path("etcd"),
		"--unsafe-no-fsync",
		// Without credentials, but on the loopback of the cluster's own network namespace, where only it can go.
		"--listen-client-urls=http://127.0.0.1:2379",
		"--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster="+c.Name+"=http://127.0.0.1:2380",
		"--listen-metrics-urls=http://"+c.Address+":2381",
		"--log-level=warn",
	)
	apiserver := c.process(APIServer, "kube-apiserver", c.server()+"/readyz",
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address="+c.Address,
		"--advertise-address="+c.Address,
		"--secure-port=6443",
		"--tls-cert-file="+pki.certFile("apiserver"),
		"--tls-private-key-file="+pki.keyFile("apiserver"),
		"--client-ca-file="+pki.certFile("ca"),
		"--kubelet-certificate-authority="+pki.certFile("ca"),
		"--kubelet-client-certificate="+pki.certFile("apiserver-kubelet"),
		"--kubelet-client-key="+pki.keyFile("apiserver-kubelet"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+pki.keyFile("service-account"),
		"--service-account-signing-key-file="+pki.keyFile("service-account"),
		"--service-cluster-ip-range="+net.serviceCIDR(c.Index),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--audit-policy-file="+c.path("audit-policy.yaml"),
		"--audit-log-path="+e.AuditLogPath(c.Name), auditLogSize,
		"--shutdown-delay-duration=0s",
	)
	// It lingers for as long as watches are open, and those of kubelet are.
	apiserver.StopTimeout = 15 * time.Second
	manager := c.process(ControllerManager, "kube-controller-manager", "https://"+c.Address+":10257/healthz",
		"--kubeconfig="+c.kubeconfig("controller-manager"),
		"--authentication-kubeconfig="+c.kubeconfig("controller-manager"),
		"--authorization-kubeconfig="+c.kubeconfig("controller-manager"),
		"--bind-address="+c.Address,
		"--cert-dir="+c.path("controller-manager"),
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+pki.keyFile("service-account"),
		"--root-ca-file="+pki.certFile("ca"),
		"--cluster-signing-cert-file="+pki.certFile("ca"),
		"--cluster-signing-key-file="+pki.keyFile("ca"),
		// The default lies in /usr/libexec and is made at once.
		"--flex-volume-plugin-dir="+c.path("volume-plugins"),
	)
	scheduler := c.process(Scheduler, "kube-scheduler", "https://"+c.Address+":10259/healthz",
		"--kubeconfig="+c.kubeconfig("scheduler"),
		"--authentication-kubeconfig="+c.kubeconfig("scheduler"),
		"--authorization-kubeconfig="+c.kubeconfig("scheduler"),
		"--bind-address="+c.Address,
		"--cert-dir="+c.path("scheduler"),
		"--leader-elect=false",
	)
	return []Process{etcd, apiserver, manager, scheduler}
}

// startAndTell starts a process if need be and says so; what runs already is not worth a line.
func (e *Environment) startAndTell(ctx context.Context, process Process, p *progress.Reporter) error {
	begin := time.Now()
	started, err := e.Start(ctx, process)
	if err != nil || !started {
		return err
	}
	where := ""
	if strings.HasPrefix(process.Ready, "https://") {
		where = " at " + strings.TrimSuffix(process.Ready, filepath.Join("/", filepath.Base(process.Ready)))
	}
	p.Say("%s ready after %.0f s%s", process.Name, time.Since(begin).Seconds(), where)
	return nil
}
