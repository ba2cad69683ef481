//go:build bench

package bench

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/pkg/syncer/source/workspace"
	syncersync "github.com/synctarget/synctarget/pkg/syncer/sync"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
	"github.com/synctarget/synctarget/pkg/syncer/upstream"
)

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	// ingresses have a status that nobody writes in a cluster without an ingress controller.
	ingresses = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}
)

// rig is a syncer's engine in this process, and beside it the floor: a bare client between the same two servers.
type rig struct {
	t            *testing.T
	tenant       *tenant
	target       *workloadv1alpha1.SyncTarget
	up, down     dynamic.Interface
	upC, downC   *rest.Config
	requests     requests
	registry     *prometheus.Registry
	stop         func()
	counterparts map[string]string
	arrivals     sync.Map // <namespace>/<name> → time
}

// requests counts what the engine sends.
type requests struct {
	writes atomic.Int64
	last   atomic.Int64
}

func (r *requests) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method != http.MethodGet {
			r.writes.Add(1)
		}
		if !isDiscovery(req.URL.Path) {
			r.last.Store(time.Now().UnixNano())
		}
		return next.RoundTrip(req)
	})
}

// isDiscovery tells a look at what a side serves, which comes by the clock, from the sync itself.
func isDiscovery(path string) bool {
	return strings.HasSuffix(path, "/api") || strings.HasSuffix(path, "/apis") || strings.Contains(path, "/openapi/")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// newRig registers a SyncTarget in pull mode, so that the only syncer is the one in this process, and opens "sync" to it.
func newRig(t *testing.T) *rig {
	t.Helper()
	n := newTenant(t)
	r := &rig{t: t, tenant: n, upC: rest.CopyConfig(n.config), counterparts: map[string]string{}}
	var err error
	r.downC, err = clientcmd.BuildConfigFromFlags("", env.ClusterKubeconfig("cluster-1"))
	require.NoError(t, err)
	r.upC.QPS, r.downC.QPS = -1, -1
	r.up, err = dynamic.NewForConfig(r.upC)
	require.NoError(t, err)
	r.down, err = dynamic.NewForConfig(r.downC)
	require.NoError(t, err)

	n.bindCompute()
	r.target = &workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: "edge-1"}, Spec: workloadv1alpha1.SyncTargetSpec{
		Cluster: "cluster-1", Cells: map[string]workloadv1alpha1.CellValue{"region": "local"},
		SyncedResources: []workloadv1alpha1.GroupResource{{Resource: "configmaps"}, {Group: ingresses.Group, Resource: ingresses.Resource}},
	}}
	require.NoError(t, n.Create(t.Context(), r.target))
	n.eventually("the SyncTarget has a key", func() (bool, string) {
		err := n.Get(t.Context(), client.ObjectKeyFromObject(r.target), r.target)
		return err == nil && r.target.Status.Key != "", fmt.Sprint(err)
	})
	r.counterparts["sync"], r.counterparts["floor"] = naming.Namespace(r.target.Status.Key, "sync"), "bench-floor-"+r.target.Status.Key
	for name, counterpart := range r.counterparts {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		require.NoError(t, n.Create(t.Context(), ns))
		if name == "sync" {
			r.assign(ns)
		}
		there := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": counterpart}}}
		namespaces := r.down.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
		_, err := namespaces.Create(t.Context(), there, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = namespaces.Delete(context.Background(), counterpart, metav1.DeleteOptions{}) })
		r.watchArrivals(name, counterpart)
	}
	return r
}

