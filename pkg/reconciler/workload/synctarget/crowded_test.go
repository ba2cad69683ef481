package synctarget

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// hanging are physical clusters that answer the first contact and then nothing.
type hanging struct{}

func (hanging) Get(ctx context.Context, _ pcluster.ID, _ []byte) (physicalCluster, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hanging) Forget(pcluster.ID)         {}
func (hanging) IsSlow(string, string) bool { return false }

// work reconciles what is in the queue, as controller-runtime does.
func work(t *testing.T, r *Reconciler, q queue, workers int) (begun func() int) {
	t.Helper()
	var running sync.WaitGroup
	var names sync.Map
	for range workers {
		running.Go(func() {
			for {
				req, shutdown := q.Get()
				if shutdown {
					return
				}
				names.Store(req.Name, true)
				result, err := r.Reconcile(t.Context(), req)
				switch {
				case err != nil:
					q.AddRateLimited(req)
				case result.RequeueAfter > 0:
					q.Forget(req)
					q.AddAfter(req, result.RequeueAfter)
				}
				q.Done(req)
			}
		})
	}
	t.Cleanup(func() { q.ShutDown(); running.Wait() })
	return func() (n int) {
		names.Range(func(any, any) bool { n++; return true })
		return n
	}
}

// TestManyWait: SyncTargets that wait for a worker, since the physical clusters of their workspace hang, ask kcp for nothing.
func TestManyWait(t *testing.T) {
	const targets, workers = 500, 4
	synctest.Test(t, func(t *testing.T) {
		objects := []client.Object{newBinding(), newSecret()}
		for i := range workers { // the fake of kcp is slow with many; those that wait are not read
			objects = append(objects, newTarget(func(target *workloadv1alpha1.SyncTarget) {
				target.Name, target.UID = fmt.Sprintf("edge-%d", i), types.UID(fmt.Sprint("uid-", i))
			}))
		}
		kcp := newServer(t, clocktesting.NewFakeClock(time.Now()), objects...)
		r, err := New(Config{
			ExportName: workloadv1alpha1.GroupName, SyncerImage: "syncer:v1", KcpURL: "https://kcp.example.com",
			Kcp:                &rest.Config{Host: "https://kcp.example.com/clusters/root:synctarget"},
			HeartbeatThreshold: threshold, DeleteDeadline: deadline,
			Workspaces: &workspaces{byName: map[multicluster.ClusterName]cluster.Cluster{testCluster: &workspace{reader: kcp.raw}}},
			Upstream:   func(*rest.Config) (client.Client, error) { return kcp.Client, nil },
			Events:     &recorder{}, Metrics: newTestMetrics(), Clock: clock.RealClock{},
		})
		if err != nil {
			t.Fatal(err)
		}
		r.physical = hanging{}
		r.tokens.get = func(context.Context, string, []byte, string, []byte) error { return nil }
		q := r.newFairQueue("", workqueue.DefaultTypedControllerRateLimiter[mcreconcile.Request](), workers)
		begun := work(t, r, q, workers)
		for i := range targets {
			q.Add(request(testCluster, fmt.Sprintf("edge-%d", i)))
		}
		time.Sleep(time.Second)
		kcp.mu.Lock()
		began := len(kcp.reads)
		kcp.mu.Unlock()
		const window = 8 * time.Second // in which no pass ends
		time.Sleep(window)
		synctest.Wait()
		kcp.mu.Lock()
		defer kcp.mu.Unlock()
		if reads := len(kcp.reads) - began; reads > 0 || began == 0 {
			t.Errorf("%d reads of kcp in %s after the first %d", reads, window, began)
		}
		if got := begun(); got != workers/2 {
			t.Errorf("%d SyncTargets of one workspace have a worker, want %d", got, workers/2)
		}
	})
}

