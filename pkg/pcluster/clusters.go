package pcluster

import (
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"github.com/synctarget/synctarget/pkg/fairness"
)

const (
	// firstContactsPerWorkspace and probesPerWorkspace are how many first contacts and how many probes of one logical
	// cluster are under way at the same time. Behind each may be a black hole, which keeps its place for contactTimeout.
	firstContactsPerWorkspace = 16
	probesPerWorkspace        = 4
	// defaultMaxContacts is far more than one workspace can have, so that it takes many to fill all places.
	defaultMaxContacts = 256
)

// Budget is how long a reconcile pass may spend on a physical cluster in total, and how long a single call may take.
const Budget = 10 * time.Second

// contactTimeout is how long a first contact or a probe may take: enough for a connection and an answer from the other
// side of the world, and short because a black hole keeps others of its workspace waiting.
const contactTimeout = 5 * time.Second

// WithBudget bounds what a pass spends on a physical cluster, from now on.
func WithBudget(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, Budget)
}

// ID says whose client it is: a SyncTarget in its logical cluster. With the UID, a later one of the same name starts anew.
type ID struct {
	ClusterName, Name, UID string
}

// Options configure Clusters. Each has a default.
type Options struct {
	// Allow lists addresses that are dialled although they are loopback, link-local or the like. Default none.
	Allow []netip.Prefix
	// Deny lists addresses that are never dialled, even if Allow lists them. Default none.
	Deny []netip.Prefix
	// DenyByDefault lists addresses that are not dialled unless Allow lists them. Default none.
	DenyByDefault []netip.Prefix
	// MaxContacts is how many first contacts and probes may be under way at the same time, over all workspaces. Default
	// 256. Each workspace has a bound of its own besides, so that none holds up another's.
	MaxContacts int
	// OnChange is called when there is something new about a target's cluster: it answers again, it fails in another
	// way, a watched object changed. It is called from many goroutines and must not block for long.
	OnChange func(ID)
	// Scheme of the clients. Default client-go's, with all of Kubernetes.
	Scheme *runtime.Scheme
	// Clock of backoffs and intervals. Timeouts of single calls use the system's.
	Clock clock.WithTicker
	// Patience is how long Get waits for a first contact before it returns ErrConnecting. A cluster nearby answers in a
	// few milliseconds, one on the other side of the world in a few of its round trips; a black hole must not hold a
	// worker up. 0: as long as the context lasts.
	Patience time.Duration
}

// Clusters keeps one client per SyncTarget.
type Clusters struct {
	guard         guard
	firstContacts *fairness.Limiter[string] // of first contacts, by logical cluster
	probes        *fairness.Limiter[string] // of probes of dead clusters, by logical cluster
	large         *fairness.Limiter[string] // of large answers in memory, by logical cluster
	onChange      func(ID)
	scheme        *runtime.Scheme
	mapper        meta.RESTMapper
	clock         clock.WithTicker
	patience      time.Duration
	dial          dialFunc
	queue         workqueue.TypedDelayingInterface[ID] // clusters to probe or check, each at its time
	checks        *rate.Limiter                        // of clusters that answer

	ctx  context.Context // of all clusters; ends when Start ends
	stop context.CancelFunc

	mu       sync.Mutex
	clusters map[ID]*Cluster
	slow     map[target]time.Time // until when a cluster counts as slow
	running  sync.WaitGroup       // first contacts, probes, watches
}

