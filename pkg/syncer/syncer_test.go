package syncer

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// patience is for busy machines; what is waited for takes milliseconds, or 2 s where a Lease changes hands.
const patience = 15 * time.Second

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

func newOptions(t *testing.T, s *server) *options.Options {
	t.Helper()
	o := options.New()
	o.KcpKubeconfig, o.Kubeconfig = s.kubeconfig("/clusters/abc"), s.kubeconfig("")
	o.SyncTargetName, o.SyncTargetUID, o.Key, o.Namespace = "edge-1", "u-1", "k", "kcp-syncer-edge-1-k"
	o.HeartbeatInterval = time.Second
	o.MetricsBindAddress, o.HealthProbeBindAddress = "0", freeAddress(t)
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestLimits: as it is installed, the syncer sends each side 200 requests a second, and 400 at once.
func TestLimits(t *testing.T) {
	own := &rest.Config{QPS: -1}
	if limited := withLimits(own, options.New()); limited.QPS != 200 || limited.Burst != 400 {
		t.Errorf("%g requests a second, %d at once", limited.QPS, limited.Burst)
	}
	if own.QPS != -1 || own.Burst != 0 {
		t.Errorf("the heartbeat is limited to %g requests a second", own.QPS)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// start runs a syncer and returns a function that stops it and returns what Run returned.
func start(t *testing.T, o *options.Options) (stop func() error) {
	t.Helper()
	return startBuild(t, o, Build{Version: "v0.1.0", Registerer: prometheus.NewRegistry()})
}

func startBuild(t *testing.T, o *options.Options, build Build) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o, build) }()
	return func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			t.Fatal("want the syncer to leave")
			return nil
		}
	}
}

func await(t *testing.T, s *server, within time.Duration) {
	t.Helper()
	select {
	case <-s.beat:
	case <-time.After(within):
		t.Fatalf("want a heartbeat within %s", within)
	}
}

// probe asks until the answer is as wanted, which has to be soon, and returns its body.
func probe(t *testing.T, o *options.Options, path string, want int) string {
	t.Helper()
	return awaitAnswer(t, "http://"+o.HealthProbeBindAddress+path, want)
}

// awaitAnswer waits until a server answers with this code, which it may have to begin to listen for, and returns the body.
func awaitAnswer(t *testing.T, url string, want int) string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		response, err := http.Get(url)
		if err == nil {
			body, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if response.StatusCode == want {
				return string(body)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("want %s to answer %d", url, want)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestRun(t *testing.T) {
	s := newServer(t)
	o := newOptions(t, s)
	stop := start(t, o)
	await(t, s, patience)
	probe(t, o, "/healthz", http.StatusOK)
	probe(t, o, "/readyz", http.StatusOK)
	await(t, s, patience)

	var first []struct {
		Op, Path string
		Value    any
	}
	if err := json.Unmarshal([]byte(s.sent()[0]), &first); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"version": "v0.1.0", "instance": hostname(t), "clusterID": "c-1", "kubernetesVersion": "v1.34.4", "nodes": 1.0,
		"capacity": map[string]any{"cpu": "4"}, "allocatable": map[string]any{"cpu": "3"},
	}
	if diff := cmp.Diff(want, first[len(first)-1].Value); diff != "" {
		t.Errorf("want the first heartbeat to report everything: -want, +got:\n%s", diff)
	}
	if holder := s.holder(); !strings.HasPrefix(holder, hostname(t)+"_") {
		t.Errorf("want the Lease to name this pod, got %q", holder)
	}

	if err := stop(); err != nil {
		t.Errorf("want a clean end, got %v", err)
	}
	if holder := s.holder(); holder != "" {
		t.Errorf("want the Lease to be released, it is still held by %q", holder)
	}
}

func TestReplicasElectOneLeader(t *testing.T) {
	s := newServer(t)
	leader := newOptions(t, s)
	stopLeader := start(t, leader)
	await(t, s, patience)

	standby := newOptions(t, s)
	stopStandby := start(t, standby)
	probe(t, standby, "/readyz", http.StatusOK)
	first := s.holder()

	if err := stopLeader(); err != nil {
		t.Errorf("want a clean end of the leader, got %v", err)
	}
	for len(s.beat) > 0 {
		<-s.beat
	}
	await(t, s, patience)
	if second := s.holder(); second == first || second == "" {
		t.Errorf("want the standby to take over from %q, the holder is %q", first, second)
	}
	if err := stopStandby(); err != nil {
		t.Errorf("want a clean end of the standby, got %v", err)
	}
}

// TestContainerIsRestarted: the Lease of a syncer that has ended without a word is good for 15 s, in which its pod's next
// container does not wait for it, and nobody else takes it.
func TestContainerIsRestarted(t *testing.T) {
	t.Setenv("POD_UID", "pod-1")
	s := newServer(t)
	first := holder(hostname(t))
	held := coordinationv1.LeaseSpec{
		HolderIdentity: ptr.To(first), LeaseDurationSeconds: ptr.To[int32](3600),
		AcquireTime: ptr.To(metav1.NowMicro()), RenewTime: ptr.To(metav1.NowMicro()),
	}
	s.lease = &coordinationv1.Lease{
		TypeMeta: metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}, ObjectMeta: metav1.ObjectMeta{Name: options.LeaseName}, Spec: held,
	}
	restarted := newOptions(t, s)
	stop := start(t, restarted)
	await(t, s, patience)
	if holder := s.holder(); holder != first {
		t.Errorf("the Lease is held by %q", holder)
	}

	t.Setenv("POD_UID", "pod-2")
	other := newOptions(t, s)
	stopOther := start(t, other)
	probe(t, other, "/readyz", http.StatusOK)
	for range 4 { // heartbeats, one a second, in which the other asks for the Lease once or twice
		await(t, s, patience)
	}
	if holder := s.holder(); holder != first {
		t.Errorf("the Lease went to %q", holder)
	}
	for _, stop := range []func() error{stopOther, stop} {
		if err := stop(); err != nil {
			t.Errorf("want a clean end, got %v", err)
		}
	}
}

