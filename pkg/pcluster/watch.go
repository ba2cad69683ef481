package pcluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// lostAfter is how long a watch may fail to come back before the cluster is dead.
	lostAfter = 30 * time.Second
	// settledAfter is how long a watch must hold to be trusted to come back at once.
	settledAfter = time.Minute
	// newsInterval keeps a cluster that reports changes all the time from keeping the workers busy.
	newsInterval = time.Second
	// watchTimeout is how long a watch is asked to last; the server is asked for up to twice that.
	watchTimeout = 30 * time.Minute
	// maxEventBytes bounds one event: a Deployment's metadata, or all of it from a server that ignores what we accept.
	maxEventBytes = 2 << 20
)

// watchBackoff is when a watch that ended is made again.
func watchBackoff() wait.Backoff {
	return wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 50 * time.Second}
}

// watcher watches one Deployment by name. It looks at nothing but its resourceVersion: what changed, the caller reads.
type watcher struct {
	cluster *Cluster
	key     types.NamespacedName
	seen    string    // resourceVersion, "" if there is no such Deployment
	known   bool      // whether seen means anything yet
	began   time.Time // when the watch began to hold; zero if the last attempt failed
	lostAt  time.Time // when it was lost and the cluster with it; zero if the cluster answers

	mu      sync.Mutex
	telling bool
	news    bool
}

// WatchDeployment calls OnChange whenever this Deployment is created, changes or is deleted, at most once a second. It
// returns at once, and a second call for the same Deployment does nothing. What changed since the client last got the
// Deployment counts; if it never did, the first look does. The watch ends with the cluster, or when the cluster is
// marked dead; as OnChange is called when it answers again, calling this in every pass is enough.
func (c *Cluster) WatchDeployment(namespace, name string) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.watches[key]; ok || c.dead != nil || c.ctx.Err() != nil {
		return
	}
	c.watches[key] = struct{}{}
	w := &watcher{cluster: c, key: key}
	w.seen, w.known = c.noted[key]
	c.owner.spawn(w.run)
}

// noteDeployment remembers what the caller knows of a Deployment.
func (c *Cluster) noteDeployment(r request, resourceVersion string, err error) {
	if r.resource != appsv1.Resource("deployments") {
		return
	}
	key := types.NamespacedName{Namespace: r.namespace, Name: r.name}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.noted[key] = resourceVersion
	case apierrors.IsNotFound(err):
		c.noted[key] = ""
	}
}

// run keeps the watch up until the cluster is replaced or dead.
func (w *watcher) run() {
	backoff := watchBackoff()
	for !w.isOver() {
		w.began = time.Time{}
		err := w.follow(w.cluster.ctx)
		now := w.cluster.owner.clock.Now()
		held := !w.began.IsZero()
		if held && now.Sub(w.began) >= settledAfter {
			backoff = watchBackoff()
		}
		switch {
		case !isDeadly(err):
			w.lostAt = time.Time{} // it answers, if only to refuse
		case held || w.lostAt.IsZero():
			w.lostAt = now
		}
		if apierrors.IsUnauthorized(err) || isDeadly(err) && now.Sub(w.lostAt) >= lostAfter {
			w.cluster.markDead(err)
			w.tell()
			continue
		}
		w.pause(backoff.Step())
	}
}

// isOver reports whether the watch is to end, and then makes room for another. It decides under the lock that also
// guards coming back to life: whoever calls WatchDeployment after that finds the watch either running on or gone.
func (w *watcher) isOver() bool {
	c := w.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead == nil && c.ctx.Err() == nil {
		return false
	}
	delete(c.watches, w.key)
	return true
}

func (w *watcher) pause(d time.Duration) {
	timer := w.cluster.owner.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-w.cluster.ctx.Done():
	}
}

// object is all that is read of a Deployment.
type object struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
}

// follow looks at the Deployment and then watches it until the watch ends. A nil error is a watch that ended well.
func (w *watcher) follow(ctx context.Context) error {
	from, err := w.look(ctx)
	if err != nil {
		return err
	}
	timeout := watchTimeout + rand.N(watchTimeout)
	response, err := w.get(ctx, "watch", url.Values{
		"watch": {"true"}, "resourceVersion": {from}, "timeoutSeconds": {strconv.Itoa(int(timeout.Seconds()))},
	})
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	w.began = w.cluster.owner.clock.Now()

	bounded := &io.LimitedReader{R: response.Body}
	events := json.NewDecoder(bounded)
	for {
		var event struct {
			Type   string `json:"type"`
			Object object `json:"object"`
		}
		bounded.N = maxEventBytes
		if err := events.Decode(&event); err != nil {
			return w.broken(ctx, err)
		}
		switch event.Type {
		case "ADDED", "MODIFIED":
			w.see(event.Object.Metadata.ResourceVersion)
		case "DELETED":
			w.see("")
		case "ERROR":
			return nil // such as 410: the next look is the remedy
		}
	}
}

// broken says why a watch ended: nil for an end between two events, as servers do.
func (w *watcher) broken(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return w.cluster.border.explain(ctx, err)
}

// look lists the Deployment and returns where a watch has to begin.
func (w *watcher) look(ctx context.Context) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, Budget)
	defer cancel()
	response, err := w.get(bounded, "list", url.Values{})
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var list struct {
		object
		Items []object `json:"items"`
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil || list.Metadata.ResourceVersion == "" {
		return "", w.cluster.border.notKubernetes()
	}
	now := ""
	for _, item := range list.Items {
		if item.Metadata.Name == w.key.Name {
			now = item.Metadata.ResourceVersion
		}
	}
	w.see(now)
	return list.Metadata.ResourceVersion, nil
}

// get asks for Deployments of this name, of which there is at most one, and for their metadata alone.
func (w *watcher) get(ctx context.Context, verb string, query url.Values) (*http.Response, error) {
	c := w.cluster
	query.Set("fieldSelector", "metadata.name="+w.key.Name)
	address := c.server + "/apis/apps/v1/namespaces/" + url.PathEscape(w.key.Namespace) + "/deployments?" + query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	kind := "PartialObjectMetadataList"
	if verb == "watch" {
		kind = "PartialObjectMetadata"
	}
	r.Header.Set("Accept", "application/json;as="+kind+";g=meta.k8s.io;v=v1,application/json")
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.border.explain(ctx, err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		asked := request{verb: verb, resource: appsv1.Resource("deployments"), namespace: w.key.Namespace, name: w.key.Name}
		return nil, asked.answered(metav1.Status{Code: int32(response.StatusCode)}, c.border, nil)
	}
	return response, nil
}

// see compares a resourceVersion with the one seen before.
func (w *watcher) see(resourceVersion string) {
	if w.known && w.seen == resourceVersion {
		return
	}
	w.seen, w.known = resourceVersion, true
	w.tell()
}

// tell calls OnChange, now or when the interval since the last call is over.
func (w *watcher) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news = true
	if w.telling {
		return
	}
	w.telling = true
	w.cluster.owner.spawn(func() {
		for w.hasNews() {
			w.cluster.owner.onChange(w.cluster.id)
			w.pause(newsInterval)
		}
	})
}

func (w *watcher) hasNews() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.telling = w.news && w.cluster.ctx.Err() == nil
	w.news = false
	return w.telling
}
