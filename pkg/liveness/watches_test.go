package liveness

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// body is a response that is open until it is closed, or has ended.
type body struct{ ended bool }

func (b *body) Read([]byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	return 1, nil
}

func (b *body) Close() error { return nil }

func TestWatches(t *testing.T) {
	const second = "/apis/apps/v1/deployments?watch=1&timeoutSeconds=1"
	for name, c := range map[string]struct {
		url      string
		answer   int
		failure  error
		wait     time.Duration
		close    bool
		ended    bool
		expected string
	}{
		"in time":                        {url: second, wait: time.Second + WatchGrace},
		"too long":                       {url: second, wait: 2*time.Second + WatchGrace, expected: "the watch /apis/apps/v1/deployments should have ended 5m1s ago"},
		"true is a watch too":            {url: "/api/v1/pods?watch=true&timeoutSeconds=60", wait: time.Hour, expected: "/api/v1/pods"},
		"closed":                         {url: second, wait: time.Hour, close: true},
		"ended by the server":            {url: second, wait: time.Hour, ended: true},
		"not a watch":                    {url: "/api/v1/pods?timeoutSeconds=1", wait: time.Hour},
		"without a limit":                {url: "/api/v1/pods?watch=1", wait: time.Hour},
		"refused":                        {url: second, answer: http.StatusForbidden, wait: time.Hour},
		"the server cannot be connected": {url: second, failure: errors.New("connection refused"), wait: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakePassiveClock(time.Now())
			w, sent := NewWatches(clock), &body{}
			transport := w.Wrap(roundTripper(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: max(c.answer, http.StatusOK), Body: sent}, c.failure
			}))
			response, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, c.url, nil))
			if !errors.Is(err, c.failure) {
				t.Fatal(err)
			}
			if c.close {
				_ = response.Body.Close()
			}
			if sent.ended = c.ended; c.ended {
				_, _ = response.Body.Read(make([]byte, 1))
			}
			clock.SetTime(clock.Now().Add(c.wait))
			switch err := w.Check(nil); {
			case c.expected == "" && err != nil, c.expected != "" && (err == nil || !strings.Contains(err.Error(), c.expected)):
				t.Errorf("Check() = %v, expected %q", err, c.expected)
			}
		})
	}
}
