package pcluster

import (
	"context"
	"errors"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/synctarget/synctarget/pkg/fairness"
)

// freshFor is how long an ID need not be asked for again: the pass that follows a first contact knows it already.
const freshFor = 5 * time.Second

// ID asks the physical cluster who it is, and returns the UID of its Namespace kube-system. Behind the same address, with
// the same CA and token, there may be another cluster since the last time: ask before anything is written or removed.
func (c *Cluster) ID(ctx context.Context) (string, error) {
	c.mu.Lock()
	uid, dead := c.uid, c.dead
	isFresh := uid != "" && c.owner.clock.Since(c.learned) < freshFor
	c.mu.Unlock()
	if dead != nil {
		return "", dead
	}
	if isFresh && c.ctx.Err() == nil {
		return uid, nil
	}
	uid, err := c.identify(ctx, Budget)
	if err != nil {
		if endsContact(err) {
			c.markDead(err)
		}
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uid, c.learned = uid, c.owner.clock.Now()
	return uid, nil
}

// firstContact is a first contact under way.
type firstContact struct {
	ended chan struct{}
	err   error // set before ended is closed
	// missed is set when somebody did not wait for the end and has to be told.
	missed bool
}

// awaitFirstContact starts the first contact, or joins the one under way, and waits for it for a moment. A cluster that was met or is
// dead is not called.
func (c *Cluster) awaitFirstContact(ctx context.Context) error {
	c.mu.Lock()
	if c.dead != nil || c.uid != "" {
		defer c.mu.Unlock()
		return c.dead
	}
	m, begin := c.first, c.first == nil
	if begin {
		m = &firstContact{ended: make(chan struct{})}
		c.first = m
	}
	c.mu.Unlock()
	if begin && !c.owner.spawn(func() { c.makeFirstContact(m) }) {
		c.endFirstContact(m, ErrReplaced)
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
	if c.first != m {
		return m.err // it ended just now
	}
	m.missed = true
	return ErrConnecting
}

// makeFirstContact ends when the cluster has been called, for contactTimeout at most, or is replaced.
func (c *Cluster) makeFirstContact(m *firstContact) {
	uid, err := c.contact(c.owner.firstContacts)
	switch {
	case err == nil:
		c.markAlive(uid)
	case isAboutCluster(err):
		c.markDead(err)
	}
	if c.ctx.Err() != nil {
		err = ErrReplaced
	}
	// A caller that got errBusy relies on OnChange, too: the contact has ended, and nothing is known.
	if missed := c.endFirstContact(m, err); (missed || errors.Is(err, errBusy)) && c.ctx.Err() == nil {
		c.owner.onChange(c.id)
	}
}

// endFirstContact tells those who wait, and reports whether somebody did not wait.
func (c *Cluster) endFirstContact(m *firstContact, err error) (missed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.err, c.first = err, nil
	close(m.ended)
	return m.missed
}

// contact asks a cluster that may not answer for its ID, when the limiter has a place for it.
func (c *Cluster) contact(limiter *fairness.Limiter[string]) (uid string, err error) {
	if limiter.Do(c.ctx, c.id.ClusterName, func() { uid, err = c.identify(c.ctx, contactTimeout) }) != nil {
		return "", ErrReplaced
	}
	return uid, err
}

// identify asks the cluster for its ID.
func (c *Cluster) identify(ctx context.Context, limit time.Duration) (string, error) {
	reader, err := c.newClient(c.owner.mapper)
	if err != nil {
		return "", err
	}
	var namespace corev1.Namespace
	r := request{verb: "get", resource: schema.GroupResource{Resource: "namespaces"}, name: metav1.NamespaceSystem}
	err = c.call(ctx, limit, r, func(ctx context.Context) error {
		return reader.Get(ctx, types.NamespacedName{Name: metav1.NamespaceSystem}, &namespace)
	})
	if err != nil {
		return "", err
	}
	if !isPlausible(namespace.UID) {
		return "", c.answerFilter.notKubernetes()
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
