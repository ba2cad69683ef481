package pcluster

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
)

// TestIsSlow: a cluster that answers just in time is slow, by its answers and for a while.
func TestIsSlow(t *testing.T) {
	refused := &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden}}
	for name, test := range map[string]struct {
		reason string
		calls  int
		each   time.Duration
		pause  time.Duration
		answer error
		slow   bool
	}{
		"nearby":         {"", 100, 5 * time.Millisecond, 0, nil, false},
		"far away":       {"It is no fault of the cluster.", 25, 150 * time.Millisecond, 0, nil, false},
		"just in time":   {"", 1, contactTimeout - time.Millisecond, 0, nil, true},
		"many":           {"Together they hold a worker for long.", 10, 900 * time.Millisecond, 0, nil, true},
		"rarely":         {"A slow answer now and then holds no worker.", 10, 2 * time.Second, time.Minute, nil, false},
		"refused":        {"A refusal is an answer, too.", 1, Budget - time.Second, 0, refused, true},
		"without answer": {"That makes it dead, not slow.", 1, Budget, 0, unreachable("no answer"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clusters, _ := startClusters(t, nil, nil)
				id := testID("a")
				cluster := clusters.replace(id, mustCluster(t, clusters, id, "t"))
				for range test.calls {
					_ = cluster.call(t.Context(), Budget, request{verb: "get", resource: schema.GroupResource{Resource: "namespaces"}, name: "n"},
						func(context.Context) error { time.Sleep(test.each); return test.answer })
					time.Sleep(test.pause)
				}
				// The kubeconfig's content is another; that alone does not make the cluster faster.
				clusters.replace(id, mustCluster(t, clusters, id, "u"))
				time.Sleep(slowFor - test.pause - time.Second)
				if got := clusters.IsSlow(id.ClusterName, id.Name); got != test.slow {
					t.Errorf("%s: slow %t, want %t", test.reason, got, test.slow)
				}
				time.Sleep(time.Second)
				if clusters.IsSlow(id.ClusterName, id.Name) || len(clusters.slow) != 0 {
					t.Error("it is slow for ever")
				}
			})
		})
	}
}

// TestCallsAtOnce: many short calls at the same time, as for many Namespaces, hold no worker for long.
func TestCallsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clusters, _ := startClusters(t, nil, nil)
		id := testID("a")
		cluster := clusters.replace(id, mustCluster(t, clusters, id, "t"))
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() {
				_ = cluster.call(t.Context(), Budget, request{verb: "get"}, func(context.Context) error { time.Sleep(time.Second); return nil })
			})
		}
		calls.Wait()
		if clusters.IsSlow(id.ClusterName, id.Name) {
			t.Error("a second is slow")
		}
	})
}

// TestSlowIsForgotten: nothing is kept of a SyncTarget that is gone.
func TestSlowIsForgotten(t *testing.T) {
	clusters, _ := startClusters(t, nil, nil)
	id := testID("a")
	clock := clocktesting.NewFakeClock(time.Now())
	clusters.clock = clock
	cluster := clusters.replace(id, mustCluster(t, clusters, id, "t"))
	cluster.callBegins()
	clock.Step(slowAfter)
	cluster.callEnds(true)
	if !clusters.IsSlow(id.ClusterName, id.Name) || clusters.IsSlow("other", id.Name) {
		t.Error("the cluster is not slow, or another is")
	}
	clusters.Forget(id)
	if len(clusters.slow) != 0 {
		t.Errorf("kept: %v", clusters.slow)
	}
}

func mustCluster(t *testing.T, clusters *Clusters, id ID, token string) *Cluster {
	t.Helper()
	cluster, err := clusters.newCluster(id, tokenKubeconfig("https://edge:6443", nil, token))
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}