// assign assigns a Namespace to the target without a Placement, since the syncer of this process sends no heartbeats: nothing
// would be placed on it. It waits until the Namespace is admitted.
func (r *rig) assign(ns *corev1.Namespace) {
	t, key := r.t, r.target.Status.Key
	home := workloadv1alpha1.SyncerNamespace(r.target.Name, key)
	r.tenant.eventually("the syncer has a Namespace", func() (bool, string) {
		err := r.tenant.Get(t.Context(), client.ObjectKey{Name: home}, &corev1.Namespace{})
		return err == nil, fmt.Sprint(err)
	})
	assignment := &workloadv1alpha1.Assignment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: home, Name: workloadv1alpha1.AssignmentName(ns.UID),
			Labels: map[string]string{
				workloadv1alpha1.LabelVisible: "true", workloadv1alpha1.LabelKey: key, workloadv1alpha1.LabelUID: string(r.target.UID),
			},
			Annotations: map[string]string{workloadv1alpha1.AnnotationSyncTarget: r.target.Name},
		},
		Spec: workloadv1alpha1.AssignmentSpec{
			Namespace: workloadv1alpha1.ObjectReference{Name: ns.Name, UID: ns.UID}, Placement: workloadv1alpha1.ObjectReference{Name: "bench", UID: "bench"},
			Epoch: 1, Intent: workloadv1alpha1.IntentRun, Reason: workloadv1alpha1.AssignmentScheduled, WritesStatus: true,
		},
	}
	require.NoError(t, r.tenant.Create(t.Context(), assignment))
	r.tenant.eventually("the Namespace is admitted", func() (bool, string) {
		err := r.tenant.Get(t.Context(), client.ObjectKeyFromObject(assignment), assignment)
		return err == nil && meta.IsStatusConditionTrue(assignment.Status.Conditions, workloadv1alpha1.ConditionAdmitted), fmt.Sprint(err, assignment.Status)
	})
}

// watchArrivals notes when each object is first seen in the physical cluster.
func (r *rig) watchArrivals(namespace, counterpart string) {
	r.inform(r.t.Context(), r.down, counterpart, slim, func(o metav1.Object) {
		r.arrivals.LoadOrStore(namespace+"/"+o.GetName(), time.Now())
	})
}

// slim leaves of an object what an informer needs: what is watched here is not to be measured.
func slim(o any) (any, error) {
	object, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: object.GetNamespace(), Name: object.GetName(), ResourceVersion: object.GetResourceVersion(),
	}}, nil
}

// inform calls added for every ConfigMap of a Namespace, by an informer: a watch alone may be ended by a server that finds
// it too slow.
func (r *rig) inform(ctx context.Context, side dynamic.Interface, namespace string, transform cache.TransformFunc, added func(metav1.Object)) {
	r.t.Helper()
	informer := dynamicinformer.NewFilteredDynamicInformer(side, configMaps, namespace, 0, nil, nil).Informer()
	require.NoError(r.t, informer.SetTransform(transform))
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) { added(o.(metav1.Object)) }})
	require.NoError(r.t, err)
	go informer.RunWithContext(ctx)
	require.True(r.t, cache.WaitForCacheSync(ctx.Done(), informer.HasSynced))
}

// floor watches upstream and creates downstream, with as many workers as the burst has creators, what has a name of this
// prefix. It ends with stop.
func (r *rig) floor(prefix string) (stop func()) {
	r.t.Helper()
	return r.bare(prefix, func(o *unstructured.Unstructured) { r.carry(r.down, o) })
}

// heldFloor is floor with a finalizer that each object gets before its copy is created, by these clients of the two sides. It
// is taken off again by stop.
func (r *rig) heldFloor(prefix string, up, down dynamic.Interface) (stop func()) {
	r.t.Helper()
	hold := func(side dynamic.Interface, name, finalizers string) {
		if _, err := side.Resource(configMaps).Namespace("floor").Patch(r.t.Context(), name, types.MergePatchType,
			fmt.Appendf(nil, `{"metadata":{"finalizers":%s}}`, finalizers), metav1.PatchOptions{}); err != nil {
			r.t.Errorf("the floor holds %s: %v", name, err)
		}
	}
	var names sync.Map
	end := r.bare(prefix, func(o *unstructured.Unstructured) {
		names.Store(o.GetName(), true)
		hold(up, o.GetName(), `["bench.workload.kcp.io/held"]`)
		r.carry(down, o)
	})
	return func() {
		end()
		names.Range(func(name, _ any) bool { hold(r.up, name.(string), "null"); return true })
	}
}

// bare has each new object upstream with a name of this prefix carried, side by side.
func (r *rig) bare(prefix string, carry func(*unstructured.Unstructured)) (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	names := make(chan *unstructured.Unstructured, 100_000)
	for range 32 {
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case o := <-names:
					carry(o)
				}
			}
		}()
	}
	r.inform(ctx, r.up, "floor", nil, func(o metav1.Object) {
		if strings.HasPrefix(o.GetName(), prefix) {
			names <- o.(*unstructured.Unstructured)
		}
	})
	return cancel
}