// TestIdentityIsReadOnce: while the physical cluster keeps the syncer from being installed, what was found right in the
// workspace is not read again with each attempt, unless something may have happened to it.
func TestIdentityIsReadOnce(t *testing.T) {
	tests := map[string]struct {
		reason string
		change func(*world)
		reads  bool
	}{
		"nothing": {"", func(*world) {}, false},
		"a sign":  {"It comes from the physical cluster.", func(w *world) { w.wake() }, false},
		"the token's Secret": {"Its event says that it was changed or deleted.", func(w *world) {
			secret := secretMeta()
			if err := w.kcp.raw.Get(w.t.Context(), client.ObjectKey{Namespace: testNamespace(), Name: agent.TokenSecretName}, secret); err != nil {
				w.t.Fatal(err)
			}
			q := newQueue(w.t)
			w.r.secretEvents(testCluster, w.cache).Update(w.t.Context(), event.UpdateEvent{ObjectOld: secret, ObjectNew: secret}, q)
		}, true},
		"a changed spec":     {"", func(w *world) { w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Generation = 2 }) }, true},
		"the drift interval": {"What nobody told us of is found.", func(w *world) { w.clock.Step(driftInterval) }, true},
		"silence": {"Without its rights the syncer is silent.", func(w *world) {
			w.beat(w.clock.Now())
			w.clock.Step(threshold)
		}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.settle()
			w.clusters.err = context.DeadlineExceeded
			w.edit(func(target *workloadv1alpha1.SyncTarget) { target.Generation = 3 })
			w.settle()
			tc.change(w)
			w.forget()
			w.pass()
			if w.clusters.gets == 0 {
				t.Error("the physical cluster was not asked")
			}
			got := slices.DeleteFunc(w.kcp.reads, func(request string) bool { return request == `get Secret "default/edge-1"` })
			if len(got) > 0 != tc.reads {
				t.Errorf("%s\nreads of kcp: %q", tc.reason, got)
			}
		})
	}
}

// tarpits are physical clusters that hold a worker for some time in each pass, again and again, and that are known to be slow after
// some passes.
type tarpits struct {
	physicalClusters
	pass, pause time.Duration
	knownAfter  int

	mu     sync.Mutex
	passes map[string]int
}

func (p *tarpits) IsSlow(clusterName, name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passes[clusterName+name] >= p.knownAfter
}

// hold is one pass, and ends with the time until the next.
func (p *tarpits) hold(req mcreconcile.Request) time.Duration {
	time.Sleep(p.pass)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passes[req.ClusterName.String()+req.Name]++
	return p.pause
}

// TestTarpits: physical clusters that answer each call just in time, in many workspaces, do not delay another SyncTarget much.
func TestTarpits(t *testing.T) {
	const (
		workers   = 100
		perTarget = 5 // passes until a target is ready
		usual     = 200 * time.Millisecond
	)
	timeToReady := func(slow *tarpits, workspaces, tarpitsOfEach int) (took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			slow.passes = map[string]int{}
			r := &Reconciler{physical: slow}
			q := r.newFairQueue("", workqueue.DefaultTypedControllerRateLimiter[mcreconcile.Request](), workers)
			ready := make(chan struct{})
			left := perTarget
			var running sync.WaitGroup
			for range workers {
				running.Go(func() {
					for {
						req, shutdown := q.Get()
						switch {
						case shutdown:
							return
						case req.ClusterName != testCluster:
							q.AddAfter(req, slow.hold(req))
						default:
							time.Sleep(usual)
							if left--; left == 0 {
								close(ready)
							} else {
								q.AddAfter(req, time.Millisecond)
							}
						}
						q.Done(req)
					}
				})
			}
			for i := range workspaces {
				for j := range tarpitsOfEach {
					q.Add(request(multicluster.ClusterName(fmt.Sprint("workspace-", i)), fmt.Sprint("edge-", j)))
				}
			}
			time.Sleep(time.Duration(slow.knownAfter)*time.Minute + 3*time.Second) // in the middle of their passes
			began := time.Now()
			q.Add(request(testCluster, testName))
			<-ready
			took = time.Since(began)
			q.ShutDown()
			running.Wait()
		})
		return took
	}
	// The ones answer each call just in time; the others just fast enough to count as fast, and their watches never rest, for which
	// pcluster has them count as slow after a while.
	justInTime := &tarpits{pass: pcluster.Budget, pause: time.Second, knownAfter: 1}
	justFastEnough := &tarpits{pass: 13 * 500 * time.Millisecond, pause: 3500 * time.Millisecond, knownAfter: 10}
	alone := timeToReady(justInTime, 0, 0)
	for name, among := range map[string]time.Duration{
		"70 in 14 workspaces":                     timeToReady(justInTime, 14, 5),
		"400 in 200 workspaces":                   timeToReady(justInTime, 200, 2),
		"70 in 14 workspaces, just fast enough":   timeToReady(justFastEnough, 14, 5),
		"400 in 200 workspaces, just fast enough": timeToReady(justFastEnough, 200, 2),
	} {
		if among > 2*alone {
			t.Errorf("%s: ready after %s, and after %s without them", name, among, alone)
		}
	}
}
