package pcluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Cluster is a physical cluster, by one content of one target's kubeconfig.
type Cluster struct {
	id       ID
	hash     [sha256.Size]byte
	owner    *Clusters
	server   string
	secrets  []string // never to be repeated
	border   *border
	conns    *conns
	http     *http.Client
	inner    client.Client
	live     client.Client
	ctx      context.Context // ends when the cluster is replaced or forgotten
	shutDown context.CancelFunc

	mu      sync.Mutex
	uid     string       // "" before the first contact
	dead    error        // why nothing is asked of it, nil if alive
	backoff wait.Backoff // of the probes while dead
	meeting *meeting     // the first contact that is under way, or nil
	watches map[watchKey]struct{}
	noted   map[watchKey]string // resourceVersions as the caller last read or applied them, "" if there is no such object
	telling bool                // a goroutine calls OnChange, or waits until it may again
	news    bool                // it has something to tell
}

func (c *Clusters) newCluster(id ID, kubeconfig []byte) (*Cluster, error) {
	config, err := Parse(kubeconfig)
	if err != nil {
		return nil, err
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		return nil, invalid("server is not a valid URL")
	}
	connections := &conns{}
	transport, err := newTransport(config, connections.dialer(guard{allowed: c.allow}.dialer(c.dial)))
	if err != nil {
		return nil, err
	}
	border := &border{next: transport, host: server.Host}
	roundTripper, err := rest.HTTPWrappersForConfig(config, border)
	if err != nil {
		return nil, invalid("the kubeconfig's credentials cannot be used")
	}

	config.ContentType = "application/json"
	config.WarningHandlerWithContext = rest.NoWarnings{} // a server's words, on their way into our log
	cluster := &Cluster{
		id:      id,
		hash:    sha256.Sum256(kubeconfig),
		owner:   c,
		server:  config.Host,
		border:  border,
		conns:   connections,
		http:    &http.Client{Transport: roundTripper},
		watches: map[watchKey]struct{}{},
		noted:   map[watchKey]string{},
	}
	if config.BearerToken != "" {
		cluster.secrets = []string{config.BearerToken}
	}
	cluster.inner, err = client.New(config, client.Options{HTTPClient: cluster.http, Scheme: c.scheme, Mapper: c.mapper})
	if err != nil {
		return nil, invalid("no client can be made from the kubeconfig")
	}
	cluster.live = &liveClient{Client: cluster.inner, cluster: cluster}
	cluster.ctx, cluster.shutDown = context.WithCancel(c.ctx)
	return cluster, nil
}

// Client reads and writes the cluster itself; nothing is cached and nothing discovered. It knows the kinds that the
// syncer's installation needs (see newMapper). Each call ends with its context, and after Budget at the latest. Its
// errors carry sentences of our own: see Describe.
func (c *Cluster) Client() client.Client { return c.live }

// ID identifies the physical cluster: the UID of its Namespace kube-system.
func (c *Cluster) ID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uid
}

// meeting is a first contact under way.
type meeting struct {
	ended chan struct{}
	err   error // set before ended is closed
	// missed is set when somebody did not wait for the end and has to be told.
	missed bool
}

// meet starts the first contact, or joins the one under way, and waits for it for a moment. A cluster that was met or is
// dead is not called.
func (c *Cluster) meet(ctx context.Context) error {
	c.mu.Lock()
	if c.dead != nil || c.uid != "" {
		defer c.mu.Unlock()
		return c.dead
	}
	m, begin := c.meeting, c.meeting == nil
	if begin {
		m = &meeting{ended: make(chan struct{})}
		c.meeting = m
	}
	c.mu.Unlock()
	if begin && !c.owner.spawn(func() { c.firstContact(m) }) {
		c.endMeeting(m, ErrReplaced)
	}

	var enough <-chan time.Time
	if c.owner.patience > 0 {
		timer := c.owner.clock.NewTimer(c.owner.patience)
		defer timer.Stop()
		enough = timer.C()
	}
	select {
	case <-m.ended:
		return m.err
	case <-ctx.Done():
		return ctx.Err()
	case <-enough:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.meeting != m {
		return m.err // it ended just now
	}
	m.missed = true
	return ErrConnecting
}

// firstContact ends when the cluster has been called, for contactTimeout at most, or is replaced.
func (c *Cluster) firstContact(m *meeting) {
	uid, err := c.contact(c.owner.meetings)
	switch {
	case err == nil:
		c.markAlive(uid)
	case isVerdict(err):
		c.markDead(err)
	}
	if c.ctx.Err() != nil {
		err = ErrReplaced
	}
	if missed := c.endMeeting(m, err); missed && c.ctx.Err() == nil {
		c.owner.onChange(c.id)
	}
}

// endMeeting tells those who wait, and reports whether somebody did not wait.
func (c *Cluster) endMeeting(m *meeting, err error) (missed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.err, c.meeting = err, nil
	close(m.ended)
	return m.missed
}

// contact asks a cluster that may not answer for its ID, when the gate has a place for it.
func (c *Cluster) contact(through *gate) (uid string, err error) {
	if through.pass(c.ctx, c.id.ClusterName, func() { uid, err = c.identify(c.ctx, contactTimeout) }) != nil {
		return "", ErrReplaced
	}
	return uid, err
}

// identify asks the cluster for its ID.
func (c *Cluster) identify(ctx context.Context, limit time.Duration) (string, error) {
	var namespace corev1.Namespace
	r := request{verb: "get", resource: schema.GroupResource{Resource: "namespaces"}, name: metav1.NamespaceSystem}
	err := c.call(ctx, limit, r, func(ctx context.Context) error {
		return c.inner.Get(ctx, types.NamespacedName{Name: metav1.NamespaceSystem}, &namespace)
	})
	if err != nil {
		return "", err
	}
	if !isPlausible(namespace.UID) {
		return "", c.border.notKubernetes()
	}
	return string(namespace.UID), nil
}

// isPlausible reports whether a UID that a server sent looks like one. It will stand in a status.
func isPlausible(uid types.UID) bool {
	const longest = 64 // of a UUID, 36 are needed
	return uid != "" && len(uid) <= longest && !strings.ContainsFunc(string(uid), func(r rune) bool {
		return !strings.ContainsRune("-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", r)
	})
}

// call calls the cluster, within the limit, and returns a problem of ours, or an error that says nothing about the
// cluster, such as the context's. That the cluster does not answer in time is said only of a call that had a fair time.
func (c *Cluster) call(ctx context.Context, limit time.Duration, r request, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()

	began := time.Now()
	err := call(bounded)
	if err == nil {
		return nil
	}
	var known *problem
	var answer apierrors.APIStatus
	isAnswer := errors.As(err, &answer)
	switch {
	case c.ctx.Err() != nil:
		return ErrReplaced
	case !isAnswer && errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(began) < Budget/2:
		return ctx.Err() // earlier calls used up the caller's time: that says nothing about this one
	case errors.As(err, &known):
		return known
	case isAnswer:
		return r.answered(answer.Status(), c.border, c.secrets)
	default:
		return c.border.explain(bounded, err)
	}
}

// close ends the calls and watches, and closes the connections.
func (c *Cluster) close() {
	c.shutDown()
	c.conns.closeAll()
}
