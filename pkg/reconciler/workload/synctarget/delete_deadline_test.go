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

// abandonedSteps are the Events that say what a deletion has left.
func (w *world) abandonedSteps() []string {
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
		if got := w.abandonedSteps(); w.gone() || len(got) != 0 {
			t.Fatalf("gone = %t, Events: %q", w.gone(), got)
		}
		w.clusters.err = nil
		w.finish()
		if got := w.abandonedSteps(); len(got) != 0 {
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
		if got := w.abandonedSteps(); len(got) != 1 {
			t.Errorf("Events: %q", got)
		}
	})
	t.Run("what is under way", func(t *testing.T) {
		w := deleted(t)
		w.there.slowNamespaces = true
		w.clock.Step(2 * deadline)
		w.restart()
		w.pass()
		w.clock.Step(completionTime - time.Second)
		if w.pass(); w.gone() {
			t.Fatal("let go although the deletion in the physical cluster has only just begun")
		}
		w.clock.Step(time.Second)
		w.finish()
		if got := w.abandonedSteps(); len(got) != 1 {
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
		w.clock.Step(completionTime - time.Second)
		if w.pass(); w.gone() {
			t.Fatal("let go although kcp has only just been asked")
		}
		w.clock.Step(2 * time.Second)
		w.finish()
		if got := w.abandonedSteps(); len(got) != 1 {
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
	w.clock.Step(deadline + completionTime)
	w.finish()
	if got := w.abandonedSteps(); len(got) != 0 || !slices.Equal(stripped, []string{"shop"}) {
		t.Errorf("Events: %q, stripped %q", got, stripped)
	}
}

// TestAbandonsStep is every rule about abandoning a step.
func TestAbandonsStep(t *testing.T) {
	late, abandoned := deletion{urgency: pastDeadline}, deletion{urgency: abandonedByUser}
	tests := map[string]struct {
		reason   string
		deletion deletion
		attempt  attempt
		want     bool
	}{
		"in time, failed":           {"It is tried again.", deletion{}, attempt{progress: failed}, false},
		"in time, under way":        {"It is waited for.", deletion{}, attempt{progress: inProgress, sinceFirst: completionTime}, false},
		"late, failed":              {"It was tried past the deadline.", late, attempt{progress: failed}, true},
		"late, not tried":           {"It may yet be done.", late, attempt{progress: notAttempted, sinceFirst: deadline, sinceForced: deadline}, false},
		"late, not tried this time": {"It was given up before.", late, attempt{progress: notAttempted, abandonedBefore: true}, true},
		"late, no answer":           {"kcp may answer the next request.", late, attempt{progress: noAnswer, sinceFirst: deadline}, false},
		"late, never an answer":     {"Every deletion ends.", late, attempt{progress: noAnswer, sinceForced: completionTime}, true},
		"late, just begun":          {"What was accepted is about to be done.", late, attempt{progress: inProgress, sinceFirst: completionTime - 1}, false},
		"late, long under way":      {"It had its time before the deadline.", late, attempt{progress: inProgress, sinceFirst: completionTime}, true},
		"late, gets on":             {"It says itself how long.", late, attempt{progress: mustWait, sinceForced: deadline}, false},
		"abandoned, failed":         {"The user does not wait.", abandoned, attempt{progress: failed}, true},
		"abandoned, not tried":      {"The attempt is bounded.", abandoned, attempt{progress: notAttempted}, false},
		"abandoned, under way":      {"The user does not wait.", abandoned, attempt{progress: inProgress}, true},
		"abandoned, completing":     {"It comes to pass by itself.", abandoned, attempt{progress: completing}, false},
		"abandoned, hangs":          {"It should have come to pass.", abandoned, attempt{progress: completing, sinceFirst: completionTime}, true},
		"abandoned, no answer":      {"kcp may answer the next request.", abandoned, attempt{progress: noAnswer}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.deletion.abandonsStep(tc.attempt); got != tc.want {
				t.Errorf("abandonsStep() = %t, want %t: %s", got, tc.want, tc.reason)
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

func TestUrgency(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		reason      string
		elapsed     time.Duration
		isAbandoned bool
		want        urgency
	}{
		"young":              {"", 0, false, beforeDeadline},
		"at the deadline":    {"The deadline is the last moment.", deadline, false, pastDeadline},
		"abandoned":          {"The user does not wait.", 0, true, abandonedByUser},
		"late and abandoned": {"The annotation asks for more than the deadline.", deadline, true, abandonedByUser},
	} {
		t.Run(name, func(t *testing.T) {
			if got := newDeletion(start, deadline, start.Add(tc.elapsed), tc.isAbandoned).urgency; got != tc.want {
				t.Errorf("urgency = %d, want %d: %s", got, tc.want, tc.reason)
			}
		})
	}
}

func TestNextAttempt(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		reason        string
		elapsed, want time.Duration
		attempt       attempt
	}{
		"young":                   {"", 40 * time.Second, 10 * time.Second, attempt{}},
		"before the deadline":     {"It is abandoned at the deadline, not later.", deadline - 10*time.Second, 10 * time.Second, attempt{}},
		"past it, just tried":     {"", deadline, time.Minute, attempt{progress: inProgress}},
		"past it, about complete": {"It is abandoned when it has had its time.", deadline, 5 * time.Second, attempt{progress: inProgress, sinceFirst: completionTime - 5*time.Second}},
		"past it, long tried":     {"A pass is never at once.", deadline, time.Second, attempt{progress: noAnswer, sinceFirst: deadline}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := newDeletion(start, deadline, start.Add(tc.elapsed), false).nextAttempt(tc.attempt); got != tc.want {
				t.Errorf("nextAttempt() = %s, want %s: %s", got, tc.want, tc.reason)
			}
		})
	}
}

func TestHasTime(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		reason string
		tried  time.Duration // after the start; -1 for not yet
		now    time.Duration
		want   bool
	}{
		"not tried":               {"Nothing is abandoned untried.", -1, 2 * deadline, true},
		"before the deadline":     {"", time.Minute, deadline - 1, true},
		"just past it":            {"What is under way completes.", time.Minute, deadline + completionTime - 1, true},
		"long past it":            {"Every deletion ends.", time.Minute, deadline + completionTime, false},
		"first tried past it":     {"The time counts from then.", 2 * deadline, 2*deadline + completionTime - 1, true},
		"tried past it, long ago": {"Every deletion ends.", 2 * deadline, 2*deadline + completionTime, false},
	} {
		t.Run(name, func(t *testing.T) {
			var tried time.Time
			if tc.tried >= 0 {
				tried = start.Add(tc.tried)
			}
			now := start.Add(tc.now)
			if got := newDeletion(start, deadline, now, false).hasTime(tried, now); got != tc.want {
				t.Errorf("hasTime() = %t, want %t: %s", got, tc.want, tc.reason)
			}
		})
	}
}