// look lists and watches both sides, as a syncer has to, until stop, and returns how long it took until all was listed.
func (r *rig) look() (took time.Duration, stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	started := time.Now()
	r.inform(ctx, r.up, "sync", nil, func(metav1.Object) {})
	r.inform(ctx, r.down, r.counterparts["sync"], nil, func(metav1.Object) {})
	return time.Since(started), cancel
}

// carry creates a copy, and tries again where the server turns it away: a client that gave up then would be none.
func (r *rig) carry(down dynamic.Interface, o *unstructured.Unstructured) {
	c := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": o.Object["data"]}}
	c.SetName(o.GetName())
	for range 3 {
		_, err := down.Resource(configMaps).Namespace(r.counterparts["floor"]).Create(r.t.Context(), c, metav1.CreateOptions{})
		if err == nil || r.t.Context().Err() != nil {
			return
		}
		r.t.Logf("the floor tries %s again: %v", o.GetName(), err)
	}
}

// start starts the engine and returns when.
func (r *rig) start() time.Time {
	up, down := rest.CopyConfig(r.upC), rest.CopyConfig(r.downC)
	up.Wrap(r.requests.wrap)
	down.Wrap(r.requests.wrap)
	target, err := upstream.NewSyncTarget(up, r.target.Name)
	require.NoError(r.t, err)
	r.registry = prometheus.NewRegistry()
	metrics, err := syncersync.NewMetrics(r.registry)
	require.NoError(r.t, err)
	owner := transform.Owner{Key: r.target.Status.Key, UID: string(r.target.UID), Name: r.target.Name, Workspace: path.Base(r.upC.Host)}
	from, err := workspace.NewForConfig(up, target, owner, clock.RealClock{})
	require.NoError(r.t, err)
	engine, err := syncersync.New(syncersync.Config{Source: from, Cluster: down, Owner: owner, Metrics: metrics})
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(logr.NewContext(r.t.Context(), logr.Discard()))
	done := make(chan struct{})
	started := time.Now()
	r.requests.last.Store(started.UnixNano())
	go func() { defer close(done); _ = engine.Start(ctx) }()
	r.stop = func() { cancel(); <-done }
	return started
}

// create makes a ConfigMap of this size upstream and returns when it was asked for.
func (r *rig) create(namespace, name string, size int) (time.Time, error) {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"d": strings.Repeat("x", size)}}}
	o.SetName(name)
	at := time.Now()
	_, err := r.up.Resource(configMaps).Namespace(namespace).Create(r.t.Context(), o, metav1.CreateOptions{})
	return at, err
}

// await returns when an object arrived.
func (r *rig) await(namespace, name string) time.Time {
	r.t.Helper()
	var at time.Time
	r.tenant.eventually(namespace+"/"+name+" has arrived", func() (bool, string) {
		v, ok := r.arrivals.Load(namespace + "/" + name)
		if ok {
			at = v.(time.Time)
		}
		return ok, ""
	})
	return at
}

// burst creates objects side by side and returns how many a second arrived.
func (r *rig) burst(namespace, prefix string, count int) float64 {
	r.t.Helper()
	var all errgroup.Group
	all.SetLimit(32)
	begin := time.Now()
	for i := range count {
		all.Go(func() error {
			_, err := r.create(namespace, fmt.Sprintf("%s-%d", prefix, i), 1024)
			return err
		})
	}
	require.NoError(r.t, all.Wait())
	var last time.Time
	for i := range count {
		if at := r.await(namespace, fmt.Sprintf("%s-%d", prefix, i)); at.After(last) {
			last = at
		}
	}
	return float64(count) / last.Sub(begin).Seconds()
}

// quiet waits until the engine has had nothing to do for a while, and returns since when.
func (r *rig) quiet() time.Time {
	r.t.Helper()
	var busy time.Time
	r.tenant.eventually("the engine is at rest", func() (bool, string) {
		if last := time.Unix(0, r.requests.last.Load()); last.After(busy) {
			busy = last
		}
		if r.waiting() > 0 {
			busy = time.Now()
		}
		return time.Since(busy) > 3*time.Second, busy.String()
	})
	return busy
}

