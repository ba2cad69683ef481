package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// TestSyncerProcess runs the syncer's program outside any pod, as an operator may in pull mode: it beats, serves its
// probes and metrics, reads a rotated token, and leaves cleanly on SIGTERM.
func TestSyncerProcess(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	pull := syncTarget("edge-1")
	pull.Spec.KubeconfigSecretRef = nil
	require.NoError(t, n.Create(t.Context(), pull))
	pull = n.await("edge-1", "Deployed", "AwaitingInstall")
	token := &corev1.Secret{}
	require.NoError(t, n.Get(t.Context(), client.ObjectKey{Namespace: n.namespaceOf("edge-1"), Name: agent.TokenSecretName}, token))

	dir := t.TempDir()
	tokenFile := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(tokenFile, token.Data["token"], 0o600))
	kcp := clientcmdapi.NewConfig()
	kcp.CurrentContext = "workspace"
	kcp.Contexts["workspace"] = &clientcmdapi.Context{Cluster: "workspace", AuthInfo: "syncer"}
	kcp.Clusters["workspace"] = &clientcmdapi.Cluster{Server: env.WorkspaceURL(n.clusterName), CertificateAuthorityData: n.config.CAData}
	kcp.AuthInfos["syncer"] = &clientcmdapi.AuthInfo{TokenFile: tokenFile}
	require.NoError(t, clientcmd.WriteToFile(*kcp, filepath.Join(dir, "kcp")))

	// The home of its Lease; all else that it needs it gets from the administrator's kubeconfig.
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.namespaceOf("edge-1")}}
	require.NoError(t, downstream(t).Create(t.Context(), namespace))
	t.Cleanup(func() { _ = downstream(t).Delete(t.Context(), namespace) })

	o := options.New()
	o.KcpKubeconfig, o.Kubeconfig = filepath.Join(dir, "kcp"), env.ClusterKubeconfig("cluster-1")
	o.SyncTargetName, o.SyncTargetUID, o.Key = "edge-1", string(pull.UID), pull.Status.Key
	o.Namespace, o.HeartbeatInterval = namespace.Name, time.Second
	o.MetricsBindAddress, o.MetricsSecure, o.HealthProbeBindAddress = freeAddress(t), false, freeAddress(t)
	binary, err := env.BuildProgram(t.Context(), "./cmd/syncer")
	require.NoError(t, err)
	syncer := exec.Command(binary, o.Args()...)
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	syncer.Stderr = log
	require.NoError(t, syncer.Start())
	started := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- syncer.Wait() }()
	t.Cleanup(func() {
		_ = syncer.Process.Kill()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("the syncer's log:\n%s", said)
		}
	})

	target := n.await("edge-1", "Ready", "Ready")
	t.Logf("Ready %s after the syncer's start", time.Since(started).Round(100*time.Millisecond))
	n.await("edge-1", "Deployed", "Deployed")
	for _, page := range []struct{ address, path, words string }{
		{o.HealthProbeBindAddress, "/healthz", "ok"},
		{o.HealthProbeBindAddress, "/readyz", "ok"},
		{o.MetricsBindAddress, "/metrics", "synctarget_syncer_heartbeat"},
		{o.MetricsBindAddress, "/metrics", "\nsynctarget_syncer_queue_depth "},
		{o.MetricsBindAddress, "/metrics", "\nprocess_resident_memory_bytes "},
	} {
		n.eventually(page.path+" answers", func() (bool, string) {
			code, body := fetch(page.address, page.path)
			return code == http.StatusOK, fmt.Sprint(code, body)
		})
		_, body := fetch(page.address, page.path)
		assert.Contains(t, body, page.words, page.path)
	}

	require.NoError(t, syncer.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		require.NoError(t, err, "exit code 0")
	case <-time.After(patience):
		t.Fatal("the syncer does not end")
	}
	lease := &coordinationv1.Lease{}
	require.NoError(t, downstream(t).Get(t.Context(), client.ObjectKey{Namespace: namespace.Name, Name: options.LeaseName}, lease))
	assert.Empty(t, ptr.Deref(lease.Spec.HolderIdentity, ""), "the Lease is released")
	require.NoError(t, n.Delete(t.Context(), target))
	n.awaitGone(&workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: "edge-1"}})
}

// fetch is a GET by http.
func fetch(address, path string) (code int, body string) {
	response, err := http.Get("http://" + address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return response.StatusCode, err.Error()
	}
	return response.StatusCode, string(data)
}

// freeAddress is one on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", env.HostAddress()+":0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}
