package pcluster

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// BenchmarkIdleTargets prints what a target costs whose cluster is connected and at rest: KiB of memory that the process
// holds for it, and connections.
func BenchmarkIdleTargets(b *testing.B) {
	const targets = 1000
	for name, protocol := range map[string]string{"HTTP2": "h2", "HTTP1": "http/1.1"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				server := startIdleServer(b, protocol)
				clusters, stop := startIdleClusters(b)
				connect(b, clusters, server, 0, 1)
				before := memoryHeld()
				connect(b, clusters, server, 1, targets+1)
				time.Sleep(idleTimeout + time.Second) // until connections that are not used are closed
				held := memoryHeld() - before
				_, connections := server.count(b)
				stop()
				b.ReportMetric(float64(held)/1024/targets, "KiB/target")
				b.ReportMetric(float64(connections)/(targets+1), "connections/target")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// memoryHeld is how much memory of the system the Go runtime holds when it has returned what is not in use.
func memoryHeld() uint64 {
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Sys - stats.HeapReleased
}

func startIdleClusters(b *testing.B) (clusters *Clusters, stop func()) {
	b.Helper()
	clusters = New(Options{Allow: loopback()})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- clusters.Start(ctx) }()
	return clusters, func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

// connect does with some targets what a pass does if all is right, and waits until all watches hold.
func connect(b *testing.B, clusters *Clusters, server *idleServer, from, to int) {
	b.Helper()
	for i := from; i < to; i++ {
		cluster, err := clusters.Get(context.Background(), testID(fmt.Sprint(i)), tokenKubeconfig(server.url, server.ca, "t"))
		if err != nil {
			b.Fatal(err)
		}
		if err := newClient(b, cluster).Get(context.Background(), client.ObjectKey{Namespace: "n", Name: "d"}, deployment()); err != nil {
			b.Fatal(err)
		}
		if err := cluster.Watch(deployment()); err != nil {
			b.Fatal(err)
		}
	}
	for watches := 0; watches < to; watches, _ = server.count(b) {
		time.Sleep(10 * time.Millisecond)
	}
}

// idleServerVariable makes TestServeIdle serve, in a process of its own, so that its memory is not counted too.
const idleServerVariable = "PCLUSTER_IDLE_SERVER"

// idleServer is a cluster with a Deployment in which nothing happens.
type idleServer struct {
	url   string
	ca    []byte
	ask   io.Writer
	reply *bufio.Reader
}

func startIdleServer(b *testing.B, protocol string) *idleServer {
	b.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestServeIdle$")
	command.Env = append(os.Environ(), idleServerVariable+"="+protocol)
	stdin, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close() // which ends it
		_ = command.Wait()
	})
	s := &idleServer{ask: stdin, reply: bufio.NewReader(stdout)}
	var ca string
	if _, err := fmt.Fscanln(s.reply, &s.url, &ca); err != nil {
		b.Fatal(err)
	}
	if s.ca, err = base64.StdEncoding.DecodeString(ca); err != nil {
		b.Fatal(err)
	}
	return s
}

// count returns how many watches and connections are open.
func (s *idleServer) count(b *testing.B) (watches, connections int) {
	b.Helper()
	if _, err := fmt.Fprintln(s.ask); err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Fscanln(s.reply, &watches, &connections); err != nil {
		b.Fatal(err)
	}
	return watches, connections
}

// TestServeIdle is no test but the process of an idleServer. It prints where it serves, and counts for each line that it
// reads.
func TestServeIdle(t *testing.T) {
	protocol := os.Getenv(idleServerVariable)
	if protocol == "" {
		t.Skip("it serves BenchmarkIdleTargets")
	}
	var watches, connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		metadata := map[string]any{"name": "d", "namespace": "n", "uid": clusterUID, "resourceVersion": "1"}
		object := map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}
		switch {
		case r.URL.Query().Has("watch"):
			w.Header().Set("Content-Type", "application/json")
			w.(http.Flusher).Flush()
			watches.Add(1)
			<-r.Context().Done()
			watches.Add(-1)
		case r.URL.Query().Has("fieldSelector"):
			writeJSON(w, http.StatusOK, map[string]any{
				"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": "1"}, "items": []any{object},
			})
		case r.URL.Path == "/apis/apps/v1/namespaces/n/deployments/d":
			writeJSON(w, http.StatusOK, object)
		default:
			healthy(w, r)
		}
	}))
	server.EnableHTTP2 = protocol == "h2"
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			connections.Add(1)
		case http.StateClosed:
			connections.Add(-1)
		}
	}
	server.StartTLS()
	fmt.Println(server.URL, base64.StdEncoding.EncodeToString(server.Certificate().Raw))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(watches.Load(), connections.Load())
	}
	os.Exit(0) // connections are open that nothing else would end
}
