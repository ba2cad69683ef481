//go:build bench

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// watchesShare is the mark of assigned Namespaces at rest: requests and memory, as a multiple of the bare informers'.
const watchesShare = 1.3

// watchLife is the least time that client-go keeps a watch, and half of the most. In as much time again, once that is over, each
// watch is begun anew once.
const watchLife = 5 * time.Minute

// TestWatches measures what assigned Namespaces cost a syncer at rest, in its pod and with the standard resources. The floor is a
// process that runs the same informers, without handlers, and nothing else. Both watch in the same minutes.
func TestWatches(t *testing.T) {
	count := size(t, "BENCH_OPENED", 50)
	window := time.Duration(size(t, "BENCH_WATCHED", int(watchLife.Seconds()))) * time.Second
	s := newInstalled(t, nil, (*tenant).bindCompute)
	sleep(t, settling)
	resources := workloadv1alpha1.DefaultSyncedResources()
	out := newTable("%d assigned Namespaces at rest, %d resources in each, against a process with the same informers and no more", count, len(resources))
	out.row("", "floor", "syncer", "syncer : floor")
	floor := s.startFloor()
	bare, bareMemory := floor.ask(), s.memory()
	out.row("memory (RSS) without a Namespace", mebibytes(memoryOf(t, floor.pid(), "VmRSS")), mebibytes(bareMemory))

	began := time.Now()
	namespaces := s.open("rest", count)
	opened := time.Now()
	var pairs []floorPair
	for _, namespace := range namespaces {
		pairs = append(pairs, floorPair{namespace, s.counterpart(namespace)})
	}
	floor.watch(pairs...) // all at once, as the syncer does
	require.Equal(t, count*(2*len(resources)+1), floor.ask().Watches-bare.Watches, "informers of the floor that have listed")
	out.row("from creating the Namespaces, all at once, until all are open", "", opened.Sub(began))

	sleep(t, watchLife) // from the last watch on: no watch has been begun anew by itself yet, or just so
	upBefore, downBefore := s.requests(s.requireMetrics())
	before := floor.ask()
	sleep(t, window)
	counted := s.requireMetrics()
	up, down := s.requests(counted)
	after := floor.ask()

	perMinute := func(what string, floor, synced int) {
		a, b := float64(floor)/window.Minutes(), float64(synced)/window.Minutes()
		out.row(what, fmt.Sprintf("%.1f", a), fmt.Sprintf("%.1f", b), fmt.Sprintf("%.2f", b/a))
		assert.LessOrEqual(t, b, watchesShare*a, what)
	}
	perMinute("requests a minute to the workspace", after.Up-before.Up, up-upBefore)
	perMinute("requests a minute to the physical cluster", after.Down-before.Down, down-downBefore)
	bareRSS, rss := memoryOf(t, floor.pid(), "VmRSS"), s.memory()
	out.row("memory (RSS)", mebibytes(bareRSS), mebibytes(rss), fmt.Sprintf("%.2f", rss/bareRSS))
	out.row("  heap at which the next collection begins", mebibytes(after.Heap), mebibytes(heapGoal(counted)), fmt.Sprintf("%.2f", heapGoal(counted)/after.Heap))
	out.row("  goroutines", after.Goroutines, counted.sum("go_goroutines"))
	out.print()
	assert.LessOrEqual(t, rss, watchesShare*bareRSS, "memory")
}

// floorVariable holds, in the environment of a process of this program, what makes it a floor and no test.
const floorVariable = "BENCH_FLOOR"

// floorSides are where the informers of a floor lead.
type floorSides struct{ KCPKubeconfig, Workspace, ClusterKubeconfig string }

// floorPair is an assigned Namespace. A line on the standard input of a floor is a list of them; an empty one only asks for the
// figures.
type floorPair struct{ Up, Down string }

// floorFigures is the answer, as a line on the standard output.
type floorFigures struct {
	// Watches are the informers that have listed, and Up and Down the requests so far.
	Watches, Up, Down int
	Heap              float64 // heapGoal
	Goroutines        int
}

// floorProcess is a process that runs bare informers.
type floorProcess struct {
	t       *testing.T
	command *exec.Cmd
	to      io.Writer
	from    *bufio.Scanner
}

