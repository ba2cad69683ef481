package framework

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/synctarget/synctarget/test/framework/progress"
)

// Service is one installation of the SyncTarget service: an APIExport in a provider workspace, and a controller.
type Service struct {
	// Workspace is the path of the provider workspace. One directly below root is made if it is missing.
	Workspace string
	// Name of the controller's process.
	Name string
	// Args are given to the controller beside what the environment decides.
	Args []string
	// MetricsAddress and HealthAddress of the controller, host:port. Empty: see WithAddresses.
	MetricsAddress, HealthAddress string
}

// DefaultService is what `make up` runs.
func DefaultService() Service {
	return Service{Workspace: "root:synctarget", Name: "controller"}
}

// Install installs config/kcp into the provider workspace, and starts the controller with the identity that these
// files give it. Run again, it brings both up to date.
func (e *Environment) Install(ctx context.Context, s Service, out io.Writer) error {
	p := progress.New(out)
	s, err := e.WithAddresses(s)
	if err != nil {
		return err
	}
	p.Say("building the controller and the syncer")
	process, err := e.ControllerProcess(ctx, s)
	if err != nil {
		return err
	}
	if err := e.InstallExport(ctx, s); err != nil {
		return err
	}
	p.Say("workspace %s: config/kcp applied", s.Workspace)
	if err := e.startAndTell(ctx, process, p); err != nil {
		return err
	}
	p.Say("%s: http://%s/metrics", s.Name, s.MetricsAddress)
	return nil
}

// ControllerProcess builds the controller and the syncer, brings the syncer's image to the nodes, and returns the
// process to start. The kubeconfig that it names is written by InstallExport.
func (e *Environment) ControllerProcess(ctx context.Context, s Service) (Process, error) {
	s, err := e.WithAddresses(s)
	if err != nil {
		return Process{}, err
	}
	binary, err := e.BuildProgram(ctx, "./cmd/synctarget-controller")
	if err != nil {
		return Process{}, err
	}
	image, err := e.SyncerImage(ctx)
	if err != nil {
		return Process{}, err
	}
	build, err := hashOf(binary)
	if err != nil {
		return Process{}, err
	}
	args := []string{
		"--kubeconfig=" + e.serviceKubeconfig(s),
		"--syncer-image=" + image,
		"--metrics-secure=false",
		"--metrics-bind-address=" + s.MetricsAddress,
		"--health-probe-bind-address=" + s.HealthAddress,
	}
	if e.state.Physical {
		allow, err := loopbackServers(e.ClusterKubeconfig(clusterName(1)))
		if err != nil {
			return Process{}, err
		}
		args = append(args, allow...)
	}
	return Process{
		Name: s.Name, Binary: binary, Args: append(args, s.Args...),
		// A rebuilt binary is another process, so that Start replaces the running one.
		Env:   []string{"SYNCTARGET_BUILD=" + build},
		Ready: "http://" + s.HealthAddress + "/readyz",
	}, nil
}

// loopbackServers lets the controller dial a cluster on this machine, such as kind's: a loopback address is not dialled
// otherwise.
func loopbackServers(kubeconfig string) (args []string, err error) {
	_, addresses, err := loopbackServer(kubeconfig)
	for _, ip := range addresses {
		args = append(args, "--allow-pcluster-cidr="+netip.PrefixFrom(ip, ip.BitLen()).String())
	}
	return args, err
}

// LoopbackServer is the URL of a cluster's API server if that is on this machine's loopback interface, as kind's is; otherwise it is
// empty.
func (e *Environment) LoopbackServer(cluster string) (string, error) {
	server, addresses, err := loopbackServer(e.ClusterKubeconfig(cluster))
	if err != nil || len(addresses) == 0 {
		return "", err
	}
	return server, nil
}

// loopbackServer returns the URL of the server that a kubeconfig leads to, and those of its addresses that are loopback addresses.
func loopbackServer(kubeconfig string) (server string, addresses []netip.Addr, err error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return "", nil, err
	}
	address, err := url.Parse(config.Host)
	if err != nil {
		return "", nil, err
	}
	found, err := net.LookupIP(address.Hostname())
	if err != nil {
		return "", nil, fmt.Errorf("finding the cluster's address: %w", err)
	}
	for _, ip := range found {
		if parsed, ok := netip.AddrFromSlice(ip); ok && ip.IsLoopback() {
			addresses = append(addresses, parsed.Unmap())
		}
	}
	return config.Host, addresses, nil
}

