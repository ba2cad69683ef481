package sync

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	clientdiscovery "k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/ratelimit"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

const (
	maxWorkers = 64
	// burstPasses is how many passes at once make a burst.
	burstPasses = 4
	// passTimeout bounds one pass, which makes a handful of requests.
	passTimeout = 15 * time.Second
)

// Config is what an Engine needs.
type Config struct {
	// Workspace and Cluster lead to the two sides.
	Workspace, Cluster *rest.Config
	// Target is the SyncTarget, and Owner what the copies are marked with.
	Target  Upstream
	Owner   transform.Owner
	Metrics *Metrics
	Clock   clock.WithTicker
}

// Controller syncs. It runs on the leader alone.
type Controller struct {
	owner            transform.Owner
	target           Upstream
	up, down         dynamic.Interface
	discoveryClients [2]clientdiscovery.DiscoveryInterface
	schemas          discovery.Schemas
	queue            queue
	metrics          *Metrics
	clock            clock.WithTicker
	// rateLimited tells that there is a limit to the requests, and workers is how many passes may be under way.
	rateLimited bool
	workers     int
	// runningPasses are under way, and crowded is when one of more than crowd last made a copy, in nanoseconds since 1970.
	runningPasses atomic.Int32
	burstSince    atomic.Int64

	targets toolscache.SharedIndexInformer
	// lastRead is what kcp itself has last said of the SyncTarget, and asking shares the question.
	lastRead  atomic.Pointer[targetRead]
	readGroup singleflight.Group
	// catalog is what both sides serve of what the SyncTarget asks for; set by discovering.
	catalog atomic.Pointer[[]discovery.Resource]

	mu         sync.Mutex
	namespaces map[string]*namespaceSync
	// listErrors says of a resource how a side refuses to list it; set by watch errors.
	listErrors map[resourceOnSide]listFailure
	// rediscover wakes look, changed report when it is due, and learned report at once.
	rediscover, statusDirty, statusUrgent chan struct{}
	// lastApplyAnswer is when the physical cluster last answered an apply, in nanoseconds since 1970.
	lastApplyAnswer atomic.Int64
}

// New returns an Engine that is ready to Start.
func New(c Config) (*Controller, error) {
	workers := workersFor(c.Workspace.QPS)
	e := &Controller{
		rateLimited: c.Workspace.QPS > 0, workers: workers, queue: newQueue(workers),
		owner: c.Owner, target: c.Target, metrics: c.Metrics, clock: c.Clock,
		rediscover: make(chan struct{}, 1), statusDirty: make(chan struct{}, 1), statusUrgent: make(chan struct{}, 1),
		namespaces: map[string]*namespaceSync{}, listErrors: map[resourceOnSide]listFailure{},
	}
	if e.clock == nil {
		e.clock = clock.RealClock{}
	}
	var err error
	if e.up, err = dynamic.NewForConfig(ratelimit.WithoutRetries(c.Workspace)); err != nil {
		return nil, fmt.Errorf("preparing the connection to the workspace: %w", err)
	}
	if e.down, err = dynamic.NewForConfig(ratelimit.WithoutRetries(c.Cluster)); err != nil {
		return nil, fmt.Errorf("preparing the connection to the physical cluster: %w", err)
	}
	for i, config := range []*rest.Config{c.Workspace, c.Cluster} {
		if e.discoveryClients[i], err = clientdiscovery.NewDiscoveryClientForConfig(config); err != nil {
			return nil, fmt.Errorf("preparing discovery: %w", err)
		}
	}
	e.schemas = discovery.NewSchemas(e.discoveryClients[0].OpenAPIV3(), e.discoveryClients[1].OpenAPIV3())
	e.targets = e.newTargetInformer()
	e.metrics.setDepth(e.queue.Len)
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
func (e *Controller) NeedLeaderElection() bool { return true }

// Start syncs until ctx ends, and returns nil then.
func (e *Controller) Start(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("sync"))
	everything := func(any) { e.queue.Add(queueKey{}) }
	if _, err := e.targets.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: everything, UpdateFunc: func(_, object any) { everything(object) },
	}); err != nil {
		return fmt.Errorf("watching the SyncTarget: %w", err)
	}
	var running sync.WaitGroup
	running.Go(func() { e.targets.RunWithContext(ctx) })
	running.Go(func() { e.runDiscovery(ctx) })
	running.Go(func() { e.runStatus(ctx) })
	for range e.workers {
		running.Go(func() {
			for e.processNext(ctx) {
			}
		})
	}
	<-ctx.Done()
	e.queue.ShutDown()
	running.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.namespaces {
		p.stop()
	}
	return nil
}

// processNext does what is next in the queue.
func (e *Controller) processNext(ctx context.Context) bool {
	i, shutdown := e.queue.Get()
	if shutdown {
		return false
	}
	defer e.queue.Done(i)
	defer e.countPass()()
	passCtx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	again, err := e.process(passCtx, i)
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

// countPass counts a pass, until it leaves or has lasted too long to be one of a burst: what hangs makes no crowd.
func (e *Controller) countPass() (leave func()) {
	e.runningPasses.Add(1)
	gone := sync.OnceFunc(func() { e.runningPasses.Add(-1) })
	hangs := time.AfterFunc(reportDelay, gone)
	return func() {
		hangs.Stop()
		gone()
	}
}

func (e *Controller) process(ctx context.Context, i queueKey) (time.Duration, error) {
	if i == (queueKey{}) {
		return 0, e.reconcileNamespaces(ctx)
	}
	e.mu.Lock()
	p := e.namespaces[i.namespace]
	e.mu.Unlock()
	if p == nil {
		return 0, nil
	}
	if i.resource.Resource == "" {
		return e.finishDrain(ctx, p)
	}
	if i.resource == eventResource {
		return e.syncEvent(ctx, p, i.name)
	}
	defer signal(e.statusDirty)
	defer p.passes.begin()()
	if l := p.resource(i.resource); l != nil {
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
