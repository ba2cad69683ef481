package sync

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/cache"
	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/source/workspace"
)

// kcp is a SyncTarget that notes when it is read and written.
type kcp struct {
	target
	began         time.Time
	err           error
	reads, writes []time.Duration
}

func (k *kcp) Get(context.Context) (*workloadv1alpha1.SyncTarget, error) {
	k.reads = append(k.reads, time.Since(k.began))
	return &k.SyncTarget, k.err
}

func (k *kcp) PatchStatus(context.Context, []byte) error {
	k.writes = append(k.writes, time.Since(k.began))
	return k.err
}

// newTestEngine has a SyncTarget in its cache and no servers.
func newTestEngine(t *testing.T, k *kcp) *Controller {
	t.Helper()
	k.UID, k.Name, k.began = types.UID(testOwner.UID), testOwner.Name, time.Now()
	e := &Controller{
		owner: testOwner, source: newTestSource(workspace.Config{Target: k, Metadata: newMetadataServer(t), Clock: clock.RealClock{}}), clock: clock.RealClock{}, queue: newQueue(maxWorkers), namespaces: map[source.Namespace]*namespaceSync{}, listErrors: map[resourceOnSide]listFailure{},
		rediscover: make(chan struct{}, 1), statusDirty: make(chan struct{}, 1), statusUrgent: make(chan struct{}, 1),
	}
	sourceIn(e).show(&k.SyncTarget, k.assignments...)
	catalog := []discovery.Resource{}
	for _, gr := range k.Spec.Synced() {
		catalog = append(catalog, discovery.Resource{GroupResource: gr, State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"}})
	}
	e.catalog.Store(&catalog)
	return e
}

// TestReportsAreSeldom: counts are told every 30 s at most; what Namespaces wait for is told at once; what failed is
// tried again.
func TestReportsAreSeldom(t *testing.T) {
	tests := map[string]struct {
		reason string
		err    error
		act    func(e *Controller)
		want   []time.Duration
	}{
		"counts": {"", nil, func(e *Controller) {
			for range 100 {
				signal(e.statusDirty)
				time.Sleep(300 * time.Millisecond)
			}
			time.Sleep(time.Second)
		}, []time.Duration{0, 30 * time.Second}},
		"a resource": {"A definition has come, and is not to wait for the counts.", nil, func(e *Controller) {
			signal(e.statusDirty)
			time.Sleep(time.Second)
			signal(e.statusUrgent)
			time.Sleep(time.Second)
		}, []time.Duration{0, time.Second}},
		"a failure": {"A heartbeat came in between.", errors.New("conflict"), func(e *Controller) {
			signal(e.statusUrgent)
			time.Sleep(2*reportRetry + reportRetry/2)
		}, []time.Duration{0, reportRetry, 2 * reportRetry}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &kcp{}
				e := newTestEngine(t, k)
				defer e.queue.ShutDown()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				k.err = nil
				if tc.err != nil {
					sourceIn(e).Target = failing{k, tc.err}
				}
				go e.runStatus(ctx)
				tc.act(e)
				synctest.Wait()
				if diff := cmp.Diff(tc.want, k.writes); diff != "" {
					t.Errorf("%s\nreports: -want +got\n%s", tc.reason, diff)
				}
			})
		})
	}
}

// failing takes no write.
type failing struct {
	*kcp
	err error
}

func (f failing) PatchStatus(ctx context.Context, patch []byte) error {
	_ = f.kcp.PatchStatus(ctx, patch)
	return f.err
}

// TestRetries: what fails is retried after its backoff, and no earlier than the server asks for. Jitter adds a fifth at most.
func TestRetries(t *testing.T) {
	tests := map[string]struct {
		err    error
		pauses []time.Duration
	}{
		"backoff": {errors.New("connection refused"), []time.Duration{
			100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond,
			1600 * time.Millisecond, 3200 * time.Millisecond, 6400 * time.Millisecond,
		}},
		"Retry-After": {apierrors.NewTooManyRequests("later", 7), []time.Duration{7 * time.Second, 7 * time.Second}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &kcp{err: tc.err}
				k.assignments = []*workloadv1alpha1.Assignment{assigned("shop", intentOfWithdraw)} // which is read live first
				e := newTestEngine(t, k)
				defer e.queue.ShutDown()
				go func() {
					for e.processNext(t.Context()) {
					}
				}()
				e.queue.Add(queueKey{})
				time.Sleep(18 * time.Second) // longer than these pauses with their jitter, and shorter than one more
				synctest.Wait()
				if len(k.reads) != len(tc.pauses)+1 {
					t.Fatalf("attempts at %v, want %d", k.reads, len(tc.pauses)+1)
				}
				for i, pause := range tc.pauses {
					if got := k.reads[i+1] - k.reads[i]; got < pause || got > pause+pause/5 {
						t.Errorf("pause %d is %s, want %s to %s", i+1, got, pause, pause+pause/5)
					}
				}
			})
		})
	}
}

