package heartbeat

import (
	"math/rand/v2"
	"testing"
	"time"
)

const (
	lowest  = 0.0
	highest = 1 - 1.0/(1<<53) // the greatest number that math/rand's Float64 yields
)

func TestRest(t *testing.T) {
	cases := map[string]struct {
		reason string
		random float64
		want   time.Duration
	}{
		"Lowest":  {reason: "Never sooner than 10 % before the interval.", random: lowest, want: 18 * time.Second},
		"Middle":  {reason: "The interval is the mean.", random: 0.5, want: 20 * time.Second},
		"Highest": {reason: "Never later than 10 % after it.", random: highest, want: 22 * time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := rest(interval, tc.random).Round(time.Microsecond); got != tc.want {
				t.Errorf("\n%s\nrest(%s, %v): want %s, got %s", tc.reason, interval, tc.random, tc.want, got)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	cases := map[string]struct {
		reason   string
		failures int
		limit    time.Duration
		low      time.Duration
		high     time.Duration
	}{
		"First":      {reason: "A kcp that just restarts is back in a second.", failures: 1, limit: interval, low: 500 * time.Millisecond, high: time.Second},
		"Second":     {reason: "Each failure doubles it.", failures: 2, limit: interval, low: time.Second, high: 2 * time.Second},
		"Fifth":      {reason: "Still below the limit.", failures: 5, limit: interval, low: 8 * time.Second, high: 16 * time.Second},
		"Sixth":      {reason: "The limit is kept with the jitter included.", failures: 6, limit: interval, low: 10 * time.Second, high: interval},
		"Millionth":  {reason: "Nothing overflows in a long outage.", failures: 1_000_000, limit: interval, low: 10 * time.Second, high: interval},
		"TinyLimit":  {reason: "The interval limits the first one too.", failures: 1, limit: 100 * time.Millisecond, low: 50 * time.Millisecond, high: 100 * time.Millisecond},
		"NotFailing": {reason: "It never is nothing, so that a mistake cannot make a busy loop.", failures: 0, limit: interval, low: 500 * time.Millisecond, high: time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			low, high := backoff(tc.failures, tc.limit, lowest), backoff(tc.failures, tc.limit, highest).Round(time.Microsecond)
			if low != tc.low || high != tc.high {
				t.Errorf("\n%s\nbackoff(%d, %s): want %s to %s, got %s to %s", tc.reason, tc.failures, tc.limit, tc.low, tc.high, low, high)
			}
			for range 1000 {
				if d := backoff(tc.failures, tc.limit, rand.Float64()); d < tc.low || d > tc.high {
					t.Fatalf("\n%s\nbackoff(%d, %s): %s is not within %s and %s", tc.reason, tc.failures, tc.limit, d, tc.low, tc.high)
				}
			}
		})
	}
}
