package pcluster

import (
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
