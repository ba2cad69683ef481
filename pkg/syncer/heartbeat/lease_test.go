package heartbeat

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/orphan"
)

// newLeaseFixture is a leader that has a Lease.
func newLeaseFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.lease.err = nil
	return f
}

func (f *fixture) renewal() string {
	return string(leasePatch("u-1", f.clock.Now(), "c-1", "syncer-abc", 3*interval))
}

func (f *fixture) report(change ...func(*workloadv1alpha1.SyncerStatus)) string {
	return string(syncerPatch("u-1", f.syncer(change...)))
}

// requests are what one attempt sends, by what it is sent to.
type requests struct {
	Lease, Status []string
	Gets          int
}

// take returns what was sent since it was last called.
func (f *fixture) take() requests {
	sent := requests{f.lease.patches, f.kcp.patches, f.kcp.gets}
	f.lease.patches, f.kcp.patches, f.kcp.gets = nil, nil, 0
	return sent
}

func TestAttemptRenewsTheLease(t *testing.T) {
	f := newLeaseFixture(t)
	renewal := func() requests { return requests{Lease: []string{f.renewal()}} }
	steps := []struct {
		reason string
		change func()
		want   func() requests
	}{
		{
			"The first attempt says everything.", func() {},
			func() requests { return requests{Lease: []string{f.renewal()}, Status: []string{f.report()}} },
		},
		{"A heartbeat is one request.", func() {}, renewal},
		{
			"A node that comes is reported once.", func() { f.cluster.nodes = append(f.cluster.nodes, node(corev1.ConditionTrue, "4", "8Gi")) },
			func() requests {
				return requests{Lease: []string{f.renewal()}, Status: []string{f.report(func(s *workloadv1alpha1.SyncerStatus) {
					s.Nodes = 2
					s.Capacity, s.Allocatable = sum(f.cluster.nodes).capacity, sum(f.cluster.nodes).allocatable
				})}}
			},
		},
		{"And then it is nothing new.", func() {}, renewal},
		{
			"A report that kcp did not get is sent again.", func() {
				f.cluster.nodes = f.cluster.nodes[:1]
				f.kcp.errs = []error{errDown}
			},
			func() requests { return requests{Lease: []string{f.renewal()}, Status: []string{f.report()}} },
		},
		{
			"With the next attempt.", func() {},
			func() requests { return requests{Lease: []string{f.renewal()}, Status: []string{f.report()}} },
		},
		{
			"From time to time the SyncTarget is read, for a Lease does not prove that there is one. It shows our report.", func() {
				f.clock.Step(confirmInterval)
				f.kcp.target.Status.Syncer = new(f.syncer())
			},
			func() requests { return requests{Lease: []string{f.renewal()}, Gets: 1} },
		},
		{"And not again so soon.", func() {}, renewal},
		{
			"The report of another syncer is replaced.", func() {
				f.clock.Step(confirmInterval)
				f.kcp.target.Status.Syncer.ClusterID = "c-2"
			},
			func() requests { return requests{Lease: []string{f.renewal()}, Status: []string{f.report()}, Gets: 1} },
		},
	}
	for _, step := range steps {
		f.clock.Step(interval)
		step.change()
		_, _ = f.attempt(t.Context())
		if diff := cmp.Diff(step.want(), f.take()); diff != "" {
			t.Fatalf("%s\n-want, +got:\n%s", step.reason, diff)
		}
	}
}

// TestAttemptWithoutLease: what the Lease answers, and where the heartbeat goes then.
func TestAttemptWithoutLease(t *testing.T) {
	cases := map[string]struct {
		reason string
		err    error
		// falls: the heartbeat is written to the SyncTarget in the same attempt.
		falls bool
		state string
	}{
		"NotFound":     {"A controller of an earlier version makes no Lease.", leaseStatus(http.StatusNotFound), true, "accepted"},
		"Forbidden":    {"The permission claim is not accepted any more.", leaseStatus(http.StatusForbidden), true, "accepted"},
		"Invalid":      {"It is the Lease of an earlier SyncTarget of this name.", leaseStatus(http.StatusUnprocessableEntity), true, "accepted"},
		"Unauthorized": {"The SyncTarget would refuse the token, too.", leaseStatus(http.StatusUnauthorized), false, "unauthorized"},
		"Unavailable":  {"It may have been renewed.", leaseStatus(http.StatusServiceUnavailable), false, "unreachable"},
		"Unreachable":  {"", errDown, false, "unreachable"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newLeaseFixture(t)
			_, _ = f.attempt(t.Context())
			f.take()
			f.lease.err = tc.err
			f.clock.Step(interval)
			_, _ = f.attempt(t.Context())
			want := requests{Lease: []string{f.renewal()}}
			if tc.falls {
				want.Status = []string{f.heartbeat()}
			}
			if diff := cmp.Diff(want, f.take()); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
			if f.state != tc.state {
				t.Errorf("%s\nstate %q, want %q", tc.reason, f.state, tc.state)
			}
		})
	}
}

