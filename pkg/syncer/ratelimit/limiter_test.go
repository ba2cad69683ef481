package ratelimit

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"
)

// passTimeout is the time of a pass over an object.
const passTimeout = 15 * time.Second

// TestPassesGoFirst: a pass waits behind a few lists, however many are to be made.
func TestPassesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const qps, lists = 10, 1000
		limiter := NewLimiter(&rest.Config{QPS: qps, Burst: 1})
		listing, cancel := context.WithCancel(t.Context())
		var listed atomic.Int32
		for range lists {
			go func() {
				if limiter.Wait(listing) == nil {
					listed.Add(1)
				}
			}()
		}
		synctest.Wait()
		pass, done := context.WithTimeout(t.Context(), passTimeout)
		defer done()
		started := time.Now()
		if err := limiter.Wait(pass); err != nil || time.Since(started) > (maxInformerRequests+1)*time.Second/qps {
			t.Errorf("a pass waits %s: %v", time.Since(started), err)
		}
		time.Sleep(lists * time.Second / qps)
		synctest.Wait()
		if listed.Load() != lists {
			t.Errorf("%d lists of %d were made", listed.Load(), lists)
		}
		cancel()
	})
}

// TestTimeToAnswer: a request whose turn comes when there is no time left for its answer is not sent.
func TestTimeToAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter(&rest.Config{QPS: 1, Burst: 1})
		for after, want := range map[time.Duration]error{AnswerTime / 2: ErrThrottled, AnswerTime * 2: nil} {
			time.Sleep(time.Minute)
			_ = limiter.Wait(t.Context())
			pass, done := context.WithTimeout(t.Context(), time.Second+after)
			if err := limiter.Wait(pass); !errors.Is(err, want) {
				t.Errorf("%s before the end: %v", after, err)
			}
			done()
		}
	})
}