func hostname(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestNotReadyNamesTheCheck(t *testing.T) {
	s := newServer(t)
	o := newOptions(t, s)
	o.KcpKubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	unreachable := strings.Replace(read(t, s.kubeconfig("")), s.URL, "http://"+freeAddress(t), 1)
	if err := os.WriteFile(o.KcpKubeconfig, []byte(unreachable), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := start(t, o)
	probe(t, o, "/readyz/physical-cluster-answers", http.StatusOK)
	body := probe(t, o, "/readyz/kcp-accepts-heartbeats", http.StatusInternalServerError)
	if !strings.Contains(body, "kcp accepts no heartbeats") {
		t.Errorf("want the check's own page to give the reason, got %q", body)
	}
	body = probe(t, o, "/readyz", http.StatusInternalServerError)
	if !strings.Contains(body, "[-]kcp-accepts-heartbeats") {
		t.Errorf("want /readyz to name the check, got %q", body)
	}
	probe(t, o, "/healthz", http.StatusOK)
	if err := stop(); err != nil {
		t.Errorf("want a clean end without kcp, got %v", err)
	}
}

// TestWatchThatDoesNotEnd: the server of this package does not end a watch when it should.
func TestWatchThatDoesNotEnd(t *testing.T) {
	f := newOrphanFixture(t)
	defer func() {
		if err := f.stop(); err != nil {
			t.Errorf("want a clean end, got %v", err)
		}
	}()
	probe(t, f.options, "/healthz/watches", http.StatusOK)
	stepping := time.NewTicker(50 * time.Millisecond)
	defer stepping.Stop()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-ended:
				return
			case <-stepping.C:
				f.clock.Step(time.Hour)
			}
		}
	}()
	body := probe(t, f.options, "/healthz/watches", http.StatusInternalServerError)
	if !strings.Contains(body, "should have ended") {
		t.Errorf("want the check's own page to give the reason, got %q", body)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestRunRefusesWhatCannotWork(t *testing.T) {
	s := newServer(t)
	cases := map[string]struct {
		reason string
		change func(*options.Options)
		err    string
	}{
		"NoUpstream":   {reason: "Without kcp's address there is nothing to do.", change: func(o *options.Options) { o.KcpKubeconfig = "/absent" }, err: "/absent"},
		"NoDownstream": {reason: "Nor without the cluster's.", change: func(o *options.Options) { o.Kubeconfig = "/absent" }, err: "/absent"},
		"BadAddress":   {reason: "Probes that cannot be served would have the pod killed.", change: func(o *options.Options) { o.HealthProbeBindAddress = "nowhere" }, err: "nowhere"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			o := newOptions(t, s)
			tc.change(o)
			err := Run(t.Context(), o, Build{Registerer: prometheus.NewRegistry()})
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("\n%s\nRun(): want an error with %q, got %v", tc.reason, tc.err, err)
			}
		})
	}
}
