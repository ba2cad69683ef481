package syncer

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/synctarget/synctarget/pkg/syncer/options"
	"github.com/synctarget/synctarget/pkg/syncer/orphan"
)

// timerClock is a fake clock that says which timers are started.
type timerClock struct {
	*clocktesting.FakeClock
	timers chan time.Duration
}

func newTimerClock() *timerClock {
	return &timerClock{clocktesting.NewFakeClock(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)), make(chan time.Duration, 10000)}
}

func (c *timerClock) NewTimer(d time.Duration) clock.Timer {
	timer := c.FakeClock.NewTimer(d)
	c.timers <- d
	return timer
}

// timer waits until a timer is started and returns its duration.
func (c *timerClock) timer(t *testing.T) time.Duration {
	t.Helper()
	select {
	case d := <-c.timers:
		return d
	case <-time.After(patience):
		t.Fatal("want a timer to be started")
		return 0
	}
}

// isCheck tells the timer of an orphaned syncer from those of heartbeats.
func isCheck(d time.Duration) bool { return d >= 270*time.Second && d <= 330*time.Second }

// orphanFixture is a syncer whose time is stepped.
type orphanFixture struct {
	*server
	options *options.Options
	clock   *timerClock
	metrics *prometheus.Registry
	stop    func() error
}

func newOrphanFixture(t *testing.T) *orphanFixture {
	t.Helper()
	f := &orphanFixture{server: newServer(t), clock: newTimerClock(), metrics: prometheus.NewRegistry()}
	f.options = newOptions(t, f.server)
	f.options.HeartbeatInterval = options.DefaultHeartbeatInterval
	f.options.MetricsBindAddress, f.options.MetricsSecure = freeAddress(t), false
	f.stop = startBuild(t, f.options, Build{Version: "v0.1.0", Registerer: f.metrics, Clock: f.clock})
	await(t, f.server, patience)
	return f
}

// awaitOrphaned steps the time from timer to timer until the syncer is orphaned. It returns the time that has passed, and
// the timer of the first check.
func (f *orphanFixture) awaitOrphaned(t *testing.T) (passed, check time.Duration) {
	t.Helper()
	started := f.clock.Now()
	for f.clock.Since(started) < time.Hour {
		d := f.clock.timer(t)
		if isCheck(d) {
			return f.clock.Since(started), d
		}
		f.clock.Step(d)
	}
	t.Fatal("want the syncer to be orphaned within an hour")
	return 0, 0
}

// orphaned is the value of the metric.
func (f *orphanFixture) orphaned(t *testing.T, want string) {
	t.Helper()
	const head = "# HELP synctarget_syncer_orphaned Whether the syncer is orphaned: its SyncTarget does not exist any more, or kcp does not accept its token. " +
		"1 if it is: then it sends one request every five minutes. 0 otherwise.\n# TYPE synctarget_syncer_orphaned gauge\nsynctarget_syncer_orphaned "
	if err := testutil.GatherAndCompare(f.metrics, strings.NewReader(head+want+"\n"), "synctarget_syncer_orphaned"); err != nil {
		t.Error(err)
	}
}

