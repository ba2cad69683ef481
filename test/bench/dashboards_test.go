//go:build bench

package bench

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/test/framework"
)

// prometheusVariable names the program that TestDashboards scrapes with.
const prometheusVariable = "BENCH_PROMETHEUS"

// dashboardsTime is how long the dashboards show.
const dashboardsTime = 5 * time.Minute

const prometheusConfig = `
global: {scrape_interval: 5s}
scrape_configs:
- job_name: controller
  static_configs: [{targets: [%q], labels: {namespace: synctarget-system, pod: synctarget-controller-0}}]
- job_name: syncer
  static_configs: [{targets: [%q], labels: {namespace: %q, pod: syncer-0}}]
`

// TestDashboards draws the dashboards of Grafana for the documentation, with what a Prometheus has scraped while users changed objects,
// placed and withdrew Namespaces, and a syncer was replaced. `make dashboards` runs it.
func TestDashboards(t *testing.T) {
	program := os.Getenv(prometheusVariable)
	if program == "" {
		t.Skip(prometheusVariable + " names no Prometheus; run make dashboards")
	}
	s := newInstalled(t, nil, (*tenant).bindCompute)
	address := s.startPrometheus(program)
	began := time.Now()
	namespaces := s.open("shop-", 10)
	const objects = 200
	s.fill(namespaces, objects, 100)
	s.kubectl("create", "deployment", "web", "-n", namespaces[0], "--image="+framework.PauseImage)
	for round := 0; time.Since(began) < dashboardsTime; round++ {
		in := round % len(namespaces)
		s.sideBySide(objects/len(namespaces), func(i int) error {
			return s.changeConfigMap(namespaces[in], fmt.Sprintf("config-%d", in+i*len(namespaces)), round)
		})
		if round == 40 {
			s.closeNamespaces(namespaces[8:])
			s.deletePod()
		}
		if round%20 == 0 {
			s.kubectl("scale", "deployment", "web", "-n", namespaces[0], fmt.Sprintf("--replicas=%d", 1+round/20%2))
		}
		time.Sleep(time.Second)
	}
	s.kubectl("delete", "deployment", "web", "-n", namespaces[0])
	draw := exec.CommandContext(t.Context(), "go", "run", ".", "--prometheus=http://"+address, "--last="+dashboardsTime.String(),
		"--png="+filepath.Join(env.Repo, "docs", "images"))
	draw.Dir, draw.Env = filepath.Join(env.Repo, "test", "tools", "dashboards"), append(os.Environ(), "GOWORK=off")
	out, err := draw.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}

// kubectl does something in the workspace.
func (s *installed) kubectl(args ...string) {
	s.t.Helper()
	_, err := env.Kubectl(s.t.Context(), s.path.String(), "", args...)
	require.NoError(s.t, err)
}

// changeConfigMap writes another value into a ConfigMap of the workspace.
func (s *installed) changeConfigMap(namespace, name string, value int) error {
	patch := fmt.Appendf(nil, `{"data":{"round":"%d"}}`, value)
	_, err := s.upBare.Resource(configMaps).Namespace(namespace).Patch(s.t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// startPrometheus scrapes the controller and the syncer, and returns the address of the Prometheus.
func (s *installed) startPrometheus(program string) string {
	s.t.Helper()
	token := s.metricsToken()
	// The Pod's network is out of reach for a process beside the cluster.
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pod := s.pod()
		if pod == nil {
			http.Error(w, "there is no Pod", http.StatusServiceUnavailable)
			return
		}
		code, page, err := env.PodGet(r.Context(), "cluster-1", s.home, pod.Name, options.DefaultMetricsPort, "/metrics", token)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		w.WriteHeader(code)
		_, _ = w.Write(page)
	}))
	s.t.Cleanup(exporter.Close)
	dir := s.t.TempDir()
	config := filepath.Join(dir, "prometheus.yaml")
	text := fmt.Appendf(nil, prometheusConfig, service.MetricsAddress, exporter.Listener.Addr(), s.home)
	require.NoError(s.t, os.WriteFile(config, text, 0o600))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	address := free.Addr().String()
	require.NoError(s.t, free.Close())
	log, err := os.Create(filepath.Join(dir, "prometheus.log"))
	require.NoError(s.t, err)
	server := exec.CommandContext(s.t.Context(), program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	server.Stdout, server.Stderr = log, log
	require.NoError(s.t, server.Start())
	s.t.Cleanup(func() { _ = server.Wait() }) // the context of the test has ended it
	s.eventually("Prometheus is ready", func() (bool, string) {
		response, err := http.Get("http://" + address + "/-/ready") //nolint:noctx // it is on this machine
		if err != nil {
			return false, err.Error()
		}
		return response.StatusCode == http.StatusOK, response.Status
	})
	return address
}
