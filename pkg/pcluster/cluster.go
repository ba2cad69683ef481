package pcluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Cluster is a physical cluster, by one content of one target's kubeconfig.
type Cluster struct {
	id           ID
	hash         [sha256.Size]byte
	owner        *Clusters
	server       string
	secrets      []string // never to be repeated
	answerFilter *answerFilter
	conns        *conns
	http         *http.Client
	ctx          context.Context // ends when the cluster is replaced or forgotten
	shutDown     context.CancelFunc

	mu        sync.Mutex
	uid       string              // "" before the first contact
	learned   time.Time           // when the cluster last told it
	dead      error               // why nothing is asked of it, nil if alive
	backoff   wait.Backoff        // of the probes while dead
	revived   time.Time           // when a probe last found it alive; zero before
	first     *firstContact       // the first contact that is under way, or nil
	watched   watchKey            // the object that Watch named last; empty before
	watch     *watcher            // the one that runs, or nil
	noted     map[watchKey]string // resourceVersions as the caller last read or applied them, "" if there is no such object
	notifying bool                // a goroutine calls OnChange, or waits until it may again
	changed   bool                // something has changed since onChange was last called

	slowCalls spans // of the last Budget
	use       use   // by all calls
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
	answerFilter := &answerFilter{host: server.Host, reserve: func(ctx context.Context) error { return c.reserve(ctx, id.ClusterName) }}
	guarded := c.guard
	guarded.onPrivate = func() { answerFilter.private.Store(true) }
	if answerFilter.next, err = newTransport(config, connections.dialer(guarded.dialer(c.dial))); err != nil {
		return nil, err
	}
	roundTripper, err := rest.HTTPWrappersForConfig(config, answerFilter)
	if err != nil {
		return nil, invalid("the kubeconfig's credentials cannot be used")
	}
	cluster := &Cluster{
		id:           id,
		hash:         sha256.Sum256(kubeconfig),
		owner:        c,
		server:       config.Host,
		answerFilter: answerFilter,
		conns:        connections,
		http:         &http.Client{Transport: roundTripper},
		noted:        map[watchKey]string{},
	}
	if config.BearerToken != "" {
		cluster.secrets = []string{config.BearerToken}
	}
	cluster.ctx, cluster.shutDown = context.WithCancel(c.ctx)
	return cluster, nil
}

// NewClient returns a client that reads and writes the cluster itself; nothing is cached and nothing discovered. It knows the
// kinds that the syncer's installation needs (see newMapper). Each call ends with its context, and after Budget at the latest.
// Its errors carry sentences of our own: see Describe.
//
// A client keeps codecs and a REST client for each kind that it was used for, which take as much memory as the connection. So
// the caller makes one for each pass, and a cluster at rest has none.
func (c *Cluster) NewClient() (client.Client, error) {
	inner, err := c.newClient(c.owner.mapper)
	if err != nil {
		return nil, err
	}
	return &liveClient{Client: inner, cluster: c}, nil
}

// newClient returns a client whose errors are those of client-go.
func (c *Cluster) newClient(mapper meta.RESTMapper) (client.Client, error) {
	inner, err := client.New(c.restConfig(), client.Options{HTTPClient: c.http, Scheme: c.owner.scheme, Mapper: mapper})
	if err != nil {
		return nil, invalid("no client can be made from the kubeconfig")
	}
	return inner, nil
}

// restConfig is what clients of the cluster need beside its HTTP client, which has the credentials.
func (c *Cluster) restConfig() *rest.Config {
	return &rest.Config{
		Host: c.server, QPS: noLimit, UserAgent: userAgent,
		ContentConfig:             rest.ContentConfig{ContentType: "application/json"},
		WarningHandlerWithContext: rest.NoWarnings{}, // a server's words, on their way into our log
	}
}

// Clean makes a sentence fit to be told that repeats what the cluster calls things: printable, on one line, and without the
// kubeconfig's credentials.
func (c *Cluster) Clean(sentence string) string { return line(sentence, c.secrets) }

// call calls the cluster, within the limit, and returns a problem of ours, or an error that says nothing about the
// cluster, such as the context's. That the cluster does not answer in time is said only of a call that had a fair time.
func (c *Cluster) call(ctx context.Context, limit time.Duration, r request, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()

	began := time.Now() //nolint:forbidigo // the deadline of the context is in real time too
	callBegan := c.callBegan()
	err := call(bounded)
	var known *problem
	var answer apierrors.APIStatus
	isAnswer := errors.As(err, &answer)
	if errors.Is(err, errBusy) && c.ctx.Err() == nil {
		c.callDropped()
		return errBusy // how long it took is no fault of the cluster
	}
	c.callEnded(callBegan, err == nil || isAnswer)
	switch {
	case err == nil:
		return nil
	case c.ctx.Err() != nil:
		return ErrReplaced
	case !isAnswer && errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(began) < Budget/2: //nolint:forbidigo // as began
		return ctx.Err() // earlier calls used up the caller's time: that says nothing about this one
	case errors.As(err, &known):
		return known
	case isAnswer:
		return r.answered(answer.Status(), c.answerFilter, c.secrets)
	default:
		return c.answerFilter.explain(bounded, err)
	}
}

// close ends the calls and the watch, and closes the connections.
func (c *Cluster) close() {
	c.shutDown()
	c.conns.closeAll()
}