// counted waits until the SyncTarget tells of all ConfigMaps that are held, as it does within half a minute: before, there is
// something to write.
func (r *rig) counted() {
	r.t.Helper()
	r.tenant.eventually("all ConfigMaps are counted", func() (bool, string) {
		target := &workloadv1alpha1.SyncTarget{}
		require.NoError(r.t, r.tenant.Get(r.t.Context(), client.ObjectKeyFromObject(r.target), target))
		all, err := r.up.Resource(configMaps).Namespace("sync").List(r.t.Context(), metav1.ListOptions{})
		require.NoError(r.t, err)
		held, told := 0, 0
		for i := range all.Items {
			if slices.Contains(all.Items[i].GetFinalizers(), workloadv1alpha1.SyncerFinalizer(r.target.Status.Key)) {
				held++
			}
		}
		for _, resource := range target.Status.SyncedResources {
			if resource.Resource == configMaps.Resource {
				told = int(resource.Objects)
			}
		}
		return held == told, fmt.Sprintf("%d of %d", told, held)
	})
}

// waiting is how much waits in the engine's queue.
func (r *rig) waiting() float64 {
	families, err := r.registry.Gather()
	require.NoError(r.t, err)
	for _, family := range families {
		if family.GetName() == "synctarget_syncer_queue_depth" {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return 0
}

// ingress makes an Ingress on a side.
func (r *rig) ingress(side dynamic.Interface, namespace, name string) {
	r.t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": map[string]any{
		"defaultBackend": map[string]any{"service": map[string]any{"name": "web", "port": map[string]any{"number": int64(80)}}},
	}}}
	o.SetName(name)
	_, err := side.Resource(ingresses).Namespace(namespace).Create(r.t.Context(), o, metav1.CreateOptions{})
	require.NoError(r.t, err)
}

// addressOf is what an Ingress says in its status.
func addressOf(o *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "loadBalancer", "ingress")
	if len(list) == 0 {
		return ""
	}
	first, _ := list[0].(map[string]any)
	address, _ := first["ip"].(string)
	return address
}

// patchAddress writes the status of an Ingress, and returns when it was asked for.
func (r *rig) patchAddress(side dynamic.Interface, namespace, address string) (time.Time, error) {
	at := time.Now()
	_, err := side.Resource(ingresses).Namespace(namespace).Patch(r.t.Context(), "web", types.MergePatchType,
		fmt.Appendf(nil, `{"status":{"loadBalancer":{"ingress":[{"ip":%q}]}}}`, address), metav1.PatchOptions{}, "status")
	return at, err
}

// follow calls notify with the address of the Ingress in a Namespace whenever it changes, until the test ends.
func (r *rig) follow(side dynamic.Interface, namespace string, notify func(address string)) {
	r.t.Helper()
	w, err := side.Resource(ingresses).Namespace(namespace).Watch(r.t.Context(), metav1.ListOptions{})
	require.NoError(r.t, err)
	go func() {
		last := ""
		for event := range w.ResultChan() {
			if o, ok := event.Object.(*unstructured.Unstructured); ok && addressOf(o) != last {
				last = addressOf(o)
				notify(last)
			}
		}
	}()
}

// statusUp changes the status of an Ingress downstream, for the floor and the sync in turn, ten times a second each, and
// returns how long each change took to be visible upstream.
func (r *rig) statusUp(count int) map[string][]time.Duration {
	r.t.Helper()
	for _, namespace := range []string{"floor", "sync"} {
		r.ingress(r.up, namespace, "web")
		r.follow(r.up, namespace, func(address string) { r.arrivals.LoadOrStore(namespace+"/"+address, time.Now()) })
	}
	r.ingress(r.down, r.counterparts["floor"], "web")
	// The floor watches downstream and writes upstream, and no more.
	r.follow(r.down, r.counterparts["floor"], func(address string) { _, _ = r.patchAddress(r.up, "floor", address) })
	r.tenant.eventually("the copy is there", func() (bool, string) {
		_, err := r.down.Resource(ingresses).Namespace(r.counterparts["sync"]).Get(r.t.Context(), "web", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	r.quiet()
	changed := map[string][]time.Time{}
	address := func(i int) string { return fmt.Sprintf("10.0.%d.%d", i/250, i%250+1) }
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for i := range 2 * count {
		<-ticker.C
		namespace := []string{"floor", "sync"}[i%2]
		at, err := r.patchAddress(r.down, r.counterparts[namespace], address(i/2))
		require.NoError(r.t, err)
		changed[namespace] = append(changed[namespace], at)
	}
	latency := map[string][]time.Duration{}
	for namespace, times := range changed {
		for i, at := range times {
			latency[namespace] = append(latency[namespace], r.await(namespace, address(i)).Sub(at))
		}
	}
	return latency
}

func heap() float64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc) / (1 << 20)
}

func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	return all[min(len(all)-1, len(all)*p/100)]
}

