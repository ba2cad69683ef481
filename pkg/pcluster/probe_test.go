package pcluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clocktesting "k8s.io/utils/clock/testing"
)

// What is dead fails at once, without a request, until a probe finds it alive; the probes become rarer.
func TestProbe(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
		is     func(error) bool
	}{
		"unavailable": {
			refuse(http.StatusServiceUnavailable, "ServiceUnavailable", canary), "the API server at %q is not available (503 Service Unavailable); the cluster says: [redacted]",
			func(err error) bool { return errors.Is(err, ErrUnreachable) },
		},
		"unauthorized": {
			refuse(http.StatusUnauthorized, "Unauthorized", canary),
			"the cluster does not accept the credentials in the kubeconfig (401 Unauthorized); the cluster says: [redacted]", apierrors.IsUnauthorized,
		},
		"forbidden": {
			refuse(http.StatusForbidden, "Forbidden", canary),
			`the kubeconfig's user may not get namespaces "kube-system" (403 Forbidden); the cluster says: [redacted]`, apierrors.IsForbidden,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			clock := clocktesting.NewFakeClock(time.Now())
			server := newServer(t, test.answer)
			clusters, changes := startClusters(t, clock, nil)
			want := strings.ReplaceAll(test.want, "%q", fmt.Sprintf("%q", server.host()))
			for range 3 {
				_, err := clusters.Get(ctx, testID("a"), server.kubeconfig(canary))
				if diff := cmp.Diff(want, errorText(err)); diff != "" || !test.is(err) {
					t.Fatalf("Get() = %v, -want +got:\n%s", err, diff)
				}
			}
			if got := server.requestCount(); got != 1 {
				t.Fatalf("%d requests, want 1: what is dead is not called by Get", got)
			}

			for i, seconds := range []time.Duration{5, 10, 20, 40, 50, 50} {
				delay, want := scheduled(clusters)[i], seconds*time.Second
				if delay < want || delay > want*6/5 {
					t.Errorf("probe %d is to come after %s, want %s to %s", i, delay, want, want*6/5)
				}
				clock.Step(delay)
				eventually(t, "the next probe to be scheduled", func() bool { return len(scheduled(clusters)) == i+2 })
				if got := server.requestCount(); got != i+2 {
					t.Errorf("%d requests after %d probes", got, i+1)
				}
			}
			if len(changes) != 0 {
				t.Error("OnChange was called though nothing changed")
			}

			server.answer(nil)
			clock.Step(time.Minute)
			if diff := cmp.Diff(testID("a"), await(t, "OnChange", changes)); diff != "" {
				t.Errorf("OnChange, -want +got:\n%s", diff)
			}
			before := server.requestCount()
			cluster, err := clusters.Get(ctx, testID("a"), server.kubeconfig(canary))
			if err != nil {
				t.Fatalf("Get() = %v, want it alive", err)
			}
			if uid, err := cluster.ID(ctx); err != nil || uid != clusterUID {
				t.Errorf("ID() = %q, %v, want %q", uid, err, clusterUID)
			}
			if got := server.requestCount(); got != before {
				t.Errorf("%d more requests: its ID is known", got-before)
			}
		})
	}
}

// A probe that fails in another way is news, once.
func TestProbeTellsOfAnotherFailure(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	server := newServer(t, refuse(http.StatusServiceUnavailable, "ServiceUnavailable", ""))
	clusters, changes := startClusters(t, clock, nil)
	if _, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig("t")); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("Get() = %v", err)
	}
	server.answer(refuse(http.StatusUnauthorized, "Unauthorized", ""))
	clock.Step(time.Minute)
	await(t, "OnChange", changes)
	if _, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig("t")); !apierrors.IsUnauthorized(err) {
		t.Errorf("Get() = %v, want the new failure", err)
	}
	before := server.requestCount()
	clock.Step(time.Minute)
	eventually(t, "another probe", func() bool { return server.requestCount() > before })
	if len(changes) != 0 {
		t.Error("OnChange was called though nothing changed")
	}
}

// A cluster that was rebuilt while it was away comes back with another ID.
func TestProbeLearnsID(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	server := newServer(t, nil)
	clusters, changes := startClusters(t, clock, nil)
	cluster, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	cluster.markDead(unreachable("gone"))
	server.answer(another)
	clock.Step(time.Minute)
	await(t, "OnChange", changes)
	if uid, err := cluster.ID(context.Background()); err != nil || uid != "other" {
		t.Errorf("ID() = %q, %v, want the other", uid, err)
	}
}

// A new content is tried at once, however dead the old one is.
func TestNewContentOfDeadTarget(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	var bad atomic.Int32
	server := newServer(t, onlyToken("good", &bad))
	clusters, changes := startClusters(t, clock, nil)
	if _, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig("bad")); !apierrors.IsUnauthorized(err) {
		t.Fatalf("Get() = %v, want Unauthorized", err)
	}
	if _, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig("good")); err != nil {
		t.Fatalf("Get() = %v", err)
	}
	clock.Step(time.Hour)
	if got := bad.Load(); got != 1 || len(changes) != 0 {
		t.Errorf("%d requests, %d changes: the old content is probed", got, len(changes))
	}
}
