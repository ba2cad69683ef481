package sync

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/synctarget/synctarget/pkg/syncer/discovery"
	"github.com/synctarget/synctarget/pkg/syncer/ratelimit"
	"github.com/synctarget/synctarget/pkg/syncer/source"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

const (
	maxWorkers = 64
	// passTimeout bounds one pass, which makes a handful of requests.
	passTimeout = 15 * time.Second
)

// Config is what a Controller needs.
type Config struct {
	// Source is where the objects come from, and Cluster leads to the physical cluster.
	Source  source.Source
	Cluster *rest.Config
	// Owner identifies the SyncTarget on the copies.
	Owner   transform.Owner
	Metrics *Metrics
	Clock   clock.WithTicker
}

// Controller syncs the objects of the assigned Namespaces. It runs on the leader only.
type Controller struct {
	owner  transform.Owner
	source source.Source
	// down and downMetadata read and write the physical cluster, with and without the content of objects.
	down         dynamic.Interface
	downMetadata metadata.Interface
	// discoveryClients are those of the source and of the physical cluster.
	discoveryClients [2]*discovery.Client
	schemas          discovery.Schemas
	queue            queue
	metrics          *Metrics
	clock            clock.WithTicker
	// workers is how many passes may be under way.
	workers int

	// catalog is what both sides serve of what is to be synced; set by discovering.
	catalog atomic.Pointer[[]discovery.Resource]

	// lookupLimiter limits how often the owners of what an Event is about are looked up.
	lookupLimiter flowcontrol.PassiveRateLimiter

	mu         sync.Mutex
	namespaces map[source.Namespace]*namespaceSync
	// listErrors says of a resource how a side refuses to list it; set by watch errors.
	listErrors map[resourceOnSide]listFailure
	// watchFailures says of each resource and side whether its watch fails; set by checkWatches.
	watchFailures map[resourceOnSide]watchFailure
	// rediscover wakes look, changed report when it is due, and learned report at once.
	rediscover, statusDirty, statusUrgent chan struct{}
	// lastApplyAnswer is when the physical cluster last answered an apply, in nanoseconds since 1970.
	lastApplyAnswer atomic.Int64
}

// New returns a Controller that is ready to Start.
func New(c Config) (*Controller, error) {
	workers := workersFor(c.Cluster.QPS)
	e := &Controller{
		workers: workers, queue: newQueue(workers),
		owner: c.Owner, source: c.Source, metrics: c.Metrics, clock: c.Clock,
		rediscover: make(chan struct{}, 1), statusDirty: make(chan struct{}, 1), statusUrgent: make(chan struct{}, 1),
		namespaces: map[source.Namespace]*namespaceSync{}, listErrors: map[resourceOnSide]listFailure{},
	}
	if e.clock == nil {
		e.clock = clock.RealClock{}
	}
	e.lookupLimiter = newLookupLimiter(e.clock)
	var err error
	if e.down, e.downMetadata, err = ratelimit.NewClients(c.Cluster); err != nil {
		return nil, fmt.Errorf("preparing the connection to the physical cluster: %w", err)
	}
	cluster, err := discovery.NewClient(c.Cluster, e.clock)
	if err != nil {
		return nil, fmt.Errorf("preparing discovery of the physical cluster: %w", err)
	}
	e.discoveryClients = [2]*discovery.Client{e.source.Discovery(), cluster}
	e.schemas = discovery.NewSchemas(e.discoveryClients[0].OpenAPI(), e.discoveryClients[1].OpenAPI())
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

// Start syncs until ctx ends, and returns nil then. It fails if the source does.
func (e *Controller) Start(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("sync"))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failure error
	var running sync.WaitGroup
	running.Go(func() {
		failure = e.source.Run(ctx, func() { e.queue.Add(queueKey{}) })
		cancel()
	})
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
	// What the gauges say is not known any more, and this process may go on without the sync.
	e.metrics.setObjects(nil)
	e.metrics.setWatches(nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.namespaces {
		p.stop()
	}
	return failure
}

// processNext reconciles the next key of the queue, and tells whether there may be another.
func (e *Controller) processNext(ctx context.Context) bool {
	i, shutdown := e.queue.Get()
	if shutdown {
		return false
	}
	defer e.queue.Done(i)
	passCtx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	again, err := e.processSafely(passCtx, i)
	switch {
	case err == nil && again > 0:
		e.queue.AddAfter(i, again)
	case err == nil:
		e.queue.Forget(i)
	case ctx.Err() != nil:
	default:
		log.FromContext(ctx).V(1).Info("trying again", "namespace", i.namespace.Name, "resource", i.resource.String(), "name", i.name, "cause", err.Error())
		e.queue.addFailed(i, err)
	}
	return true
}

// processSafely turns a panic into an error of that key, so that one object that nobody has foreseen does not stop the others.
func (e *Controller) processSafely(ctx context.Context, key queueKey) (again time.Duration, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			e.metrics.panicked()
			err = fmt.Errorf("panic: %v", cause)
			log.FromContext(ctx).Error(err, "A pass has panicked; it is repeated with backoff", "namespace", key.namespace.Name, "resource", key.resource.String(),
				"name", key.name, "stack", string(debug.Stack()))
		}
	}()
	return e.process(ctx, key)
}

func (e *Controller) process(ctx context.Context, i queueKey) (time.Duration, error) {
	if i == (queueKey{}) {
		return 0, e.reconcileNamespaces(ctx)
	}
	p := e.namespace(i.namespace)
	switch {
	case p == nil:
		return 0, nil
	case i == queueKey{namespace: p.upstream}:
		return e.finishDrain(ctx, p)
	case i == queueKey{namespace: p.upstream, name: reportName}:
		return e.report(ctx, p)
	case i.resource == eventResource:
		return e.syncEvent(ctx, p, i.name)
	}
	defer signal(e.statusDirty)
	defer e.requestReport(p, soon)
	defer p.passes.begin()()
	if l := p.resource(i.resource); l != nil {
		defer p.forgetStopped(l, i)
		return e.syncObject(ctx, p, l, i.name)
	}
	return 0, nil
}

// signal wakes the receiver of a channel of one element, once for all signals until then.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