// The marks of the sync, each beside the bare client's figure of the same run.
const (
	downMedian  = 2.5                   // times the floor's median
	downTail    = 60 * time.Millisecond // more than the floor's p99
	upMedian    = 10 * time.Millisecond // more than the floor's median
	upTail      = 40 * time.Millisecond // more than the floor's p99
	burstRate   = 50                    // objects a second, with the default limit of requests
	burstShare  = 0.8                   // of the rate of a bare client that has the same limit and puts a finalizer on each object first
	restartTime = 4 * time.Second
	heapLimit   = 5.2 // MiB for each 1,000 objects of 1 KiB: 5, and the noise of the measurement
)

// heldBursts is how many bursts show what a finalizer costs a bare client.
const heldBursts = 3

// TestSync measures the way down and the way up. The floor is a bare client that watches one side and writes to the
// other.
func TestSync(t *testing.T) {
	r := newRig(t)
	r.start()
	_, err := r.create("sync", "first", 1) // the informers are there when it has arrived
	require.NoError(t, err)
	r.await("sync", "first")
	out := newTable("Sync: down and up, against a bare client between the same two servers")
	count := size(t, "BENCH_OBJECTS", 200)

	down := r.paced(count)
	out.latencies("create upstream → exists downstream, 10/s", down)
	assert.LessOrEqual(t, percentile(down["sync"], 50).Seconds(), downMedian*percentile(down["floor"], 50).Seconds(), "p50 on the way down")
	assert.LessOrEqual(t, percentile(down["sync"], 99), percentile(down["floor"], 99)+downTail, "p99 on the way down")

	up := r.statusUp(count)
	out.latencies("status changes downstream → visible upstream, 10/s", up)
	assert.LessOrEqual(t, percentile(up["sync"], 50), percentile(up["floor"], 50)+upMedian, "p50 on the way up")
	assert.LessOrEqual(t, percentile(up["sync"], 99), percentile(up["floor"], 99)+upTail, "p99 on the way up")

	pairs, times := 0, map[string]float64{} // in seconds, of all pairs
	pair := func() {
		r.quiet()
		prefix := fmt.Sprintf("burst-%d", pairs)
		stop := r.floor(prefix)
		floor := r.burst("floor", prefix, 1000)
		stop()
		r.quiet() // each begins at rest
		synced := r.burst("sync", prefix, 1000)
		pairs++
		times["floor"] += 1000 / floor
		times["sync"] += 1000 / synced
		out.row("burst of 1,000, objects/s", fmt.Sprintf("floor %.0f", floor), fmt.Sprintf("sync %.0f, %.0f %%", synced, 100*synced/floor))
	}
	pair()

	r.counted()
	r.quiet()
	one, before := heap(), r.requests.writes.Load()
	r.stop()
	listed, stop := r.look()
	stop()
	started := r.start()
	settled, writes := r.quiet().Sub(started), r.requests.writes.Load()-before
	out.row(fmt.Sprintf("restart with %d unchanged objects", 1002+count), fmt.Sprintf("floor %s", seconds(listed)), fmt.Sprintf("at rest after %s, %d writes", seconds(settled), writes))
	assert.Less(t, settled, restartTime, "restart")
	assert.Zero(t, writes, "writes after a restart")

	for range 4 {
		pair()
	}
	share := times["floor"] / times["sync"]
	out.row(fmt.Sprintf("  all %d pairs together", pairs), "", fmt.Sprintf("%.0f %%", 100*share))
	r.quiet()
	five := heap()
	slope := (five - one) / 4
	_, stop = r.look()
	bare := (heap() - five) / (float64(5002+count) / 1000)
	stop()
	out.row("live heap for each 1,000 objects of 1 KiB", fmt.Sprintf("floor %.1f MiB", bare), fmt.Sprintf("sync %.1f MiB", slope))
	assert.LessOrEqual(t, slope, heapLimit, "live heap")

	for i := range heldBursts {
		r.quiet()
		prefix := fmt.Sprintf("held-%d", i)
		stop := r.heldFloor(prefix, r.up, r.down)
		times["held"] += 1000 / r.burst("floor", prefix, 1000)
		stop()
	}
	heldShare := times["floor"] / float64(pairs) / (times["held"] / heldBursts)
	out.row("burst of 1,000, of a bare client that puts a finalizer on each object first", fmt.Sprintf("%.0f", 1000*heldBursts/times["held"]), fmt.Sprintf("%.0f %%", 100*heldShare))
	r.stop()
	r.limited(options.New(), out)
	out.print()
	// The syncer is gone: the tenant's cleanup must not wait until that is noticed, nor for one object after the other.
	for name := range r.counterparts {
		require.NoError(t, discard(t.Context(), r.up, name))
	}
	require.NoError(t, r.tenant.Get(t.Context(), client.ObjectKeyFromObject(r.target), r.target))
	r.target.Annotations = map[string]string{workloadv1alpha1.AnnotationAbandon: "true"}
	require.NoError(t, r.tenant.Update(t.Context(), r.target))
}

