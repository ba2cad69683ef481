package pcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

var (
	_ manager.Runnable               = &Clusters{}
	_ manager.LeaderElectionRunnable = &Clusters{}
)

func TestGet(t *testing.T) {
	ctx := context.Background()
	server := newServer(t, nil)
	clusters, _ := startClusters(t, nil, nil)

	first, err := clusters.Get(ctx, testID("a"), server.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	if uid, err := first.ID(ctx); err != nil || uid != clusterUID {
		t.Errorf("ID() = %q, %v, want %q", uid, err, clusterUID)
	}
	again, err := clusters.Get(ctx, testID("a"), server.kubeconfig("t"))
	if err != nil || again != first {
		t.Errorf("the same kubeconfig: %v, %v, want the same client", again, err)
	}
	if got := server.requestCount(); got != 1 {
		t.Errorf("%d requests, want 1: what was met is not called", got)
	}
	other, err := clusters.Get(ctx, testID("b"), server.kubeconfig("t"))
	if err != nil || other == first {
		t.Errorf("another target with the same kubeconfig: %v, want a client of its own", err)
	}
}

// A SyncTarget that was created anew, or one in another workspace, never meets another's client.
func TestGetSeparatesTargets(t *testing.T) {
	server := newServer(t, nil)
	clusters, _ := startClusters(t, nil, nil)
	seen := map[*Cluster]bool{}
	for _, id := range []ID{{"w", "n", "1"}, {"w", "n", "2"}, {"w", "m", "1"}, {"v", "n", "1"}} {
		cluster, err := clusters.Get(context.Background(), id, server.kubeconfig("t"))
		if err != nil || seen[cluster] {
			t.Errorf("%v: %v, want a client of its own", id, err)
		}
		seen[cluster] = true
	}
}

// Many first contacts at once are one request per target, and do not wait for one another's target.
func TestGetConcurrently(t *testing.T) {
	const targets, callers = 8, 4
	var arrived atomic.Int32
	all := make(chan struct{})
	server := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if arrived.Add(1) == targets {
			close(all)
		}
		select {
		case <-all: // only if all targets are called at the same time does any call return
			healthy(w, r)
		case <-r.Context().Done():
		}
	})
	clusters, _ := startClusters(t, nil, nil)
	var group sync.WaitGroup
	for i := range targets * callers {
		group.Go(func() {
			if _, err := clusters.Get(context.Background(), testID(fmt.Sprint(i%targets)), server.kubeconfig("t")); err != nil {
				t.Errorf("Get() = %v", err)
			}
		})
	}
	group.Wait()
	if got := server.requestCount(); got != targets {
		t.Errorf("%d requests, want %d", got, targets)
	}
}

// A change of the content replaces the client at once, and nothing of the old one stays open: neither idle connections
// nor calls that are under way.
func TestGetReplaces(t *testing.T) {
	ctx := context.Background()
	called := make(chan struct{}, 1)
	server := newServer(t, except(func(_ http.ResponseWriter, r *http.Request) {
		called <- struct{}{}
		<-r.Context().Done()
	}))
	clusters, _ := startClusters(t, nil, nil)
	for name, test := range map[string]struct {
		replace func(id ID) error
		open    int
		invalid bool
	}{
		"by another content": {func(id ID) error { _, err := clusters.Get(ctx, id, server.kubeconfig("new")); return err }, 1, false},
		"by a refused one":   {func(id ID) error { _, err := clusters.Get(ctx, id, []byte("{}")); return err }, 0, true},
		"by nothing":         {func(id ID) error { clusters.Forget(id); return nil }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			id := testID(name)
			old, err := clusters.Get(ctx, id, server.kubeconfig("old"))
			if err != nil {
				t.Fatal(err)
			}
			underWay, c := make(chan error, 1), newClient(t, old)
			go func() {
				underWay <- c.Get(ctx, client.ObjectKey{Namespace: "n", Name: "d"}, deployment())
			}()
			await(t, "the call", called)

			if err := test.replace(id); errors.Is(err, ErrInvalid) != test.invalid {
				t.Fatalf("replacing: %v", err)
			}
			if err := await(t, "the call to end", underWay); !errors.Is(err, ErrReplaced) {
				t.Errorf("the call under way: %v, want ErrReplaced", err)
			}
			if err := c.Get(ctx, client.ObjectKey{Namespace: "n", Name: "d"}, deployment()); !errors.Is(err, ErrReplaced) {
				t.Errorf("a later call of the old client: %v, want ErrReplaced", err)
			}
			eventually(t, "the old connections to close", func() bool { return server.openConns() == test.open })
			clusters.Forget(id)
			eventually(t, "all connections to close", func() bool { return server.openConns() == 0 })
		})
	}
}

// Nor does a dial that hangs hold up the end of a call.
func TestGetReplacesWhileDialling(t *testing.T) {
	dialling, hang := make(chan struct{}, 1), make(chan struct{})
	clusters, _ := startClusters(t, nil, func(context.Context, string, string, controlFunc) (net.Conn, error) {
		dialling <- struct{}{}
		<-hang
		return nil, syscall.ETIMEDOUT
	})
	defer close(hang)
	failed := make(chan error, 1)
	go func() {
		_, err := clusters.Get(context.Background(), testID("a"), tokenKubeconfig("https://edge", nil, "t"))
		failed <- err
	}()
	await(t, "the dial", dialling)
	began := time.Now()
	clusters.Forget(testID("a"))
	if err := await(t, "Get", failed); !errors.Is(err, ErrReplaced) || time.Since(began) > Budget/2 {
		t.Errorf("Get() = %v after %s, want ErrReplaced at once", err, time.Since(began))
	}
}

// The guard's refusal is remembered like any other failure, as DNS may change its mind.
func TestForbiddenAddress(t *testing.T) {
	clusters := New(Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	defer func() { _ = clusters.Start(ctx) }()
	server := newServer(t, nil)
	for _, host := range []string{"localhost", "127.0.0.1"} {
		_, port, _ := net.SplitHostPort(server.host())
		kubeconfig := tokenKubeconfig("https://"+net.JoinHostPort(host, port), server.Certificate().Raw, "t")
		_, err := clusters.Get(context.Background(), testID(host), kubeconfig)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "a loopback address, which this service does not dial") {
			t.Errorf("%s: Get() = %v, want ErrInvalid", host, err)
		}
	}
	if server.openConns() != 0 {
		t.Error("it was dialled")
	}
}

func TestWithBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := WithBudget(t.Context())
		defer cancel()
		began := time.Now()
		<-ctx.Done()
		if diff := cmp.Diff(Budget, time.Since(began)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// When Start ends, nothing is left behind: no connection, no goroutine, and no client that works.
func TestStop(t *testing.T) {
	server := newServer(t, nil)
	clusters := New(Options{Allow: loopback()})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- clusters.Start(ctx) }()
	cluster, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = clusters.Get(context.Background(), testID("dead"), tokenKubeconfig("https://127.0.0.1:1", nil, "t"))
	watchIt(t, cluster)
	cancel()
	if err := await(t, "the end", ended); err != nil {
		t.Error(err)
	}
	eventually(t, "the connections to close", func() bool { return server.openConns() == 0 })
	eventually(t, "the goroutines to end", func() bool { return goroutines("pkg/pcluster.(*") == 0 })
	if _, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig("t2")); !errors.Is(err, ErrReplaced) {
		t.Errorf("Get() = %v, want ErrReplaced", err)
	}
}
