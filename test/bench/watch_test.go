//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// record knows when each fact about the objects of a watch was first seen.
type record struct {
	t *testing.T

	mu    sync.Mutex
	seen  map[string]time.Time
	ended bool
	// news is closed and replaced whenever seen or ended changes.
	news chan struct{}
}

// follow opens a watch that lasts as long as the test. facts names what is true of an object.
func follow(t *testing.T, c client.WithWatch, list client.ObjectList, facts func(client.Object) []string, in ...client.ListOption) *record {
	t.Helper()
	require.NoError(t, c.List(t.Context(), list, in...))
	from := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}
	w, err := c.Watch(t.Context(), list, append(in, from)...)
	require.NoError(t, err)
	r := &record{t: t, seen: map[string]time.Time{}, news: make(chan struct{})}
	t.Cleanup(w.Stop)
	go r.read(w, facts)
	return r
}

func (r *record) read(w watch.Interface, facts func(client.Object) []string) {
	for event := range w.ResultChan() {
		now := time.Now()
		object, ok := event.Object.(client.Object)
		if !ok { // the server ends the watch with a Status
			break
		}
		found := facts(object)
		if event.Type == watch.Deleted {
			found = []string{gone(object.GetName())}
		}
		r.note(now, found)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	close(r.news)
}

func (r *record) note(now time.Time, facts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fact := range facts {
		if _, known := r.seen[fact]; !known {
			r.seen[fact] = now
		}
	}
	close(r.news)
	r.news = make(chan struct{})
}

// await waits for a fact and returns when it was first seen.
func (r *record) await(fact string) time.Time {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for {
		r.mu.Lock()
		at, ok := r.seen[fact]
		ended, news := r.ended, r.news
		r.mu.Unlock()
		if ok {
			return at
		}
		if ended {
			require.NoError(r.t, errors.New("the watch ended"), "waiting for %q", fact)
		}
		select {
		case <-news:
		case <-ctx.Done():
			require.NoError(r.t, ctx.Err(), "waiting for %q", fact)
		}
	}
}

// has is the fact that a condition of an object has a reason.
func has(name, conditionType, reason string) string {
	return fmt.Sprintf("%s %s=%s", name, conditionType, reason)
}

func gone(name string) string { return name + " is gone" }

// targetFacts are the conditions of a SyncTarget, by reason.
func targetFacts(o client.Object) []string {
	var out []string
	for _, c := range o.(*workloadv1alpha1.SyncTarget).Status.Conditions {
		out = append(out, has(o.GetName(), c.Type, c.Reason))
	}
	return out
}

// deploymentFacts tells when a Deployment is available.
func deploymentFacts(o client.Object) []string {
	for _, c := range o.(*appsv1.Deployment).Status.Conditions {
		if c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue {
			return []string{available(o.GetName())}
		}
	}
	return nil
}

func available(name string) string { return name + " is Available" }
