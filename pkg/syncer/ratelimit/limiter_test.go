package ratelimit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	// passTimeout is the time of a pass over an object.
	passTimeout = 15 * time.Second
	// forInformer makes waitFor wait without a deadline, as informers do.
	forInformer = 0
)

// waitFor waits for the limiter as a request does that has this much time.
func waitFor(ctx context.Context, limiter flowcontrol.RateLimiter, timeout time.Duration) error {
	if timeout != forInformer {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return limiter.Wait(ctx)
}

// TestSeparateLimits: a request of one kind does not wait behind those of the other, however many of these wait.
func TestSeparateLimits(t *testing.T) {
	tests := map[string]struct {
		reason         string
		waiting, timed time.Duration
	}{
		"a list while passes wait": {"A full queue must not delay the list of an informer.", time.Hour, forInformer},
		"a pass while lists wait":  {"The lists of many new Namespaces must not delay an object.", forInformer, passTimeout},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limiter := NewLimiter(&rest.Config{QPS: 10, Burst: 20})
				var waiting sync.WaitGroup
				for range 1000 {
					waiting.Go(func() {
						if err := waitFor(t.Context(), limiter, tc.waiting); err != nil {
							t.Errorf("one of those that wait fails: %v", err)
						}
					})
				}
				synctest.Wait()
				started := time.Now()
				if err := waitFor(t.Context(), limiter, tc.timed); err != nil || time.Since(started) > 0 {
					t.Errorf("%s\nit waits %s: %v", tc.reason, time.Since(started), err)
				}
				waiting.Wait()
			})
		})
	}
}

// TestRate: many requests of either kind take as long as their limit says.
func TestRate(t *testing.T) {
	const requests = 1000
	tests := map[string]struct {
		reason           string
		qps              float32
		burst            int
		passes, informer time.Duration
	}{
		"as installed": {"Informers have a limit of their own.", 200, 400, 3 * time.Second, 18 * time.Second},
		"low":          {"It is never above that of the passes.", 10, 20, 98 * time.Second, 98 * time.Second},
		"low burst":    {"Nor is its burst.", 200, 50, 4750 * time.Millisecond, 19 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for timeout, want := range map[time.Duration]time.Duration{time.Hour: tc.passes, forInformer: tc.informer} {
				synctest.Test(t, func(t *testing.T) {
					limiter := NewLimiter(&rest.Config{QPS: tc.qps, Burst: tc.burst})
					started := time.Now()
					for range requests {
						if err := waitFor(t.Context(), limiter, timeout); err != nil {
							t.Fatal(err)
						}
					}
					if got := time.Since(started).Round(10 * time.Millisecond); got != want {
						t.Errorf("%s\n%d requests with timeout %s take %s, want %s", tc.reason, requests, timeout, got, want)
					}
				})
			}
		})
	}
}

// TestNoLimit: with a negative QPS, as client-go has it, neither kind is limited.
func TestNoLimit(t *testing.T) {
	if limiter := NewLimiter(&rest.Config{QPS: -1, Burst: 1}); limiter != nil {
		t.Errorf("there is a limiter with %g requests a second", limiter.QPS())
	}
}

// TestTimeToAnswer: a request whose turn comes when there is no time left for its answer is not sent.
func TestTimeToAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter(&rest.Config{QPS: 1, Burst: 1})
		for after, want := range map[time.Duration]error{AnswerTime / 2: ErrThrottled, AnswerTime * 2: nil} {
			time.Sleep(time.Minute)
			if !limiter.TryAccept() {
				t.Fatal("the first request of a minute is limited")
			}
			if err := waitFor(t.Context(), limiter, time.Second+after); !errors.Is(err, want) {
				t.Errorf("%s before the end: %v", after, err)
			}
		}
	})
}

// TestCanceled: a request that is canceled while it waits was not throttled.
func TestCanceled(t *testing.T) {
	for _, timeout := range []time.Duration{time.Hour, forInformer} {
		synctest.Test(t, func(t *testing.T) {
			limiter := NewLimiter(&rest.Config{QPS: 0.01, Burst: 1})
			ctx, cancel := context.WithCancel(t.Context())
			_ = waitFor(ctx, limiter, timeout)
			time.AfterFunc(time.Second, cancel)
			if err := waitFor(ctx, limiter, timeout); err == nil || errors.Is(err, ErrThrottled) {
				t.Errorf("canceled with timeout %s: %v", timeout, err)
			}
		})
	}
}
