package framework

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/synctarget/synctarget/test/framework/progress"
)

// startNode starts containerd, kubelet and kube-proxy and waits until pods can be created and run.
func (e *Environment) startNode(ctx context.Context, c clusterPlan, p *progress.Reporter) error {
	if err := e.writeNodeConfig(c); err != nil {
		return err
	}
	if err := ensureCgroup(e.cgroup(c)); err != nil {
		return err
	}
	if err := e.rememberSysctls(); err != nil {
		return err
	}
	containerd := Process{
		Name:   ProcessName(c.Name, Containerd),
		Binary: mustLook("containerd"),
		Args:   []string{"--config", c.path("containerd.toml")},
		Netns:  c.Netns,
		Ready:  "unix://" + e.containerdSocket(c.Name),
	}
	if err := e.startAndTell(ctx, containerd, p); err != nil {
		return err
	}
	if err := e.ensureImages(ctx, c.Name); err != nil {
		return err
	}
	kubelet := c.process(Kubelet, "kubelet", "http://"+c.Address+":10248/healthz",
		"--config="+c.path("kubelet.yaml"),
		"--kubeconfig="+c.kubeconfig("kubelet"),
		"--hostname-override="+c.nodeName(),
		"--node-ip="+c.Address,
		"--root-dir="+c.path("kubelet"),
		"--cert-dir="+c.path("kubelet", "pki"),
	)
	proxy := c.process(KubeProxy, "kube-proxy", "http://"+c.Address+":10256/livez",
		"--config="+c.path("kube-proxy.yaml"),
	)
	for _, process := range []Process{kubelet, proxy} {
		if err := e.startComponent(ctx, c, process, p); err != nil {
			return err
		}
	}
	if err := e.awaitNode(ctx, c); err != nil {
		return err
	}
	return e.ensureDNS(ctx, c, p)
}

// awaitNode waits for what a first pod needs: a node that is Ready and the default ServiceAccount.
func (e *Environment) awaitNode(ctx context.Context, c clusterPlan) error {
	config, err := clientcmd.BuildConfigFromFlags("", e.ClusterKubeconfig(c.Name))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	waitsFor := "the API server"
	err = wait.PollUntilContextTimeout(ctx, pollInterval, DefaultReadyTimeout, true, func(ctx context.Context) (bool, error) {
		node, err := client.CoreV1().Nodes().Get(ctx, c.nodeName(), metav1.GetOptions{})
		if err != nil || !nodeReady(node) {
			waitsFor = fmt.Sprintf("node %s to be Ready", c.nodeName())
			return false, nil
		}
		waitsFor = "the default ServiceAccount"
		_, err = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return !apierrors.IsNotFound(err) && err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%s: waiting for %s: %w, see %s", c.Name, waitsFor, err, e.LogPath(ProcessName(c.Name, Kubelet)))
	}
	return nil
}

// nodeReady also asks for a fresh heartbeat: the Ready of a kubelet that has died stands for a while.
func nodeReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue && time.Since(condition.LastHeartbeatTime.Time) < 6*time.Minute
		}
	}
	return false
}

func (e *Environment) containerdSocket(cluster string) string {
	return e.path("clusters", cluster, "containerd.sock")
}

// cniNetwork names the pod network; CNI keeps its cache by this name in a folder that is not ours.
func (e *Environment) cniNetwork(c clusterPlan) string { return e.id() + "-" + c.Name }

// writeNodeConfig writes the configuration of everything on the node. A changed file takes effect at the next start.
func (e *Environment) writeNodeConfig(c clusterPlan) error {
	cluster := e.path("clusters", c.Name)
	values := map[string]string{
		"Dir": cluster, "Address": c.Address, "NodeName": c.nodeName(), "Socket": e.containerdSocket(c.Name),
		"PauseImage": PauseImage, "CNIBin": cniDir(), "CNINetwork": e.cniNetwork(c), "PodCIDR": e.state.Network.podCIDR(c.Index),
		"CACert": c.pki.certFile("ca"), "KubeletCert": c.pki.certFile("kubelet"), "KubeletKey": c.pki.keyFile("kubelet"),
		"DNSAddress": e.state.Network.dnsIP(c.Index), "ProxyKubeconfig": c.kubeconfig("kube-proxy"), "Cgroup": e.cgroup(c), "Snapshotter": snapshotter(c.Dir),
	}
	for file, text := range map[string]string{
		"containerd.toml":      containerdConfig,
		"cni/10-pods.conflist": cniConfig,
		"kubelet.yaml":         kubeletConfig,
		"kube-proxy.yaml":      kubeProxyConfig,
	} {
		var out bytes.Buffer
		if err := template.Must(template.New(file).Parse(text)).Execute(&out, values); err != nil {
			return err
		}
		if err := writeFile(c.path(file), out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(cluster, "pod-logs"), 0o755)
}

const containerdConfig = `version = 2
root = "{{.Dir}}/containerd/root"
state = "{{.Dir}}/containerd/state"
# The opt plugin would make folders below /opt.
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
  address = "{{.Socket}}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.PauseImage}}"
  # Without CAP_SYS_RESOURCE, as in many sandboxes, no container could lower its OOM score.
  restrict_oom_score_adj = true
  # Pods' network namespaces go where Down finds them.
  netns_mounts_under_state_dir = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{{.Snapshotter}}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{{.CNIBin}}"
    conf_dir = "{{.Dir}}/cni"
`

// The bridge cni0 lies in the cluster's network namespace. ipMasq lets pods reach the environment's addresses in the name
// of their node, so that no route and no forwarding on the host are needed for the way back.
const cniConfig = `{
  "cniVersion": "0.4.0",
  "name": "{{.CNINetwork}}",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": "{{.Dir}}/cni-ipam",
        "ranges": [[{"subnet": "{{.PodCIDR}}"}]], "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://{{.Socket}}
address: {{.Address}}
healthzBindAddress: {{.Address}}
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: {{.CACert}}}
authorization: {mode: Webhook}
tlsCertFile: {{.KubeletCert}}
tlsPrivateKeyFile: {{.KubeletKey}}
cgroupDriver: cgroupfs
cgroupRoot: {{.Cgroup}}
enforceNodeAllocatable: []
failSwapOn: false
podLogsDir: {{.Dir}}/pod-logs
volumePluginDir: {{.Dir}}/volume-plugins
resolvConf: ""
clusterDomain: cluster.local
clusterDNS: [{{.DNSAddress}}]
maxPods: 250
# Images are imported, not pulled, so one that was collected would be gone for good.
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: 50Mi
  nodefs.available: 1%
  nodefs.inodesFree: 1%
  imagefs.available: 1%
`

const kubeProxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: {{.NodeName}}
clusterCIDR: {{.PodCIDR}}
clientConnection: {kubeconfig: {{.ProxyKubeconfig}}}
healthzBindAddress: {{.Address}}:10256
metricsBindAddress: 127.0.0.1:10249
# Zero leaves the machine's connection tracking limits alone.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`
