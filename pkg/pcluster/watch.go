package pcluster

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

const (
	// lostAfter is how long a watch may fail to come back before the cluster is dead.
	lostAfter = 30 * time.Second
	// settledAfter is how long a watch must hold to be trusted to come back at once.
	settledAfter = time.Minute
	// refusedRetry is when a watch is tried again that the cluster refuses, up to a fifth later. Until then the caller
	// has to look by itself.
	refusedRetry = 10 * time.Minute
	// changeInterval is the time between two calls of OnChange for what a cluster's watches say. It keeps a cluster that reports
	// changes all the time from keeping the workers busy.
	changeInterval = 10 * time.Second
)

// watchBackoff is when a watch that ended is made again.
func watchBackoff() wait.Backoff {
	return wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 50 * time.Second}
}

// watchKey names an object that is watched.
type watchKey struct {
	resource        schema.GroupResource
	namespace, name string
}

// watcher watches one object by name. It looks at nothing but its resourceVersion: what changed, the caller reads.
type watcher struct {
	cluster *Cluster
	object  watchKey
	path    string          // of the collection that holds it
	ctx     context.Context // ends with the cluster, or when another object is watched
	end     context.CancelFunc
	refusal error     // how the cluster refuses it, nil if it does not; guarded by the cluster's lock
	seen    string    // resourceVersion, "" if there is no such object
	known   bool      // whether seen means anything yet
	began   time.Time // when the watch began to hold; zero if the last attempt failed
	lostAt  time.Time // when it was lost and the cluster with it; zero if the cluster answers
}

// Watch watches one object by name, and calls OnChange whenever it is created, changes or is deleted: at once, but at most
// once in 10 s. It returns at once, and a second call for the same object does nothing; one for another object ends the
// watch of the first, so that a cluster at rest costs one watch. What changed since the client last read or applied the
// object counts; if it never did, the first look does. The watch ends with the cluster, or when the cluster is marked dead;
// as OnChange is called when it answers again, calling this in every pass is enough. Whether the cluster lets us watch,
// Unwatched says. The error is a kind that newMapper lacks.
func (c *Cluster) Watch(object client.Object) error {
	key, resource, err := c.keyOf(object)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	version, known := c.noted[key]
	c.watched, c.noted = key, map[watchKey]string{}
	if known {
		c.noted[key] = version
	}
	if c.watch != nil {
		if c.watch.object == key {
			return nil
		}
		c.watch.end()
		c.watch = nil
	}
	if c.dead != nil || c.ctx.Err() != nil {
		return nil
	}
	w := &watcher{cluster: c, object: key, path: collection(resource, key.namespace), seen: version, known: known}
	w.ctx, w.end = context.WithCancel(c.ctx)
	c.watch = w
	c.owner.spawn(w.run)
	return nil
}

func (c *Cluster) keyOf(object client.Object) (watchKey, schema.GroupVersionResource, error) {
	gvk, err := apiutil.GVKForObject(object, c.owner.scheme)
	if err != nil {
		return watchKey{}, schema.GroupVersionResource{}, err
	}
	mapping, err := c.owner.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return watchKey{}, schema.GroupVersionResource{}, err
	}
	return watchKey{resource: mapping.Resource.GroupResource(), namespace: object.GetNamespace(), name: object.GetName()}, mapping.Resource, nil
}

// Unwatched says why the caller has to look at the watched object by itself: it returns nil if the watch holds or is being
// made, and otherwise how the cluster refuses it. OnChange is called when a refusal begins or ends.
func (c *Cluster) Unwatched() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch == nil {
		return nil
	}
	return c.watch.refusal
}

// collection is the path of a collection on an API server.
func collection(resource schema.GroupVersionResource, namespace string) string {
	path := "/apis/" + resource.Group + "/" + resource.Version
	if resource.Group == "" {
		path = "/api/" + resource.Version
	}
	if namespace != "" {
		path += "/namespaces/" + url.PathEscape(namespace)
	}
	return path + "/" + resource.Resource
}

// note remembers what the caller knows of an object: its own reads and writes are no news to it. Once an object is watched,
// nothing is remembered of the others.
func (c *Cluster) note(r request, resourceVersion string, err error) {
	switch {
	case apierrors.IsNotFound(err):
		resourceVersion = ""
	case err != nil:
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := (watchKey{resource: r.resource, namespace: r.namespace, name: r.name}); c.watched == key || c.watched == (watchKey{}) {
		c.noted[key] = resourceVersion
	}
}

// run keeps the watch up until it is ended, or the cluster is replaced or dead.
func (w *watcher) run() {
	defer w.end()
	backoff := watchBackoff()
	for !w.isOver() {
		w.began = time.Time{}
		err := w.follow(w.ctx)
		now := w.cluster.owner.clock.Now()
		held := !w.began.IsZero()
		if held && now.Sub(w.began) >= settledAfter {
			backoff = watchBackoff()
		}
		switch {
		case !endsContact(err):
			w.lostAt = time.Time{} // it answers, if only to refuse
		case held || w.lostAt.IsZero():
			w.lostAt = now
		}
		if apierrors.IsUnauthorized(err) || endsContact(err) && now.Sub(w.lostAt) >= lostAfter {
			w.cluster.markDead(err)
			w.cluster.notifyOnChange()
			continue
		}
		if isRefusal(err) {
			w.refused(err)
			w.cluster.pause(w.ctx, wait.Jitter(refusedRetry, 0.2))
			continue
		}
		w.cluster.pause(w.ctx, backoff.Step())
	}
}

// isRefusal reports whether the cluster refuses the watch as such, so that asking again soon is in vain.
func isRefusal(err error) bool {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return false
	}
	switch code := answer.Status().Code; code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusConflict, http.StatusGone, http.StatusTooManyRequests:
		return false
	default:
		return code >= 400 && code < 500
	}
}

// refused notes how the cluster refuses the watch, or with nil that it does not, and tells if that is new.
func (w *watcher) refused(refusal error) {
	c := w.cluster
	c.mu.Lock()
	before := w.refusal
	w.refusal = refusal
	c.mu.Unlock()
	if (before == nil) != (refusal == nil) || before != nil && before.Error() != refusal.Error() {
		c.notifyOnChange()
	}
}

// isOver reports whether the watch is to end, and then makes room for another. It decides under the lock that also
// guards coming back to life: whoever calls Watch after that finds the watch either running on or gone.
func (w *watcher) isOver() bool {
	c := w.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead == nil && w.ctx.Err() == nil {
		return false
	}
	if c.watch == w {
		c.watch = nil
	}
	return true
}

// see compares a resourceVersion with the one seen before.
func (w *watcher) see(resourceVersion string) {
	if w.known && w.seen == resourceVersion {
		return
	}
	w.seen, w.known = resourceVersion, true
	w.cluster.notifyOnChange()
}

// notifyOnChange calls OnChange, now or when the interval since the last call is over.
func (c *Cluster) notifyOnChange() {
	c.mu.Lock()
	c.changed = true
	begin := !c.notifying
	c.notifying = true
	c.mu.Unlock()
	if !begin {
		return
	}
	c.owner.spawn(func() {
		for c.takeChange() {
			c.owner.onChange(c.id)
			c.pause(c.ctx, changeInterval)
		}
	})
}

func (c *Cluster) takeChange() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notifying = c.changed && c.ctx.Err() == nil
	c.changed = false
	return c.notifying
}

func (c *Cluster) pause(ctx context.Context, d time.Duration) {
	timer := c.owner.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}
