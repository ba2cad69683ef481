package pcluster

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// What happens while no watch is there is noticed when it is back, and nothing else is told.
func TestWatchComesBack(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(*story)
		tells     bool
	}{
		"nothing":  {func(*story) {}, false},
		"modified": {func(s *story) { s.modify() }, true},
		"deleted":  {func(s *story) { s.remove() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, false)
			before := s.attempts()
			s.set(func() { s.refusal = refuse(http.StatusInternalServerError, "InternalError", "") })
			s.cutWatches()
			s.stepUntil(t, "a look in vain", func() bool { return s.attempts() > before })
			s.set(func() { s.refusal = nil })
			test.meanwhile(s)
			s.stepUntil(t, "the watch", func() bool { return s.watchCount() == 2 })
			if test.tells {
				s.told(t, "the change")
			} else if len(s.changes) != 0 {
				t.Error("OnChange was called though nothing changed")
			}
		})
	}
}

// A server that ends every watch at once is asked ever more rarely.
func TestWatchBacksOff(t *testing.T) {
	s := newStory(t, false)
	var pauses []time.Duration
	for i := range 8 {
		s.cutWatches()
		pauses = append(pauses, s.stepUntil(t, "the watch", func() bool { return s.watchCount() == i+2 }))
	}
	// The steps of the test are coarse, and the clock may run on while the server answers.
	if pauses[0] < time.Second || pauses[3] < 8*time.Second || pauses[7] < 50*time.Second {
		t.Errorf("pauses of %v", pauses)
	}
	s.modify()
	s.told(t, "an event") // so the watch holds on our side, too
	s.clock.Step(settledAfter)
	s.cutWatches()
	if pause := s.stepUntil(t, "the watch", func() bool { return s.watchCount() == 10 }); pause > 10*time.Second {
		t.Errorf("a watch that held came back after %s", pause)
	}
}

// A watch that cannot come back for 30 s means that the cluster is dead; a probe finds it alive again, the pass that
// follows calls Watch, and what happened meanwhile is noticed.
func TestWatchLost(t *testing.T) {
	s := newStory(t, false)
	s.set(func() { s.refusal = refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "") })
	s.answer(refuse(http.StatusServiceUnavailable, "ServiceUnavailable", ""))
	s.cutWatches()
	lost := s.stepUntil(t, "the loss", func() bool { return len(s.changes) > 0 })
	<-s.changes
	if lost < lostAfter || lost > 2*lostAfter {
		t.Errorf("it was lost after %s", lost)
	}
	if _, err := s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t")); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("Get() = %v, want ErrUnreachable", err)
	}
	watchIt(t, s.cluster) // of a dead cluster: nothing

	s.set(func() { s.refusal = nil })
	s.answer(except(s.serve))
	s.remove()
	s.stepUntil(t, "the recovery", func() bool { return len(s.changes) > 0 })
	<-s.changes
	cluster, err := s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t"))
	if err != nil {
		t.Fatal(err)
	}
	watchIt(t, cluster)
	s.told(t, "what happened meanwhile")
}

// Credentials that are no longer accepted need no 30 s.
func TestWatchUnauthorized(t *testing.T) {
	s := newStory(t, false)
	s.set(func() { s.refusal = refuse(http.StatusUnauthorized, "Unauthorized", "") })
	s.cutWatches()
	if after := s.stepUntil(t, "OnChange", func() bool { return len(s.changes) > 0 }); after > 5*time.Second {
		t.Errorf("told after %s", after)
	}
	if _, err := s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t")); !apierrors.IsUnauthorized(err) {
		t.Errorf("Get() = %v, want Unauthorized", err)
	}
}

// The 30 s begin anew after every answer, even a failure.
func TestWatchLostTwice(t *testing.T) {
	s := newStory(t, false)
	attempts := func(n int, refusal http.HandlerFunc) time.Duration {
		s.set(func() { s.refusal = refusal })
		before := s.attempts()
		return s.stepUntil(t, "attempts", func() bool { return s.attempts() >= before+n })
	}
	s.cutWatches()
	attempts(1, refuse(http.StatusServiceUnavailable, "ServiceUnavailable", ""))
	if took := attempts(6, refuse(http.StatusInternalServerError, "InternalError", "")); took < lostAfter {
		t.Fatalf("the attempts took only %s", took)
	}
	attempts(1, refuse(http.StatusServiceUnavailable, "ServiceUnavailable", ""))
	s.set(func() { s.refusal = nil })
	s.stepUntil(t, "the watch", func() bool { return s.watchCount() == 2 })
	if len(s.changes) != 0 {
		t.Error("OnChange was called though nothing changed")
	}
}

// Streams that are hostile: the watch ends, and is made again no sooner than any other.
func TestWatchHostileStreams(t *testing.T) {
	for name, body := range map[string]func(http.ResponseWriter, *http.Request){
		"endless event": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"type":"MODIFIED","object":{"x":"`))
			for chunk := []byte(strings.Repeat("x", 1<<16)); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"not JSON":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"error event": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"type":"ERROR","object":{}}`)) },
		"unknown event": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"99"}}}`))
		},
		"nothing": func(http.ResponseWriter, *http.Request) {},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, false)
			streams := make(chan struct{}, 100)
			s.answer(except(func(w http.ResponseWriter, r *http.Request) {
				if !r.URL.Query().Has("watch") {
					s.serve(w, r)
					return
				}
				streams <- struct{}{}
				w.Header().Set("Content-Type", "application/json")
				body(w, r)
			}))
			s.cutWatches()
			s.stepUntil(t, "three streams", func() bool { return len(streams) >= 3 })
			if len(s.changes) != 0 {
				t.Error("OnChange was called though nothing changed")
			}
		})
	}
}

// A watch ends with its cluster and leaves no goroutine.
func TestWatchEnds(t *testing.T) {
	for name, end := range map[string]func(*story){
		"forgotten": func(s *story) { s.clusters.Forget(testID("a")) },
		"replaced": func(s *story) {
			_, _ = s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("new"))
			s.clusters.Forget(testID("a"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, true)
			await(t, "the first look", s.changes) // its goroutine now waits for the interval
			if got := goroutines("pcluster.(*watcher)"); got == 0 {
				t.Fatal("the watch has no goroutine: this test looks for the wrong thing")
			}
			end(s)
			eventually(t, "the goroutines to end", func() bool { return goroutines("pcluster.(*watcher)") == 0 })
			eventually(t, "the connections to close", func() bool { return s.openConns() == 0 })
			if len(s.changes) != 0 {
				t.Error("OnChange was called for the end")
			}
		})
	}
}
