package pcluster

import (
	"context"
	"errors"
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
		"much work":      {"A pass has many calls, and the cluster answers each at once.", 400, 20 * time.Millisecond, 0, nil, false},
		"much, far away": {"Nor is that a fault of the cluster.", 60, slowCall, 0, nil, false},
		"just too long":  {"", 8, slowCall + time.Millisecond, 0, nil, true},
		"just in time":   {"", 1, contactTimeout - time.Millisecond, 0, nil, true},
		"many":           {"Together they hold a worker for long.", 10, 900 * time.Millisecond, 0, nil, true},
		"never at rest":  {"No answer is slow, but they hold a worker for most of the time.", 300, slowCall - time.Millisecond, 250 * time.Millisecond, nil, true},
		"often at rest":  {"In the long run it has the time of a worker that everybody may have.", 300, slowCall - time.Millisecond, 2 * time.Second, nil, false},
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

// TestUse: calls at the same time count once, and calls that say nothing of the cluster not for ever.
func TestUse(t *testing.T) {
	began := time.Now()
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	var u use
	u.begin(at(0))
	u.begin(at(5))
	u.end(at(10))
	u.end(at(20))
	if want := 20 * time.Second * (busyShare - 1) / busyShare; u.total != want {
		t.Errorf("after 20 s of calls: %s, want %s", u.total, want)
	}
	u.begin(at(50))
	if want := 10 * time.Second; u.total != want {
		t.Errorf("after 30 s at rest: %s, want %s", u.total, want)
	}
	u.end(at(50))
	if u.begin(at(1000)); u.total != 0 {
		t.Errorf("after a long rest: %s", u.total)
	}
}

// TestBusyIsNoUse: a call that waited for our own memory, not for the cluster, leaves no call in flight.
func TestBusyIsNoUse(t *testing.T) {
	clusters, _ := startClusters(t, nil, nil)
	cluster := mustCluster(t, clusters, testID("a"), "t")
	for range 3 {
		_ = cluster.call(t.Context(), Budget, request{verb: "get"}, func(context.Context) error { return errBusy })
	}
	_ = cluster.call(t.Context(), Budget, request{verb: "get"}, func(context.Context) error { return nil })
	if cluster.use.inFlight != 0 {
		t.Errorf("%d calls in flight", cluster.use.inFlight)
	}
}

// TestSpans: calls at the same time count once, and what is longer ago than a Budget does not count.
func TestSpans(t *testing.T) {
	type call struct{ from, to time.Duration } // in the order in which they end
	const s = time.Second
	for name, test := range map[string]struct {
		calls []call
		now   time.Duration
		want  time.Duration
		kept  int
	}{
		"none":                {nil, 0, 0, 0},
		"one after another":   {[]call{{0, s}, {2 * s, 4 * s}}, 4 * s, 3 * s, 2},
		"without a pause":     {[]call{{0, s}, {s, 4 * s}}, 4 * s, 4 * s, 1},
		"overlapping":         {[]call{{0, 2 * s}, {s, 4 * s}}, 4 * s, 4 * s, 1},
		"one within another":  {[]call{{s, 2 * s}, {3 * s, 4 * s}, {0, 5 * s}}, 5 * s, 5 * s, 1},
		"all at once":         {[]call{{0, s}, {0, s}, {0, s}}, s, s, 1},
		"partly too long ago": {[]call{{0, 4 * s}}, Budget + s, 3 * s, 1},
		"too long ago":        {[]call{{0, 4 * s}}, Budget + 5*s, 0, 1},
		"dropped":             {[]call{{0, s}, {Budget, Budget + s}}, Budget + s, s, 1},
		"for ever":            {[]call{{0, 8 * s}, {7 * s, 15 * s}, {14 * s, 22 * s}}, 22 * s, Budget, 1},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			var got spans
			for _, c := range test.calls {
				got = got.add(span{begin.Add(c.from), begin.Add(c.to)})
			}
			if sum := got.lately(begin.Add(test.now)); sum != test.want || len(got) != test.kept {
				t.Errorf("%s of slow calls in %d spans, want %s in %d", sum, len(got), test.want, test.kept)
			}
		})
	}
}

// TestSlowUntilItExpires: neither an invalid kubeconfig nor another SyncTarget of the same name makes a cluster faster,
// and nothing is kept for ever of a SyncTarget that is gone.
func TestSlowUntilItExpires(t *testing.T) {
	clusters, _ := startClusters(t, nil, nil)
	clock := clocktesting.NewFakeClock(time.Now())
	clusters.clock = clock
	beSlow := func(id ID) {
		cluster := clusters.replace(id, mustCluster(t, clusters, id, "t"))
		began := cluster.callBegan()
		clock.Step(slowAfter)
		cluster.callEnded(began, true)
	}
	id := testID("a")
	beSlow(id)
	if !clusters.IsSlow(id.ClusterName, id.Name) || clusters.IsSlow("other", id.Name) {
		t.Error("the cluster is not slow, or another is")
	}
	if _, err := clusters.cluster(id, []byte("{}")); !errors.Is(err, ErrInvalid) {
		t.Fatalf("an invalid kubeconfig: %v", err)
	}
	if !clusters.IsSlow(id.ClusterName, id.Name) {
		t.Error("an invalid kubeconfig makes it faster")
	}
	clusters.Forget(id)
	if !clusters.IsSlow(id.ClusterName, id.Name) {
		t.Error("its SyncTarget is deleted, which makes it faster")
	}
	clock.Step(slowFor - time.Second)
	beSlow(testID("b"))
	if _, kept := clusters.slow[id.target()]; kept || len(clusters.slow) != 1 {
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