// TestLeaseIsTriedAgain: soon at first, then every ten minutes, and after each outage of kcp.
func TestLeaseIsTriedAgain(t *testing.T) {
	f := newFixture(t)
	start := f.clock.Now()
	var tried []time.Duration
	attempt := func() {
		_, _ = f.attempt(t.Context())
		if sent := f.take(); len(sent.Lease) > 0 {
			tried = append(tried, f.clock.Now().Sub(start).Round(time.Second))
		} else if len(sent.Status) == 0 {
			t.Errorf("nothing was sent after %s", f.clock.Now().Sub(start))
		}
		f.clock.Step(interval)
	}
	for f.clock.Now().Sub(start) < 32*time.Minute {
		attempt()
	}
	want := []time.Duration{0, 40 * time.Second, 2 * time.Minute, 280 * time.Second, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute}
	if diff := cmp.Diff(want, tried); diff != "" {
		t.Errorf("tried: -want, +got:\n%s", diff)
	}

	f.kcp.errs, tried = []error{errDown}, nil
	attempt()
	attempt()
	if len(tried) != 1 {
		t.Errorf("tried %s after an outage of kcp, want the next attempt", tried)
	}
	f.lease.err = nil
	f.clock.Step(leaseRetryMax + leaseRetryMax/10)
	attempt()
	if diff := cmp.Diff(requests{Lease: []string{f.renewal()}}, func() requests { _, _ = f.attempt(t.Context()); return f.take() }()); diff != "" {
		t.Errorf("with a Lease: -want, +got:\n%s", diff)
	}
}

// TestOrphanWithLease: the Lease alone never makes a syncer orphaned, and does not hide that it is.
func TestOrphanWithLease(t *testing.T) {
	const never = 0
	cases := map[string]struct {
		reason string
		change func(*fixture)
		// within is when Start returns, at the latest.
		within time.Duration
		answer orphan.Answer
	}{
		"NoLease":   {"", func(f *fixture) { f.lease.err = leaseStatus(http.StatusNotFound) }, never, orphan.Unknown},
		"Forbidden": {"", func(f *fixture) { f.lease.err = leaseStatus(http.StatusForbidden) }, never, orphan.Unknown},
		"NoLeaseNoSyncTarget": {"The SyncTarget decides.", func(f *fixture) {
			f.lease.err = leaseStatus(http.StatusNotFound)
			f.kcp.always, f.kcp.getErr = status(http.StatusNotFound), status(http.StatusNotFound)
		}, orphan.DefaultThreshold + 2*interval, orphan.NotFound},
		"NoSyncTarget": {"A Lease that was left behind hides nothing for long.", func(f *fixture) {
			f.kcp.always, f.kcp.getErr = status(http.StatusNotFound), status(http.StatusNotFound)
		}, confirmInterval + orphan.DefaultThreshold + 2*interval, orphan.NotFound},
		"Recreated": {"", func(f *fixture) {
			f.lease.err = leaseStatus(http.StatusUnprocessableEntity)
			f.kcp.always, f.kcp.target = status(http.StatusUnprocessableEntity), target("u-2")
		}, 2 * interval, orphan.Recreated},
		"Unauthorized": {"", func(f *fixture) {
			f.lease.err, f.kcp.getErr = leaseStatus(http.StatusUnauthorized), status(http.StatusUnauthorized)
		}, orphan.DefaultThreshold + 2*interval, orphan.Unauthorized},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newLeaseFixture(t)
				f.kcp.target.Status.Syncer = new(f.syncer())
				if _, err := f.attempt(t.Context()); err != nil {
					t.Fatal(err)
				}
				tc.change(f)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan error, 1)
				go func() { ended <- f.Start(ctx) }()
				var took time.Duration
				for took < time.Hour && len(ended) == 0 {
					synctest.Wait()
					f.clock.Step(time.Second)
					took += time.Second
				}
				if tc.within == never {
					if len(ended) != 0 {
						t.Fatalf("%s\nStart() returned %v after %s", tc.reason, <-ended, took)
					}
					return
				}
				var orphaned *orphan.Error
				if err := <-ended; !errors.As(err, &orphaned) || orphaned.Answer != tc.answer || took > tc.within {
					t.Errorf("%s\nStart() returned %v after %s", tc.reason, err, took)
				}
			})
		})
	}
}

// TestOldRefusalDoesNotCount: a refusal of the token that a renewed Lease has disproved is not added to a later one.
func TestOldRefusalDoesNotCount(t *testing.T) {
	f := newLeaseFixture(t)
	f.kcp.target.Status.Syncer = new(f.syncer())
	attempt := func(answer error) {
		t.Helper()
		f.lease.err = answer
		if _, err := f.attempt(t.Context()); err != nil {
			t.Fatalf("attempt() = %v", err)
		}
		f.clock.Step(orphan.DefaultThreshold / 2)
	}
	attempt(nil)
	for range 5 {
		attempt(leaseStatus(http.StatusUnauthorized))
		attempt(nil)
	}
}