// startFloor starts one that ends with the test.
func (s *installed) startFloor() *floorProcess {
	s.t.Helper()
	sides, err := json.Marshal(floorSides{env.KCPKubeconfig(), s.config.Host, env.ClusterKubeconfig("cluster-1")})
	require.NoError(s.t, err)
	f := &floorProcess{t: s.t, command: exec.Command(os.Args[0])}
	f.command.Env = append(os.Environ(), floorVariable+"="+string(sides))
	f.command.Stderr = os.Stderr
	f.to, err = f.command.StdinPipe()
	require.NoError(s.t, err)
	from, err := f.command.StdoutPipe()
	require.NoError(s.t, err)
	f.from = bufio.NewScanner(from)
	require.NoError(s.t, f.command.Start())
	s.t.Cleanup(func() { _ = f.command.Process.Kill(); _ = f.command.Wait() })
	return f
}

func (f *floorProcess) pid() int { return f.command.Process.Pid }

// watch starts the informers of assigned Namespaces and returns when they have listed.
func (f *floorProcess) watch(pairs ...floorPair) floorFigures {
	f.t.Helper()
	line, err := json.Marshal(pairs)
	require.NoError(f.t, err)
	_, err = fmt.Fprintf(f.to, "%s\n", line)
	require.NoError(f.t, err)
	require.True(f.t, f.from.Scan(), "the floor ends: %v", f.from.Err())
	var figures floorFigures
	require.NoError(f.t, json.Unmarshal(f.from.Bytes(), &figures))
	return figures
}

// ask returns the figures until now.
func (f *floorProcess) ask() floorFigures { return f.watch() }

// runFloor is the program of a floor: it watches what it is told on the standard input until that ends.
func runFloor(text string) error {
	var sides floorSides
	if err := json.Unmarshal([]byte(text), &sides); err != nil {
		return err
	}
	up, err := newFloorSide(sides.KCPKubeconfig, sides.Workspace)
	if err != nil {
		return err
	}
	down, err := newFloorSide(sides.ClusterKubeconfig, "")
	if err != nil {
		return err
	}
	watches := 0
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var pairs []floorPair
		if err := json.Unmarshal(lines.Bytes(), &pairs); err != nil {
			return err
		}
		var synced []cache.InformerSynced
		for _, pair := range pairs {
			synced = append(synced, up.watch(pair.Up)...)
			synced = append(synced, down.watch(pair.Down)...)
			synced = append(synced, down.watchWarnings(pair.Down))
		}
		if !cache.WaitForCacheSync(nil, synced...) {
			return errors.New("the informers have not listed")
		}
		watches += len(synced)
		if err := json.NewEncoder(os.Stdout).Encode(newFloorFigures(watches, up, down)); err != nil {
			return err
		}
	}
	return nil
}

func newFloorFigures(watches int, up, down *floorSide) floorFigures {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return floorFigures{
		Watches: watches, Up: int(up.requests.Load()), Down: int(down.requests.Load()),
		Heap: float64(stats.NextGC) / (1 << 20), Goroutines: runtime.NumGoroutine(),
	}
}

// floorSide is one side as a floor watches it.
type floorSide struct {
	client   dynamic.Interface
	requests atomic.Int64
}

// newFloorSide is a client without a limit. An empty server is the kubeconfig's.
func newFloorSide(kubeconfig, server string) (*floorSide, error) {
	config, err := clientcmd.BuildConfigFromFlags(server, kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	s := &floorSide{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			s.requests.Add(1)
			return next.RoundTrip(request)
		})
	})
	s.client, err = dynamic.NewForConfig(rest.CopyConfig(config))
	return s, err
}

// watch watches the standard resources of a Namespace.
func (s *floorSide) watch(namespace string) (synced []cache.InformerSynced) {
	for _, r := range workloadv1alpha1.DefaultSyncedResources() {
		synced = append(synced, s.inform(schema.GroupVersionResource{Group: r.Group, Version: "v1", Resource: r.Resource}, namespace, nil))
	}
	return synced
}

// watchWarnings watches the Events that the syncer watches downstream.
func (s *floorSide) watchWarnings(namespace string) cache.InformerSynced {
	return s.inform(schema.GroupVersionResource{Version: "v1", Resource: "events"}, namespace,
		func(o *metav1.ListOptions) { o.FieldSelector = "type=Warning" })
}

func (s *floorSide) inform(resource schema.GroupVersionResource, namespace string, tweak dynamicinformer.TweakListOptionsFunc) cache.InformerSynced {
	informer := dynamicinformer.NewFilteredDynamicInformer(s.client, resource, namespace, 0, nil, tweak).Informer()
	go informer.RunWithContext(context.Background()) // ends with the process
	return informer.HasSynced
}
