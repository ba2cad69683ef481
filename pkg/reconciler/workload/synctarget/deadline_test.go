package synctarget

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/synctarget/synctarget/pkg/agent"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// gaveUp are the Events that say what a deletion has left.
func (w *world) gaveUp() []string {
	return slices.DeleteFunc(slices.Clone(w.events.events), func(e string) bool { return !strings.Contains(e, " Abandoned: ") })
}

// TestNotGivenUpUntried: a controller that was down or busy until after the deadline tries each step before it gives it up.
func TestNotGivenUpUntried(t *testing.T) {
	t.Run("the first contact is under way", func(t *testing.T) {
		w := deleted(t)
		w.clock.Step(2 * deadline)
		w.restart()
		w.clusters.err = pcluster.ErrConnecting
		for range 3 {
			w.pass()
			w.clock.Step(time.Second)
		}
		if got := w.gaveUp(); w.gone() || len(got) != 0 {
			t.Fatalf("gone = %t, Events: %q", w.gone(), got)
		}
		w.clusters.err = nil
		w.finish()
		if got := w.gaveUp(); len(got) != 0 {
			t.Errorf("Events: %q", got)
		}
		w.clean("after the first contact")
	})
	t.Run("the cluster cannot be reached", func(t *testing.T) {
		w := deleted(t)
		w.clock.Step(2 * deadline)
		w.restart()
		w.clusters.err = pcluster.ErrConnecting
		w.pass()
		w.clusters.err = pcluster.ErrUnreachable
		w.finish()
		if got := w.gaveUp(); len(got) != 1 {
			t.Errorf("Events: %q", got)
		}
	})
	t.Run("what is under way", func(t *testing.T) {
		w := deleted(t)
		w.there.slowNamespaces = true
		w.clock.Step(2 * deadline)
		w.restart()
		w.pass()
		w.clock.Step(settling - time.Second)
		if w.pass(); w.gone() {
			t.Fatal("let go although the deletion in the physical cluster has only just begun")
		}
		w.clock.Step(time.Second)
		w.finish()
		if got := w.gaveUp(); len(got) != 1 {
			t.Errorf("Events: %q", got)
		}
	})
	t.Run("kcp does not answer", func(t *testing.T) {
		w := deleted(t)
		w.clock.Step(2 * deadline)
		w.restart()
		w.kcp.refuse = func(request string) error {
			if strings.HasPrefix(request, "delete ServiceAccount") {
				return apierrors.NewServiceUnavailable("not now")
			}
			return nil
		}
		w.pass()
		w.pass()
		w.clock.Step(settling - time.Second)
		if w.pass(); w.gone() {
			t.Fatal("let go although kcp has only just been asked")
		}
		w.clock.Step(2 * time.Second)
		w.finish()
		if got := w.gaveUp(); len(got) != 1 {
			t.Errorf("Events: %q", got)
		}
	})
}

// TestDeadlineByOurClock: the clock of kcp decides nothing that this process has seen itself.
func TestDeadlineByOurClock(t *testing.T) {
	for name, skew := range map[string]time.Duration{"kcp is behind": time.Hour, "kcp is ahead": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := usual(t)
			w.ready()
			w.delete()
			w.clock.Step(skew)
			w.clusters.err = pcluster.ErrUnreachable
			w.settle()
			if w.gone() {
				t.Fatal("let go at once")
			}
			w.clock.Step(deadline - time.Second)
			if w.pass(); w.gone() {
				t.Fatal("let go too early")
			}
			w.clock.Step(time.Second)
			if w.pass(); !w.gone() {
				t.Error("not let go at the deadline")
			}
		})
	}
}

// TestLongQueue: the time that a SyncTarget spends in the queue is no attempt, however long it is; then the step is done.
func TestLongQueue(t *testing.T) {
	w := open(t)
	var stripped []string
	w.r.stripWith = func(_ context.Context, _ agent.Config, _ *rest.Config, namespace string) error {
		stripped = append(stripped, namespace)
		return nil
	}
	w.delete()
	w.pass()
	w.clock.Step(deadline + settling)
	w.finish()
	if got := w.gaveUp(); len(got) != 0 || !slices.Equal(stripped, []string{"shop"}) {
		t.Errorf("Events: %q, stripped %q", got, stripped)
	}
}

// TestGivesUp is every rule about giving a step up.
func TestGivesUp(t *testing.T) {
	late, abandoned := deletion{elapsed: deadline, letGo: true}, deletion{letGo: true, abandoned: true}
	tests := map[string]struct {
		reason   string
		deletion deletion
		attempt  attempt
		want     bool
	}{
		"in time, failed":           {"It is tried again.", deletion{}, attempt{outcome: failed}, false},
		"in time, under way":        {"It is waited for.", deletion{}, attempt{outcome: underWay, waited: settling}, false},
		"late, failed":              {"It was tried past the deadline.", late, attempt{outcome: failed}, true},
		"late, not tried":           {"It may yet be done.", late, attempt{outcome: notTried, waited: deadline, waitedLate: deadline}, false},
		"late, not tried this time": {"It was given up before.", late, attempt{outcome: notTried, again: true}, true},
		"late, no answer":           {"kcp may answer the next request.", late, attempt{outcome: noAnswer, waited: deadline}, false},
		"late, never an answer":     {"Every deletion ends.", late, attempt{outcome: noAnswer, waitedLate: settling}, true},
		"late, just begun":          {"What was accepted is about to be done.", late, attempt{outcome: underWay, waited: settling - 1}, false},
		"late, long under way":      {"It had its time before the deadline.", late, attempt{outcome: underWay, waited: settling}, true},
		"late, gets on":             {"It says itself how long.", late, attempt{outcome: mustWait, waitedLate: deadline}, false},
		"abandoned, failed":         {"The user does not wait.", abandoned, attempt{outcome: failed}, true},
		"abandoned, not tried":      {"The attempt is bounded.", abandoned, attempt{outcome: notTried}, false},
		"abandoned, under way":      {"The user does not wait.", abandoned, attempt{outcome: underWay}, true},
		"abandoned, settles":        {"It comes to pass by itself.", abandoned, attempt{outcome: underWay, settles: true}, false},
		"abandoned, hangs":          {"It should have come to pass.", abandoned, attempt{outcome: underWay, settles: true, waited: settling}, true},
		"abandoned, no answer":      {"kcp may answer the next request.", abandoned, attempt{outcome: noAnswer}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.deletion.givesUp(tc.attempt); got != tc.want {
				t.Errorf("givesUp() = %t, want %t: %s", got, tc.want, tc.reason)
			}
		})
	}
}

func TestDeletionStart(t *testing.T) {
	seen := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		timestamp time.Time
		seenAlive bool
		want      time.Time
	}{
		"seen by this process":           {seen.Add(-time.Hour), true, seen},
		"a process that has begun since": {seen.Add(-time.Hour), false, seen.Add(-time.Hour)},
		"a timestamp in the future":      {seen.Add(time.Hour), false, seen},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := deletionStart(tc.timestamp, seen, tc.seenAlive); !got.Equal(tc.want) {
				t.Errorf("deletionStart() = %s, want %s", got, tc.want)
			}
		})
	}
}
