package pcluster

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clocktesting "k8s.io/utils/clock/testing"
)

// TestRevokedWhileWatching: an API server authenticates a watch when it begins, and lets it go on when the token is revoked.
// That the credentials are no longer accepted is told nevertheless.
func TestRevokedWhileWatching(t *testing.T) {
	s := newStory(t, false)
	s.answer(refuse(http.StatusUnauthorized, "Unauthorized", "")) // the watch goes on
	if after := s.stepUntil(t, "OnChange", func() bool { return len(s.changes) > 0 }); after > 30*time.Second {
		t.Errorf("told after %s", after)
	}
	if _, err := s.clusters.Get(context.Background(), testID("a"), s.kubeconfig("t")); !apierrors.IsUnauthorized(err) {
		t.Errorf("Get() = %v, want Unauthorized", err)
	}
}

// TestCheckOfCredentials: a cluster that accepts the credentials, or does not say, is asked again and again, and nothing is told.
func TestCheckOfCredentials(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"accepted":    nil,
		"unavailable": refuse(http.StatusServiceUnavailable, "ServiceUnavailable", ""),
		"forbidden":   refuse(http.StatusForbidden, "Forbidden", ""),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t, false)
			s.answer(answer)
			for range 3 {
				before := s.requestCount()
				if after := s.stepUntil(t, "a check", func() bool { return s.requestCount() > before }); after < checkInterval/2 {
					t.Errorf("checked after %s", after)
				}
				s.clock.Step(time.Second) // the answer arrives meanwhile
			}
			if len(s.changes) != 0 {
				t.Error("OnChange was called though nothing changed")
			}
			s.clusters.Forget(testID("a"))
			before := s.requestCount()
			s.clock.Step(time.Hour)
			if got := s.requestCount(); got != before {
				t.Errorf("%d more requests to a cluster that is forgotten", got-before)
			}
		})
	}
}

// TestChecksAreBounded: with many clusters each is checked more rarely.
func TestChecksAreBounded(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	clusters := New(Options{Clock: clock})
	const n = 10_000
	var last time.Duration
	for range n {
		last = max(last, clusters.untilCheck())
	}
	if want := n / checksPerSecond * time.Second; last < want*4/5 || last > want*6/5 {
		t.Errorf("the last of %d clusters is checked after %s, want about %s", n, last, want)
	}
	clock.Step(time.Hour)
	if got := clusters.untilCheck(); got < checkInterval || got > checkInterval*6/5 {
		t.Errorf("a single cluster is checked after %s", got)
	}
}

// onlyToken serves one token alone and counts the requests with others.
func onlyToken(token string, others *atomic.Int32) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			others.Add(1)
			refuse(http.StatusUnauthorized, "Unauthorized", "")(w, r)
			return
		}
		healthy(w, r)
	}
}
