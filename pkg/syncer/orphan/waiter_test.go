package orphan

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// upstream plays kcp.
type upstream struct {
	uid  types.UID
	err  error
	gets int
}

func (u *upstream) Get(context.Context) (*workloadv1alpha1.SyncTarget, error) {
	u.gets++
	target := &workloadv1alpha1.SyncTarget{}
	target.UID = u.uid
	return target, u.err
}

type fixture struct {
	*Waiter
	kcp   *upstream
	clock *clocktesting.FakeClock
	ended chan struct{}
	stop  context.CancelFunc
}

// newFixture waits inside a synctest bubble, for a SyncTarget that was not found.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		kcp:   &upstream{err: apierrors.NewNotFound(synctargets, "edge-1")},
		clock: clocktesting.NewFakeClock(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)),
		ended: make(chan struct{}),
	}
	f.Waiter = NewWaiter(Config{
		Upstream: f.kcp, Name: "edge-1", UID: "u-1", Metrics: metrics, Clock: f.clock, Random: func() float64 { return 0.5 },
	}, &Error{Answer: NotFound, Cause: f.kcp.err})
	ctx, cancel := context.WithCancel(t.Context())
	f.stop = cancel
	go func() {
		defer close(f.ended)
		f.Wait(ctx)
	}()
	synctest.Wait()
	return f
}

// pass lets time pass, and what is due happen.
func (f *fixture) pass(d time.Duration) {
	f.clock.Step(d)
	synctest.Wait()
}

func (f *fixture) hasEnded() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}

func TestWaiterAsksEveryFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.stop()
		f.pass(checkInterval - 1)
		if f.kcp.gets != 0 {
			t.Errorf("%d requests within the first five minutes", f.kcp.gets)
		}
		f.pass(1)
		for range 11 {
			f.pass(checkInterval)
		}
		if f.kcp.gets != 12 || f.hasEnded() {
			t.Errorf("%d requests within an hour, ended: %t", f.kcp.gets, f.hasEnded())
		}
		if got := testutil.ToFloat64(f.Metrics.orphaned); got != 1 {
			t.Errorf("synctarget_syncer_orphaned = %v", got)
		}
	})
}

func TestWaiterEnds(t *testing.T) {
	cases := map[string]struct {
		reason string
		uid    types.UID
		err    error
		ends   bool
		says   Answer
	}{
		"Exists":       {reason: "It was restored from a backup, or the token is valid again.", uid: "u-1", ends: true, says: NotFound},
		"Recreated":    {reason: "The successor of the same name is another syncer's.", uid: "u-2", says: Recreated},
		"NotFound":     {reason: "", err: apierrors.NewNotFound(synctargets, "edge-1"), says: NotFound},
		"Unauthorized": {reason: "The reason is the last one.", err: apierrors.NewUnauthorized("no"), says: Unauthorized},
		"Forbidden":    {reason: "It is not known whether it exists.", err: apierrors.NewForbidden(synctargets, "edge-1", errors.New("no")), says: NotFound},
		"Unreachable":  {reason: "Silence says nothing.", err: errors.New("connection refused"), says: NotFound},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				defer f.stop()
				f.kcp.uid, f.kcp.err = tc.uid, tc.err
				f.pass(checkInterval)
				if f.kcp.gets != 1 || f.hasEnded() != tc.ends {
					t.Errorf("\n%s\n%d requests, ended: %t", tc.reason, f.kcp.gets, f.hasEnded())
				}
				if got := f.SyncTargetExists(nil); got == nil || !strings.Contains(got.Error(), tc.says.meaning()) {
					t.Errorf("\n%s\nSyncTargetExists(): got %v", tc.reason, got)
				}
				if got := testutil.ToFloat64(f.Metrics.orphaned); (got == 0) != tc.ends {
					t.Errorf("\n%s\nsyncer_orphaned = %v", tc.reason, got)
				}
			})
		})
	}
}

func TestWaiterEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.stop()
		synctest.Wait()
		if !f.hasEnded() || f.kcp.gets != 0 || f.clock.HasWaiters() {
			t.Errorf("ended: %t, requests: %d, timers: %t", f.hasEnded(), f.kcp.gets, f.clock.HasWaiters())
		}
	})
}

func TestPause(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: 270 * time.Second, 0.5: 300 * time.Second, 1 - 1.0/(1<<53): 330 * time.Second} {
		w := NewWaiter(Config{Random: func() float64 { return random }}, nil)
		if got := w.pause().Round(time.Microsecond); got != want {
			t.Errorf("pause() with %v: want %s, got %s", random, want, got)
		}
	}
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	if _, err := NewMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := NewMetrics(registry); err == nil {
		t.Error("want an error, not a panic, on registering twice")
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