// SyncerImage builds the syncer's image, named by its content, and brings it to the nodes.
func (e *Environment) SyncerImage(ctx context.Context) (string, error) {
	binary, err := e.BuildProgram(ctx, "./cmd/syncer")
	if err != nil {
		return "", err
	}
	image, err := syncerImageRef(binary)
	if err != nil {
		return "", err
	}
	if e.state.Kind != "" {
		return image, e.loadIntoKind(ctx, image, binary)
	}
	if e.state.Physical {
		// Nothing can be imported there: the user has pushed an image, and names it.
		if e.state.SyncerImage == "" {
			return "", errNoSyncerImage
		}
		return e.state.SyncerImage, nil
	}
	for _, cluster := range e.Clusters() {
		if err := e.ensureImage(ctx, cluster, image, binary); err != nil {
			return "", err
		}
	}
	return image, nil
}

// syncerImageRef names the image of a syncer by the content of its program.
func syncerImageRef(binary string) (string, error) {
	build, err := hashOf(binary)
	return "synctarget.local/syncer:" + build, err
}

// InstallExport applies config/kcp in the provider workspace and writes the kubeconfig of the controller's identity.
func (e *Environment) InstallExport(ctx context.Context, s Service) error {
	return e.InstallExportOf(ctx, s, e.Repo)
}

// InstallExportOf is InstallExport with config/kcp of the source in repo, such as that of an Earlier.
func (e *Environment) InstallExportOf(ctx context.Context, s Service, repo string) error {
	if name, ok := strings.CutPrefix(s.Workspace, "root:"); ok && !strings.Contains(name, ":") {
		if err := e.EnsureWorkspace(ctx, name); err != nil {
			return err
		}
	}
	if _, err := e.Kubectl(ctx, s.Workspace, "", "apply", "-k", repo+"/config/kcp"); err != nil {
		return err
	}
	if _, err := e.Kubectl(ctx, s.Workspace, "", "-n", "synctarget-system", "wait", "secret/synctarget-controller-token",
		"--for=jsonpath={.data.token}", "--timeout=60s"); err != nil {
		return err
	}
	encoded, err := e.Kubectl(ctx, s.Workspace, "", "-n", "synctarget-system", "get", "secret/synctarget-controller-token", "-o=jsonpath={.data.token}")
	if err != nil {
		return err
	}
	token, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("decoding the controller's token: %w", err)
	}
	admin, err := clientcmd.LoadFromFile(e.KCPKubeconfig())
	if err != nil {
		return err
	}
	base := admin.Clusters[admin.Contexts[admin.CurrentContext].Cluster]
	config := clientcmdapi.NewConfig()
	config.Clusters["kcp"] = &clientcmdapi.Cluster{Server: e.WorkspaceURL(s.Workspace), CertificateAuthorityData: base.CertificateAuthorityData}
	config.AuthInfos["controller"] = &clientcmdapi.AuthInfo{Token: string(token)}
	config.Contexts["controller"] = &clientcmdapi.Context{Cluster: "kcp", AuthInfo: "controller"}
	config.CurrentContext = "controller"
	return clientcmd.WriteToFile(*config, e.serviceKubeconfig(s))
}

func (e *Environment) serviceKubeconfig(s Service) string { return e.path(s.Name + ".kubeconfig") }

// WorkspaceURL is where kcp serves a workspace, given its path or its logical cluster.
func (e *Environment) WorkspaceURL(workspace string) string {
	return e.state.KCP.url() + "/clusters/" + workspace
}

// EnsureWorkspace makes a workspace directly below root, if it is missing, and waits until it is ready.
func (e *Environment) EnsureWorkspace(ctx context.Context, name string) error {
	manifest := "apiVersion: tenancy.kcp.io/v1alpha1\nkind: Workspace\nmetadata: {name: " + name + "}\n"
	if _, err := e.Kubectl(ctx, "root", manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	_, err := e.Kubectl(ctx, "root", "", "wait", "workspace/"+name, "--for=jsonpath={.status.phase}=Ready", "--timeout=60s")
	return err
}

// Kubectl runs kubectl as kcp's administrator in a workspace and returns what it prints.
func (e *Environment) Kubectl(ctx context.Context, workspace, stdin string, args ...string) (string, error) {
	return e.kubectl(ctx, e.KCPKubeconfig(), stdin, append([]string{"--server=" + e.WorkspaceURL(workspace)}, args...))
}

// ClusterKubectl runs kubectl as a physical cluster's administrator and returns what it prints.
func (e *Environment) ClusterKubectl(ctx context.Context, cluster, stdin string, args ...string) (string, error) {
	return e.kubectl(ctx, e.ClusterKubeconfig(cluster), stdin, args)
}

func (e *Environment) kubectl(ctx context.Context, kubeconfig, stdin string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.path("bin", "kubectl"), append([]string{"--kubeconfig=" + kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, failure.String())
	}
	return string(out), nil
}

func hashOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}
