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
	clocktesting "k8s.io/utils/clock/testing"
)

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
		"slow handshake": {
			"what each step may take does not add up",
			func(context.Context, string, string, controlFunc) (net.Conn, error) {
				time.Sleep(connectTimeout - time.Millisecond) // of the bubble
				ours, theirs := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				return ours, nil
			},
			contactTimeout,
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

				// 30 of them at once, in two workspaces: each costs the timeout once, and nobody anything later.
				id := func(i int) ID { return ID{ClusterName: fmt.Sprint(i % 2), Name: fmt.Sprint(i)} }
				began := time.Now()
				var group sync.WaitGroup
				for i := range 30 {
					group.Go(func() {
						_, err := clusters.Get(t.Context(), id(i), kubeconfig)
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
					if _, err := clusters.Get(t.Context(), id(i), kubeconfig); errorText(err) != want {
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

// While a thousand first contacts and probes of one workspace hang, a cluster of another is met at once; and of the
// thousand no more than its share is under way.
func TestDeadDoNotDelayLive(t *testing.T) {
	server := newServer(t, nil)
	var hanging atomic.Int64
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	clock := clocktesting.NewFakeClock(time.Now())
	clusters, changes := startClusters(t, clock, func(ctx context.Context, network, address string, control controlFunc) (net.Conn, error) {
		if strings.HasPrefix(address, "dead") {
			hanging.Add(1)
			defer hanging.Add(-1)
			select {
			case <-time.After(connectTimeout):
			case <-over: // the transport does not end a dial with the call
			}
			return nil, syscall.ETIMEDOUT
		}
		return dial(ctx, network, address, control)
	})
	const dead = 1000
	kubeconfig := tokenKubeconfig("https://dead:6443", nil, "t")
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits for the first contacts
	for i := range dead {
		id := testID(fmt.Sprint(i))
		if i%2 == 0 { // to be probed
			cluster, err := clusters.cluster(id, kubeconfig)
			if err != nil {
				t.Fatal(err)
			}
			cluster.markDead(unreachable("gone"))
		}
		_, _ = clusters.Get(ctx, id, kubeconfig)
	}
	clock.Step(time.Minute)
	eventually(t, "the gate to fill", func() bool { return hanging.Load() >= firstContactsPerWorkspace+probesPerWorkspace })

	live := ID{ClusterName: "another", Name: "live"}
	cluster, err := clusters.Get(t.Context(), live, server.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	cluster.markDead(unreachable("gone"))
	clock.Step(time.Minute)
	if diff := cmp.Diff(live, await(t, "its probe", changes)); diff != "" {
		t.Errorf("OnChange, -want +got:\n%s", diff)
	}
	if got := hanging.Load(); got > firstContactsPerWorkspace+probesPerWorkspace {
		t.Errorf("%d are called at the same time, want %d at most", got, firstContactsPerWorkspace+probesPerWorkspace)
	}
	for i := range dead { // those who wait at the gate leave it at once
		clusters.Forget(testID(fmt.Sprint(i)))
	}
	eventually(t, "the gate to be empty", func() bool {
		return clusters.firstContacts.Calls(testID("a").ClusterName)+clusters.probes.Calls(testID("a").ClusterName) == 0
	})
}

// A first contact that waits at the gate is under way like any other.
func TestGetWaitsAtTheGate(t *testing.T) {
	server := newServer(t, nil)
	clusters, changes := startClusters(t, nil, nil)
	clusters.patience = time.Millisecond
	release := make(chan struct{})
	for range firstContactsPerWorkspace {
		go func() {
			_ = clusters.firstContacts.Do(context.Background(), testID("a").ClusterName, func() { <-release })
		}()
	}
	eventually(t, "the gate to fill", func() bool { return clusters.firstContacts.Calls(testID("a").ClusterName) == firstContactsPerWorkspace })
	for range 2 {
		if _, err := clusters.Get(t.Context(), testID("a"), server.kubeconfig("t")); !errors.Is(err, ErrConnecting) {
			t.Errorf("Get() = %v, want ErrConnecting", err)
		}
	}
	if got := server.requestCount(); got != 0 {
		t.Errorf("%d requests before there is a place", got)
	}
	close(release)
	await(t, "word of the end", changes)
	if _, err := clusters.Get(t.Context(), testID("a"), server.kubeconfig("t")); err != nil {
		t.Errorf("Get() = %v, want the cluster met", err)
	}
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
			if _, err := clusters.Get(ctx, testID("a"), server.kubeconfig("t")); !errors.Is(err, tc.want) || isAboutCluster(err) {
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
