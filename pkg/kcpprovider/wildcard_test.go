package kcpprovider

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kcpcache "github.com/kcp-dev/apimachinery/v2/pkg/cache"
	kcpinformers "github.com/kcp-dev/apimachinery/v2/third_party/informers"
	"github.com/kcp-dev/logicalcluster/v3"
	mcpcache "github.com/kcp-dev/multicluster-provider/pkg/cache"
)

// recorder records the events of one logical cluster.
type recorder struct{ events []string }

func (r *recorder) OnAdd(o any, _ bool) { r.events = append(r.events, "add "+nameOf(o)) }
func (r *recorder) OnUpdate(_, o any)   { r.events = append(r.events, "update "+nameOf(o)) }
func (r *recorder) OnDelete(o any)      { r.events = append(r.events, "delete "+nameOf(o)) }

func nameOf(object any) string {
	if deleted, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = deleted.Obj
	}
	return object.(client.Object).GetName()
}

// newTestDistributor is one of an informer that was never started, and holds these objects.
func newTestDistributor(t testing.TB, objects ...client.Object) *distributor {
	t.Helper()
	informer := kcpinformers.NewSharedIndexInformer(&toolscache.ListWatch{}, &corev1.ConfigMap{}, 0, toolscache.Indexers{
		kcpcache.ClusterIndexName: mcpcache.ClusterIndexFunc,
	})
	for _, object := range objects {
		if err := informer.GetIndexer().Add(object); err != nil {
			t.Fatal(err)
		}
	}
	d := newDistributor(false)
	if err := d.follow(informer); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDistributor(t *testing.T) {
	mine, theirs := configMap("one", "m1"), configMap("two", "m2")
	d := newTestDistributor(t, mine, theirs)
	one, two, late := &recorder{}, &recorder{}, &recorder{}
	handles := map[*recorder]toolscache.ResourceEventHandlerRegistration{}
	add := func(name logicalcluster.Name, r *recorder) {
		handle, err := (&scopedInformer{d, name}).AddEventHandler(r)
		if err != nil {
			t.Fatal(err)
		}
		handles[r] = handle
	}
	add("one", one)
	add("two", two)

	d.OnAdd(configMap("one", "m3"), false)
	d.OnUpdate(mine, mine)
	d.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "m1", Obj: mine})
	d.OnDelete(theirs)
	d.OnUpdate(configMap("three", "m4"), configMap("three", "m4"))
	add("one", late)
	if err := (&scopedInformer{d, "one"}).RemoveEventHandler(handles[one]); err != nil {
		t.Errorf("RemoveEventHandler() = %v", err)
	}
	d.OnUpdate(mine, mine)
	want := map[string][]string{
		"one": {"add m1", "add m3", "update m1", "delete m1"}, "two": {"add m2", "delete m2"}, "late": {"add m1", "update m1"},
	}
	if diff := cmp.Diff(want, map[string][]string{"one": one.events, "two": two.events, "late": late.events}); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
	for r := range handles {
		// One of them for the second time.
		if err := (&scopedInformer{d, ""}).RemoveEventHandler(handles[r]); err != nil {
			t.Errorf("RemoveEventHandler() = %v", err)
		}
	}
	if len(d.handlers) != 0 {
		t.Errorf("handlers are left: %v", d.handlers)
	}
}

// TestNotSupported: what the informer of a logical cluster cannot do is an error.
func TestNotSupported(t *testing.T) {
	i := &scopedInformer{newTestDistributor(t), "one"}
	period, none := time.Minute, time.Duration(0)
	_, resync := i.AddEventHandlerWithResyncPeriod(&recorder{}, period)
	_, option := i.AddEventHandlerWithOptions(&recorder{}, toolscache.HandlerOptions{ResyncPeriod: &period})
	for name, err := range map[string]error{
		"a resync": resync, "a resync by option": option, "an index": i.AddIndexers(nil),
		"the handle of another informer": i.RemoveEventHandler(&registration{distributor: newTestDistributor(t)}),
		"a handle of another type":       i.RemoveEventHandler(nil),
	} {
		if !errors.Is(err, errFixed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, options := range []toolscache.HandlerOptions{{}, {ResyncPeriod: &none}} {
		if _, err := i.AddEventHandlerWithOptions(&recorder{}, options); err != nil {
			t.Errorf("AddEventHandlerWithOptions() = %v", err)
		}
	}
}

// TestLogicalCluster: it shares what can be shared, and sees its own objects alone, of the kinds that are watched.
func TestLogicalCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kcp := newFakeKcp()
		for _, cluster := range []string{"one", "two"} {
			kcp.put(shard1+bindingsPath, bound(cluster))
			m := configMap(cluster, "of-"+cluster)
			m.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
			kcp.put(shard1+mapsPath, m)
		}
		kcp.list(shard1)
		r := start(t, kcp)
		r.want("", "one", "two")
		one, err := r.s.Get(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		two, err := r.s.Get(t.Context(), "two")
		if err != nil {
			t.Fatal(err)
		}
		if one.GetHTTPClient() != two.GetHTTPClient() || one.GetRESTMapper() != two.GetRESTMapper() || one.GetScheme() != two.GetScheme() {
			t.Error("logical clusters do not share HTTP client, mapper and scheme")
		}
		if got, want := one.GetConfig().Host, shard1+"/clusters/one"; got != want {
			t.Errorf("GetConfig().Host = %q, want %q", got, want)
		}
		var maps corev1.ConfigMapList
		if err := one.GetCache().List(t.Context(), &maps); err != nil || len(maps.Items) != 1 || maps.Items[0].Name != "of-one" {
			t.Errorf("List() = %v, %v", maps.Items, err)
		}
		if maps.Items[0].ManagedFields != nil {
			t.Error("managedFields take memory for nothing")
		}
		for _, kind := range []string{"Secret", "SecretList"} {
			secrets := &metav1.PartialObjectMetadataList{}
			secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
			if err := one.GetCache().List(t.Context(), secrets); err != nil {
				t.Errorf("List() of metadata of kind %s = %v", kind, err)
			}
		}
		const notWatched = "are not watched in logical clusters"
		if err := one.GetCache().List(t.Context(), &corev1.SecretList{}); err == nil || !strings.Contains(err.Error(), notWatched) {
			t.Errorf("List() of whole Secrets = %v", err)
		}
		if _, err := one.GetCache().GetInformer(t.Context(), &corev1.Pod{}); err == nil || !strings.Contains(err.Error(), notWatched) {
			t.Errorf("GetInformer() of Pods = %v", err)
		}
		if _, err := one.GetCache().GetInformerForKind(t.Context(), corev1.SchemeGroupVersion.WithKind("ConfigMap")); err != nil {
			t.Errorf("GetInformerForKind() = %v", err)
		}
	})
}