// TestRetriesSpread: many that failed together are not retried together.
func TestRetriesSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 100
		q := newQueue(maxWorkers)
		defer q.ShutDown()
		for i := range many {
			q.addFailed(queueKey{name: strconv.Itoa(i)}, apierrors.NewTooManyRequests("later", 10))
		}
		failed := time.Now()
		at := map[time.Duration]int{}
		for range many {
			i, _ := q.Get()
			at[time.Since(failed).Truncate(100*time.Millisecond)]++
			q.Done(i)
		}
		for pause, count := range at {
			if pause < 10*time.Second || pause > 12*time.Second || count > many/4 {
				t.Errorf("%d of %d are retried after %s", count, many, pause)
			}
		}
	})
}

// TestNamespacesTakeTurns: a Namespace with one change does not wait for one with many.
func TestNamespacesTakeTurns(t *testing.T) {
	q := newQueue(maxWorkers)
	defer q.ShutDown()
	many, one := namespaceNamed("many"), namespaceNamed("one")
	for _, i := range []queueKey{{namespace: many, name: "1"}, {namespace: many, name: "2"}, {namespace: many, name: "3"}, {namespace: one, name: "1"}} {
		q.Add(i)
	}
	var got []string
	for q.Len() > 0 {
		i, _ := q.Get()
		got = append(got, i.namespace.Name+i.name)
		q.Done(i)
	}
	if diff := cmp.Diff([]string{"many1", "one1", "many2", "many3"}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestFollowable: a resource is followed when the SyncTarget tells of it, since by that it is known later what to leave.
func TestFollowable(t *testing.T) {
	told := workloadv1alpha1.GroupResource{Resource: "configmaps"}
	catalog := []discovery.Resource{
		{GroupResource: told, Versions: []string{"v1"}},
		{GroupResource: workloadv1alpha1.GroupResource{Resource: "secrets"}, Versions: []string{"v1"}},
		{GroupResource: workloadv1alpha1.GroupResource{Resource: "services"}},
	}
	plan := &source.Plan{Reported: []workloadv1alpha1.SyncedResourceStatus{{Resource: "configmaps"}, {Resource: "services"}}}
	got := watchable(catalog, plan)
	if len(got) != 1 || got[0].GroupResource != told {
		t.Errorf("followable() = %v", got)
	}
}

// TestRefusalPasses: that a side refused to list a resource is told no longer than it does: until the resource is listed, or
// nothing was heard of it for a while, as where a watch was refused once.
func TestRefusalPasses(t *testing.T) {
	gr := workloadv1alpha1.GroupResource{Resource: "configmaps"}
	state := func(e *Controller) workloadv1alpha1.SyncedResourceState {
		return e.resourceStatuses([]discovery.Resource{{GroupResource: gr, Versions: []string{"v1"}, State: workloadv1alpha1.ResourceAccepted}}, &source.Plan{})[0].State
	}
	tests := map[string]struct {
		act  func(e *Controller, clock *clocktesting.FakeClock)
		want workloadv1alpha1.SyncedResourceState
	}{
		"refused": {func(e *Controller, _ *clocktesting.FakeClock) {}, workloadv1alpha1.ResourceForbidden},
		"listed":  {func(e *Controller, _ *clocktesting.FakeClock) { e.clearListError(gr) }, workloadv1alpha1.ResourceAccepted},
		"not heard again": {func(e *Controller, c *clocktesting.FakeClock) {
			c.Step(cache.ListErrorLifetime + time.Second)
			e.expireListErrors()
		}, workloadv1alpha1.ResourceAccepted},
		"heard again": {func(e *Controller, c *clocktesting.FakeClock) {
			c.Step(cache.ListErrorLifetime)
			e.recordListError(gr, clusterSide, listFailure{message: "no", at: c.Now()})
			c.Step(time.Second)
			e.expireListErrors()
		}, workloadv1alpha1.ResourceForbidden},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakeClock(time.Now())
			e := &Controller{clock: clock, listErrors: map[resourceOnSide]listFailure{}, statusDirty: make(chan struct{}, 1)}
			e.recordListError(gr, clusterSide, listFailure{message: "no", at: clock.Now()})
			tc.act(e, clock)
			if got := state(e); got != tc.want {
				t.Errorf("it is %s, want %s", got, tc.want)
			}
		})
	}
}

// TestSilentGroup: that a group's server is away is no word about what it serves, and no other group waits for it.
func TestSilentGroup(t *testing.T) {
	widgets := workloadv1alpha1.GroupResource{Group: "example.com", Resource: "widgets"}
	configs := workloadv1alpha1.GroupResource{Resource: "configmaps"}
	known := discovery.Resource{GroupResource: widgets, State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"}}
	silent := map[string]error{"example.com": errors.New("no answer")}
	seen := func() []discovery.Resource {
		return []discovery.Resource{{GroupResource: widgets, State: workloadv1alpha1.ResourceMissing, UpstreamVersion: "v1"}, {GroupResource: configs, State: workloadv1alpha1.ResourceAccepted, Versions: []string{"v1"}}}
	}
	catalog := seen()
	discovery.KeepLastKnown(catalog, []discovery.Resource{known}, silent)
	if diff := cmp.Diff([]discovery.Resource{known, seen()[1]}, catalog); diff != "" {
		t.Errorf("what was known does not stand: -want +got\n%s", diff)
	}
	catalog = seen()
	discovery.KeepLastKnown(catalog, nil, silent)
	if r := catalog[0]; r.IsWatchable() || r.State != workloadv1alpha1.ResourceMissing || r.Message == "" {
		t.Errorf("what was never known is followed, or not told: %+v", r)
	}
}