// TestOrphanedSyncerIsQuiet is about the requests that an orphaned syncer sends in an hour, and its return.
func TestOrphanedSyncerIsQuiet(t *testing.T) {
	cases := map[string]struct {
		reason          string
		uid             string
		refusal         int
		atLeast, within time.Duration
	}{
		"Recreated":    {reason: "The second answer confirms it.", uid: "u-2", within: 4 * options.DefaultHeartbeatInterval},
		"Deleted":      {reason: "", uid: "", atLeast: orphan.DefaultThreshold, within: orphan.DefaultThreshold + 4*options.DefaultHeartbeatInterval},
		"TokenRefused": {reason: "", uid: "u-1", refusal: http.StatusUnauthorized, atLeast: orphan.DefaultThreshold, within: orphan.DefaultThreshold + 4*options.DefaultHeartbeatInterval},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newOrphanFixture(t)
			f.orphaned(t, "0")
			f.setTarget(tc.uid, tc.refusal)
			passed, check := f.awaitOrphaned(t)
			if passed < tc.atLeast || passed > tc.within {
				t.Errorf("\n%s\nwant it to be orphaned after %s to %s, it was after %s", tc.reason, tc.atLeast, tc.within, passed)
			}

			f.orphaned(t, "1")
			f.awaitNoRequest(t)
			if holder := f.holder(); holder != "" {
				t.Errorf("want the Lease to be released, it is still held by %q", holder)
			}
			probe(t, f.options, "/healthz", http.StatusOK)
			if body := probe(t, f.options, "/readyz", http.StatusInternalServerError); !strings.Contains(body, "[-]synctarget-exists") {
				t.Errorf("want /readyz to name the check, got %q", body)
			}
			f.scrape(t)

			_, _ = f.counted()
			var hour time.Duration
			for hour < time.Hour {
				f.clock.Step(check)
				hour += check
				check = f.clock.timer(t)
			}
			// A twelfth of an hour each, more or less 10 %.
			if toKcp, toCluster := f.counted(); toKcp < 11 || toKcp > 14 || toCluster != 0 {
				t.Errorf("\n%s\n%d requests to kcp and %d to the physical cluster within %s", tc.reason, toKcp, toCluster, hour)
			}

			f.setTarget("u-1", 0)
			f.clock.Step(check)
			await(t, f.server, patience)
			f.orphaned(t, "0")
			probe(t, f.options, "/readyz", http.StatusOK)
			f.scrape(t)
			if f.holder() == "" {
				t.Error("want the Lease to be held again")
			}
			if err := f.stop(); err != nil {
				t.Errorf("want a clean end, got %v", err)
			}
		})
	}
}

// awaitNoRequest waits until every watch has ended, which has to be soon.
func (f *orphanFixture) awaitNoRequest(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); f.open.Load() != 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests have not ended", f.open.Load())
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// scrape waits until the metrics are served. Their server may begin to listen later than the clock of the test passes.
func (f *orphanFixture) scrape(t *testing.T) {
	t.Helper()
	awaitAnswer(t, "http://"+f.options.MetricsBindAddress+"/metrics", http.StatusOK)
}

// TestOrphanedSyncerStops: at once, and without an error.
func TestOrphanedSyncerStops(t *testing.T) {
	f := newOrphanFixture(t)
	f.setTarget("u-2", 0)
	f.awaitOrphaned(t)
	if err := f.stop(); err != nil {
		t.Errorf("want a clean end, got %v", err)
	}
}

// TestOutageIsNoReason: a kcp that does not answer, or not about the SyncTarget, for an hour.
func TestOutageIsNoReason(t *testing.T) {
	for name, refusal := range map[string]int{"Unavailable": http.StatusServiceUnavailable, "Forbidden": http.StatusForbidden} {
		t.Run(name, func(t *testing.T) {
			f := newOrphanFixture(t)
			f.setTarget("u-1", refusal)
			_, _ = f.counted()
			for started := f.clock.Now(); f.clock.Since(started) < time.Hour; {
				d := f.clock.timer(t)
				if isCheck(d) {
					t.Fatalf("orphaned after %s", f.clock.Since(started))
				}
				f.clock.Step(d)
			}
			if toKcp, _ := f.counted(); toKcp < 150 {
				t.Errorf("%d requests to kcp", toKcp)
			}
			f.orphaned(t, "0")
			if f.holder() == "" {
				t.Error("want the Lease to be held")
			}
			f.setTarget("u-1", 0)
			f.clock.Step(options.DefaultHeartbeatInterval)
			await(t, f.server, patience)
			if err := f.stop(); err != nil {
				t.Errorf("want a clean end, got %v", err)
			}
		})
	}
}