// fill serves n logical clusters to a controller of multicluster-runtime that watches three kinds.
func fill(ctx context.Context, t testing.TB, n int) (*Supervisor, *passes) {
	t.Helper()
	kcp := newFakeKcp()
	seed(kcp, n)
	s, p := newSupervisor(t, kcp), &passes{counts: map[string]int{}}
	controller := newController(ctx, t, p, s.Kinds...)
	go func() { _ = s.Start(ctx, controller) }()
	return s, p
}

// seed adds n logical clusters with one ConfigMap each.
func seed(kcp *fakeKcp, n int) {
	for i := range n {
		kcp.objects[shard1+bindingsPath] = append(kcp.objects[shard1+bindingsPath], bound(fmt.Sprint("c", i)))
		kcp.objects[shard1+mapsPath] = append(kcp.objects[shard1+mapsPath], configMap(fmt.Sprint("c", i), "m"))
	}
	kcp.list(shard1)
}

// awaitServed waits until n logical clusters are served.
func awaitServed(s *Supervisor, n int) {
	for s.Served() < n {
		time.Sleep(10 * time.Millisecond)
	}
}

// mapsOf returns the distributor of ConfigMaps, and the ConfigMaps.
func mapsOf(t testing.TB, s *Supervisor) (*distributor, []any) {
	t.Helper()
	d, err := s.endpoints[shard1].cache.distributor(&corev1.ConfigMap{})
	if err != nil {
		t.Fatal(err)
	}
	return d, d.source().GetIndexer().List()
}

// TestEventCost: an event calls the handlers of its own logical cluster, whatever the number of others; and to engage one
// more delivers its own objects only.
func TestEventCost(t *testing.T) {
	for _, n := range []int{1, 1000} {
		synctest.Test(t, func(t *testing.T) {
			s, p := fill(t.Context(), t, n)
			settle()
			if got := s.Served(); got != n {
				t.Fatalf("Served() = %d, want %d", got, n)
			}
			p.take()
			d, maps := mapsOf(t, s)
			handlers := 0
			for _, m := range maps {
				handlers += len(d.of(m))
			}
			if handlers != n {
				t.Errorf("%d handlers for %d events, want one for each", handlers, n)
			}
			d.OnUpdate(maps[0], maps[0])
			settle()
			if diff := cmp.Diff(map[string]int{clusterOf(maps[0]).String() + "/m": 1}, p.take()); diff != "" {
				t.Errorf("passes: -want +got\n%s", diff)
			}
			again := &recorder{}
			if _, err := d.register(clusterOf(maps[0]), again); err != nil || !slices.Equal(again.events, []string{"add m"}) {
				t.Errorf("register() delivers %q, %v", again.events, err)
			}
		})
	}
}

// BenchmarkEvent measures how long an event takes from the watch of an endpoint to the handler of its logical cluster.
func BenchmarkEvent(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint("workspaces=", n), func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			kcp := newFakeKcp()
			s, handled := newSupervisor(b, kcp), make(chan struct{})
			seed(kcp, n)
			go func() { _ = s.Start(ctx, &aware{}) }()
			awaitServed(s, n)
			d, maps := mapsOf(b, s)
			for _, m := range maps {
				if _, err := d.register(clusterOf(m), toolscache.ResourceEventHandlerFuncs{UpdateFunc: func(any, any) { handled <- struct{}{} }}); err != nil {
					b.Fatal(err)
				}
			}
			inUse() // the garbage of what was set up is not that of events
			events, before := 0, cpuTime(b)
			for b.Loop() {
				kcp.mu.Lock()
				kcp.notify(shard1+mapsPath, "MODIFIED", maps[events%100].(client.Object))
				kcp.mu.Unlock()
				<-handled
				events++
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(events), "cpu-ns/op")
		})
	}
}

// BenchmarkEngage measures what a logical cluster without SyncTargets adds to the heap and to the stacks: itself, its
// APIBinding, one ConfigMap, and the watches of three kinds by a controller.
func BenchmarkEngage(b *testing.B) {
	const workspaces = 5000
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		before := inUse()
		s, _ := fill(ctx, b, workspaces)
		awaitServed(s, workspaces)
		b.ReportMetric(float64(inUse()-before)/1024/workspaces, "KiB/workspace")
		cancel()
	}
}

// cpuTime is what this process has used so far, user and system.
func cpuTime(b *testing.B) int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// inUse is the memory of objects that are reachable, and of stacks, in bytes.
func inUse() uint64 {
	var stats runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc + stats.StackInuse
}
