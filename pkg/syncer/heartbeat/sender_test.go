package heartbeat

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// run starts the Sender inside a synctest bubble and returns a function that stops it and waits for its end.
func (f *fixture) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Start(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		synctest.Wait()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("want a clean end, got %v", err)
			}
		default:
			t.Error("want the Sender to end with its context")
		}
	}
}

// pass lets time pass, and what is due happen.
func (f *fixture) pass(d time.Duration) {
	f.clock.Step(d)
	synctest.Wait()
}

func TestStart(t *testing.T) {
	type step struct {
		reason string
		do     func(*fixture)
		want   int
	}
	pass := func(d time.Duration) func(*fixture) { return func(f *fixture) { f.pass(d) } }
	elect := func(f *fixture) { close(f.elected); synctest.Wait() }
	cases := map[string][]step{
		"Leader": {
			{reason: "it is elected", do: elect, want: 1},
			{reason: "the interval is not over", do: pass(interval - 1), want: 1},
			{reason: "the interval is over", do: pass(1), want: 2},
			{reason: "the next interval is over", do: pass(interval), want: 3},
		},
		"Standby": {
			{reason: "nobody elects it", do: pass(interval), want: 0},
			{reason: "nobody elects it for long", do: pass(100 * interval), want: 0},
			{reason: "the leader left in the middle of its interval", do: func(f *fixture) { f.pass(interval / 2); elect(f) }, want: 1},
			{reason: "its own interval begins there", do: pass(interval - 1), want: 1},
			{reason: "its own interval is over", do: pass(1), want: 2},
		},
		"OwnClusterComesBack": {
			{reason: "its cluster is away", do: func(f *fixture) { f.cluster.idErr = errDown; elect(f) }, want: 0},
			{reason: "its cluster is still away", do: pass(time.Second), want: 0},
			{reason: "its cluster is back", do: func(f *fixture) { f.cluster.idErr = nil; f.pass(interval) }, want: 1},
			{reason: "its cluster goes away again", do: func(f *fixture) { f.cluster.idErr = errDown; f.pass(interval) }, want: 1},
		},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newStandby(t)
				defer f.run(t)()
				for _, s := range steps {
					s.do(f)
					if got := len(f.kcp.patches); got != s.want {
						t.Fatalf("after %s: want %d heartbeats so far, got %d", s.reason, s.want, got)
					}
				}
			})
		})
	}
}

func TestStartSendsAtOnceIfElected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		stop := f.run(t)
		if got := len(f.kcp.patches); got == 0 {
			t.Error("want a heartbeat before any time has passed")
		}
		before := len(f.kcp.patches)
		stop()
		f.pass(100 * interval)
		if got := len(f.kcp.patches); got != before {
			t.Errorf("want silence after the end, got %d more heartbeats", got-before)
		}
		if f.clock.HasWaiters() {
			t.Error("want no timer left behind")
		}
	})
}