// limited restarts the engine with a limit. Its bursts take turns with those of a bare client that puts a finalizer on each object
// first and has the same limit.
func (r *rig) limited(limits *options.Options, out *table) {
	r.t.Helper()
	for _, config := range []*rest.Config{r.upC, r.downC} {
		config.QPS, config.Burst = limits.QPS, limits.EffectiveBurst()
	}
	r.start()
	defer r.stop()
	times := map[string]float64{} // in seconds, of all pairs
	for i := range heldBursts {
		prefix := fmt.Sprintf("limited-%d", i)
		up, err := dynamic.NewForConfig(r.upC) // anew, so that no burst has an empty bucket
		require.NoError(r.t, err)
		down, err := dynamic.NewForConfig(r.downC)
		require.NoError(r.t, err)
		r.quiet()
		stop := r.heldFloor(prefix, up, down)
		floor := r.burst("floor", prefix, 1000)
		stop()
		r.quiet()
		began := time.Now()
		synced := r.burst("sync", prefix, 1000)
		told := r.quiet().Sub(began)
		times["floor"] += 1000 / floor
		times["sync"] += 1000 / synced
		out.row(fmt.Sprintf("burst of 1,000, both with %g requests a second and %d at once, objects/s", limits.QPS, limits.EffectiveBurst()),
			fmt.Sprintf("floor with finalizers %.0f", floor), fmt.Sprintf("sync %.0f, %.0f %%; reported after %s", synced, 100*synced/floor, seconds(told)))
	}
	rate, share := 1000*heldBursts/times["sync"], times["floor"]/times["sync"]
	out.row(fmt.Sprintf("  all %d pairs together", heldBursts), fmt.Sprintf("%.0f", 1000*heldBursts/times["floor"]), fmt.Sprintf("%.0f, %.0f %%", rate, 100*share))
	assert.GreaterOrEqual(r.t, rate, float64(burstRate), "objects a second with the default limit")
	assert.GreaterOrEqual(r.t, share, burstShare, "share of a bare client with finalizers and the same limit")
}

// paced creates an object in 100 ms for the floor and one for the sync, in turn, and returns how long each took to arrive.
func (r *rig) paced(count int) map[string][]time.Duration {
	r.t.Helper()
	defer r.floor("paced-")()
	created := map[string][]time.Time{}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for i := range 2 * count {
		<-ticker.C
		namespace := []string{"floor", "sync"}[i%2]
		at, err := r.create(namespace, fmt.Sprintf("paced-%d", i/2), 1024)
		require.NoError(r.t, err)
		created[namespace] = append(created[namespace], at)
	}
	latency := map[string][]time.Duration{}
	for namespace, times := range created {
		for i, at := range times {
			latency[namespace] = append(latency[namespace], r.await(namespace, fmt.Sprintf("paced-%d", i)).Sub(at))
		}
	}
	return latency
}

// latencies are two rows, under a heading.
func (t *table) latencies(heading string, of map[string][]time.Duration) {
	t.row(heading, "p50", "p99")
	for _, namespace := range []string{"floor", "sync"} {
		t.row("  "+namespace, milliseconds(percentile(of[namespace], 50)), milliseconds(percentile(of[namespace], 99)))
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
}