// New returns an empty set. It serves at once, but what is dead stays dead until Start runs.
func New(options Options) *Clusters {
	c := &Clusters{
		guard:    guard{allowed: options.Allow, denied: options.Deny, deniedByDefault: options.DenyByDefault},
		onChange: options.OnChange,
		scheme:   options.Scheme,
		mapper:   newMapper(),
		clock:    options.Clock,
		patience: options.Patience,
		dial:     dial,
		checks:   newCheckLimiter(),
		clusters: map[ID]*Cluster{},
		slow:     map[target]time.Time{},
	}
	total := semaphore.NewWeighted(defaultMaxContacts)
	if options.MaxContacts > 0 {
		total = semaphore.NewWeighted(int64(options.MaxContacts))
	}
	c.firstContacts, c.probes = fairness.NewLimiter[string](total, firstContactsPerWorkspace), fairness.NewLimiter[string](total, probesPerWorkspace)
	c.large = fairness.NewLimiter[string](semaphore.NewWeighted(largeAnswers), largeAnswersPerWorkspace)
	if c.onChange == nil {
		c.onChange = func(ID) {}
	}
	if c.scheme == nil {
		c.scheme = scheme.Scheme
	}
	if c.clock == nil {
		c.clock = clock.RealClock{}
	}
	c.queue = workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[ID]{Clock: c.clock})
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Get returns the cluster that this kubeconfig leads to. At first sight of the kubeconfig's content, and no matter what
// was known before, it calls the cluster to learn its ID, for which it waits only a moment (ErrConnecting); otherwise
// it returns at once, with the cluster or with the failure remembered. The error is ErrInvalid, ErrUnreachable, or what
// the API server answered (401, 403); or one that says nothing about the cluster: ErrConnecting, ErrReplaced, or the
// context's.
func (c *Clusters) Get(ctx context.Context, id ID, kubeconfig []byte) (*Cluster, error) {
	cluster, err := c.cluster(id, kubeconfig)
	if err != nil {
		return nil, err
	}
	if err := cluster.awaitFirstContact(ctx); err != nil {
		return nil, err
	}
	return cluster, nil
}

// Forget drops a target's client and closes its connections and watches.
func (c *Clusters) Forget(id ID) {
	c.replace(id, nil)
}

// Start probes dead clusters, and checks the credentials of the others, until the context ends. Then it closes all
// connections and watches, and returns when none of its goroutines runs any more.
func (c *Clusters) Start(ctx context.Context) error {
	var prober sync.WaitGroup
	prober.Go(func() {
		for c.probeNext() {
		}
	})
	<-ctx.Done()
	c.queue.ShutDown()

	c.mu.Lock()
	c.stop()
	for _, cluster := range c.clusters {
		cluster.close()
	}
	c.mu.Unlock()

	prober.Wait()
	c.running.Wait()
	return nil
}

// NeedLeaderElection says that only the leader has physical clusters to care for.
func (c *Clusters) NeedLeaderElection() bool { return true }

// cluster returns the target's cluster for this kubeconfig, a new one if the content is new. A kubeconfig that is
// refused replaces the one before it just the same.
func (c *Clusters) cluster(id ID, kubeconfig []byte) (*Cluster, error) {
	hash := sha256.Sum256(kubeconfig)
	if current := c.current(id); current != nil && current.hash == hash {
		return current, nil
	}
	fresh, err := c.newCluster(id, kubeconfig)
	if err != nil {
		c.Forget(id)
		return nil, err
	}
	return c.replace(id, fresh), nil
}

// replace puts in a fresh cluster, or none, closes what was there, and returns what is there now. If another call was
// faster with the same content, its cluster stays.
func (c *Clusters) replace(id ID, fresh *Cluster) *Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.clusters[id]
	switch {
	case fresh == nil:
		delete(c.clusters, id)
	case old != nil && old.hash == fresh.hash:
		fresh.close()
		return old
	default:
		c.clusters[id] = fresh
	}
	if old != nil {
		old.close()
	}
	return fresh
}

func (c *Clusters) current(id ID) *Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clusters[id]
}

// reserve waits for a place for a large answer, which is given back when the context ends. It waits for half of the time
// that is left, so that the cluster has the other half: what it then fails to send in time is its own fault.
func (c *Clusters) reserve(ctx context.Context, clusterName string) error {
	waiting := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, time.Until(deadline)/2) //nolint:forbidigo // deadlines are in real time
		defer cancel()
	}
	release, err := c.large.Acquire(waiting, clusterName)
	if err == nil {
		context.AfterFunc(ctx, release)
	}
	return err
}

// spawn runs f in the background, unless everything is to end, and reports whether it does.
func (c *Clusters) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.running.Go(f)
	return true
}
