package resource

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	maxWorkers = 64
	// crowd is how many passes at once make a burst.
	crowd = 4
	// passTimeout bounds one pass, which makes a handful of requests.
	passTimeout = 15 * time.Second
)

// Config is what an Engine needs.
type Config struct {
	// Workspace and Cluster lead to the two sides.
	Workspace, Cluster *rest.Config
	// Target is the SyncTarget, and Owner what the copies are marked with.
	Target  Upstream
	Owner   Owner
	Metrics *Metrics
	Clock   clock.WithTicker
}

// Engine syncs. It runs on the leader alone.
type Engine struct {
	owner    Owner
	target   Upstream
	up, down dynamic.Interface
	discover [2]discovery.DiscoveryInterface
	schemas  schemas
	queue    queue
	metrics  *Metrics
	clock    clock.WithTicker
	// limited tells that there is a limit to the requests, and workers is how many passes may be under way.
	limited bool
	workers int
	// passes are under way, and crowded is when one of more than crowd last made a copy, in nanoseconds since 1970.
	passes  atomic.Int32
	crowded atomic.Int64

	targets cache.SharedIndexInformer
	// fact is what kcp itself has last said of the SyncTarget, and asking shares the question.
	fact   atomic.Pointer[fact]
	asking singleflight.Group
	// catalog is what both sides serve of what the SyncTarget asks for; set by discovering.
	catalog atomic.Pointer[[]Resource]

	mu     sync.Mutex
	places map[string]*place
	// refused says of a resource how a side refuses to list it; set by watch errors.
	refused map[followedOn]refused
	// asked wakes look, changed report when it is due, and learned report at once.
	asked, changed, learned chan struct{}
	// heard is when the physical cluster last answered an apply, in nanoseconds since 1970.
	heard atomic.Int64
}

// New returns an Engine that is ready to Start.
func New(c Config) (*Engine, error) {
	workers := workersFor(c.Workspace.QPS)
	e := &Engine{
		limited: c.Workspace.QPS > 0, workers: workers, queue: newQueue(workers),
		owner: c.Owner, target: c.Target, metrics: c.Metrics, clock: c.Clock,
		asked: make(chan struct{}, 1), changed: make(chan struct{}, 1), learned: make(chan struct{}, 1),
		places: map[string]*place{}, refused: map[followedOn]refused{},
	}
	if e.clock == nil {
		e.clock = clock.RealClock{}
	}
	var err error
	if e.up, err = dynamic.NewForConfig(unwaiting(c.Workspace)); err != nil {
		return nil, fmt.Errorf("preparing the connection to the workspace: %w", err)
	}
	if e.down, err = dynamic.NewForConfig(unwaiting(c.Cluster)); err != nil {
		return nil, fmt.Errorf("preparing the connection to the physical cluster: %w", err)
	}
	for i, config := range []*rest.Config{c.Workspace, c.Cluster} {
		if e.discover[i], err = discovery.NewDiscoveryClientForConfig(config); err != nil {
			return nil, fmt.Errorf("preparing discovery: %w", err)
		}
	}
	e.schemas = schemas{workspace: e.discover[0].OpenAPIV3(), cluster: e.discover[1].OpenAPIV3(), verdicts: map[schema.GroupVersionKind]verdict{}}
	e.targets = e.newTargetInformer()
	e.metrics.of(e.queue.Len)
	return e, nil
}

// workersFor is how many passes may be under way: where there is a limit no more than it lets through in two seconds, so that
// each of the few requests of a pass gets its turn in the time of that. A limit is at least 1.
func workersFor(qps float32) int {
	if qps <= 0 {
		return maxWorkers
	}
	return min(int(2*qps), maxWorkers)
}

// NeedLeaderElection keeps the standbys from syncing.
func (e *Engine) NeedLeaderElection() bool { return true }

// Start syncs until ctx ends, and returns nil then.
func (e *Engine) Start(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("sync"))
	everything := func(any) { e.queue.Add(item{}) }
	if _, err := e.targets.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: everything, UpdateFunc: func(_, object any) { everything(object) },
	}); err != nil {
		return fmt.Errorf("watching the SyncTarget: %w", err)
	}
	var running sync.WaitGroup
	running.Go(func() { e.targets.RunWithContext(ctx) })
	running.Go(func() { e.look(ctx) })
	running.Go(func() { e.report(ctx) })
	for range e.workers {
		running.Go(func() {
			for e.work(ctx) {
			}
		})
	}
	<-ctx.Done()
	e.queue.ShutDown()
	running.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.places {
		p.stop()
	}
	return nil
}

// work does what is next in the queue.
func (e *Engine) work(ctx context.Context) bool {
	i, shutdown := e.queue.Get()
	if shutdown {
		return false
	}
	defer e.queue.Done(i)
	defer e.enter()()
	passCtx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	again, err := e.pass(passCtx, i)
	switch {
	case err == nil && again > 0:
		e.queue.AddAfter(i, again)
	case err == nil:
		e.queue.Forget(i)
	case ctx.Err() != nil:
	default:
		log.FromContext(ctx).V(1).Info("trying again", "namespace", i.namespace, "resource", i.resource.String(), "name", i.name, "cause", err.Error())
		e.queue.addFailed(i, err)
	}
	return true
}

// enter counts a pass, until it leaves or has lasted too long to be one of a burst: what hangs makes no crowd.
func (e *Engine) enter() (leave func()) {
	e.passes.Add(1)
	gone := sync.OnceFunc(func() { e.passes.Add(-1) })
	hangs := time.AfterFunc(reportDelay, gone)
	return func() {
		hangs.Stop()
		gone()
	}
}

func (e *Engine) pass(ctx context.Context, i item) (time.Duration, error) {
	if i == (item{}) {
		return 0, e.plan(ctx)
	}
	e.mu.Lock()
	p := e.places[i.namespace]
	e.mu.Unlock()
	if p == nil {
		return 0, nil
	}
	if i.resource.Resource == "" {
		return e.closePlace(ctx, p)
	}
	if i.resource == eventItem {
		return e.relay(ctx, p, i.name)
	}
	defer signal(e.changed)
	defer p.passes.begin()()
	if l := p.lane(i.resource); l != nil {
		return e.syncObject(ctx, p, l, i.name)
	}
	return 0, nil
}

// signal wakes whoever waits on a channel of one element, once.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
