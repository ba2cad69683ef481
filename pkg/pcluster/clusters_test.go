package pcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clocktesting "k8s.io/utils/clock/testing"
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
	if diff := cmp.Diff(clusterUID, first.ID()); diff != "" {
		t.Errorf("ID, -want +got:\n%s", diff)
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
			underWay := make(chan error, 1)
			go func() {
				underWay <- old.Client().Get(ctx, client.ObjectKey{Namespace: "n", Name: "d"}, deployment())
			}()
			await(t, "the call", called)

			if err := test.replace(id); errors.Is(err, ErrInvalid) != test.invalid {
				t.Fatalf("replacing: %v", err)
			}
			if err := await(t, "the call to end", underWay); !errors.Is(err, ErrReplaced) {
				t.Errorf("the call under way: %v, want ErrReplaced", err)
			}
			if err := old.Client().Get(ctx, client.ObjectKey{Namespace: "n", Name: "d"}, deployment()); !errors.Is(err, ErrReplaced) {
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

// What is dead fails at once, without a request, until a probe finds it alive; the probes become rarer.
func TestProbe(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
		is     func(error) bool
	}{
		"unavailable": {
			refuse(http.StatusServiceUnavailable, "ServiceUnavailable", canary), "the API server at %q is not available (503 Service Unavailable)",
			func(err error) bool { return errors.Is(err, ErrUnreachable) },
		},
		"unauthorized": {
			refuse(http.StatusUnauthorized, "Unauthorized", canary),
			"the cluster does not accept the credentials in the kubeconfig (401 Unauthorized)", apierrors.IsUnauthorized,
		},
		"forbidden": {
			refuse(http.StatusForbidden, "Forbidden", canary),
			`the kubeconfig's user may not get namespaces "kube-system" (403 Forbidden)`, apierrors.IsForbidden,
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
			if err != nil || cluster.ID() != clusterUID {
				t.Errorf("Get() = %v, want it alive", err)
			}
			clock.Step(time.Hour)
			if got := server.requestCount(); got != before {
				t.Errorf("%d more requests: what is alive is not probed", got-before)
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
	server.answer(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"uid": "other"}})
	})
	clock.Step(time.Minute)
	await(t, "OnChange", changes)
	if diff := cmp.Diff("other", cluster.ID()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A new content is tried at once, however dead the old one is.
func TestNewContentOfDeadTarget(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	server := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			refuse(http.StatusUnauthorized, "Unauthorized", "")(w, r)
			return
		}
		healthy(w, r)
	})
	clusters, changes := startClusters(t, clock, nil)
	if _, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig("bad")); !apierrors.IsUnauthorized(err) {
		t.Fatalf("Get() = %v, want Unauthorized", err)
	}
	if _, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig("good")); err != nil {
		t.Fatalf("Get() = %v", err)
	}
	clock.Step(time.Hour)
	if got := server.requestCount(); got != 2 || len(changes) != 0 {
		t.Errorf("%d requests, %d changes: the old content is probed", got, len(changes))
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

// Black holes: packets are dropped, or a connection is accepted and then nothing is said. In a bubble, where time is
// that of the timeouts.
func TestBlackHoles(t *testing.T) {
	for name, test := range map[string]struct {
		reason string
		dial   dialFunc
		took   time.Duration
	}{
		"connect": {
			"the system gives up after the dialer's timeout",
			func(ctx context.Context, _, _ string, _ controlFunc) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, connectTimeout)
				defer cancel()
				<-ctx.Done()
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
			},
			connectTimeout,
		},
		"handshake": {
			"as of a port that somebody else listens on",
			func(context.Context, string, string, controlFunc) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				return ours, nil
			},
			tlsHandshakeTimeout,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clusters, _ := startClusters(t, nil, test.dial)
				kubeconfig := tokenKubeconfig("https://edge:6443", nil, "t")
				const want = `the server at "edge:6443" does not answer in time`

				// 30 of them at once: each costs its own worker the timeout once, and nobody anything later.
				began := time.Now()
				var group sync.WaitGroup
				for i := range 30 {
					group.Go(func() {
						_, err := clusters.Get(t.Context(), testID(fmt.Sprint(i)), kubeconfig)
						if diff := cmp.Diff(want, errorText(err)); diff != "" {
							t.Errorf("-want +got:\n%s", diff)
						}
					})
				}
				group.Wait()
				if diff := cmp.Diff(test.took, time.Since(began)); diff != "" {
					t.Errorf("%s: the first contact took, -want +got:\n%s", test.reason, diff)
				}
				began = time.Now()
				for i := range 30 {
					if _, err := clusters.Get(t.Context(), testID(fmt.Sprint(i)), kubeconfig); errorText(err) != want {
						t.Errorf("Get() = %v", err)
					}
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("%s: the second took %s, want nothing", test.reason, took)
				}
			})
		})
	}
}

// While dead clusters hang, in Get and in all probers, a live one is met at once.
func TestDeadDoNotDelayLive(t *testing.T) {
	server := newServer(t, nil)
	hang := make(chan struct{})
	var hanging atomic.Int32
	clusters, _ := startClusters(t, nil, func(ctx context.Context, network, address string, control controlFunc) (net.Conn, error) {
		if strings.HasPrefix(address, "dead") {
			hanging.Add(1)
			<-hang
			return nil, syscall.ETIMEDOUT
		}
		return dial(ctx, network, address, control)
	})
	const dead = 30
	var group sync.WaitGroup
	for i := range dead {
		group.Go(func() {
			_, _ = clusters.Get(context.Background(), testID(fmt.Sprint(i)), tokenKubeconfig("https://dead:6443", nil, "t"))
		})
	}
	eventually(t, "all to hang", func() bool { return hanging.Load() == dead })

	met := make(chan error, 1)
	go func() {
		_, err := clusters.Get(context.Background(), testID("live"), server.kubeconfig("t"))
		met <- err
	}()
	if err := await(t, "the live cluster", met); err != nil {
		t.Error(err)
	}
	close(hang)
	group.Wait()
}

// A caller that gives up, or is out of time, says nothing about the cluster: the first contact goes on without it.
func TestGetGivesUp(t *testing.T) {
	tests := map[string]struct {
		patience time.Duration
		giveUp   func(context.Context) (context.Context, context.CancelFunc)
		want     error
		told     bool
	}{
		"canceled": {0, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, context.Canceled, false},
		"out of time": {0, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Millisecond)
		}, context.DeadlineExceeded, false},
		"out of patience": {time.Millisecond, context.WithCancel, ErrConnecting, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			called, release := make(chan struct{}, 1), make(chan struct{})
			server := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				called <- struct{}{}
				<-release
				healthy(w, r)
			})
			clusters, changes := startClusters(t, nil, nil)
			clusters.patience = tc.patience
			ctx, cancel := tc.giveUp(context.Background())
			defer cancel()
			if _, err := clusters.Get(ctx, testID("a"), server.kubeconfig("t")); !errors.Is(err, tc.want) || isVerdict(err) {
				t.Errorf("Get() = %v, want %v", err, tc.want)
			}
			await(t, "the call", called)
			close(release)
			if tc.told {
				if got := await(t, "word of the end", changes); got != testID("a") {
					t.Errorf("OnChange(%v)", got)
				}
			}
			clusters.patience = 0
			if _, err := clusters.Get(context.Background(), testID("a"), server.kubeconfig("t")); err != nil {
				t.Errorf("Get() = %v, want the cluster met", err)
			}
			if got := server.requestCount(); got != 1 {
				t.Errorf("%d calls, want the one", got)
			}
		})
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
