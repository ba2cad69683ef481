package resource

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// TestPassesGoFirst: a pass waits behind a few lists, however many are to be made.
func TestPassesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const qps, lists = 10, 1000
		limiter := throttle(&rest.Config{QPS: qps, Burst: 1})
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
		if err := limiter.Wait(pass); err != nil || time.Since(started) > (listers+1)*time.Second/qps {
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

// TestLimitedPassesComeToAnEnd: with the workers that a limit is given, each of a burst of passes gets through.
func TestLimitedPassesComeToAnEnd(t *testing.T) {
	for _, qps := range []float32{1, 3, 40} {
		synctest.Test(t, func(t *testing.T) {
			up, down := throttle(&rest.Config{QPS: qps, Burst: 1}), throttle(&rest.Config{QPS: qps, Burst: 1})
			var workers sync.WaitGroup
			for range workersFor(qps) {
				workers.Go(func() {
					for range 10 {
						pass, done := context.WithTimeout(t.Context(), passTimeout)
						// The finalizer, a look, the apply, the status and the report.
						for _, side := range []flowcontrol.RateLimiter{up, down, down, up, up} {
							if err := side.Wait(pass); err != nil {
								t.Errorf("QPS %g: %v", qps, err)
							}
						}
						done()
					}
				})
			}
			workers.Wait()
		})
	}
}

// TestTimeToAnswer: a request whose turn comes when there is no time left for its answer is not sent.
func TestTimeToAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := throttle(&rest.Config{QPS: 1, Burst: 1})
		for after, want := range map[time.Duration]error{answerTime / 2: errThrottled, answerTime * 2: nil} {
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

// TestThrottledIsNobodysFault: that a request had no time to wait for its turn is never told of the object.
func TestThrottledIsNobodysFault(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	config := unwaiting(&rest.Config{Host: server.URL, QPS: 0.001, Burst: 1})
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 { // the second has to wait
		_, err = client.Resource(configMaps).Namespace("shop").Get(ctx, "a", metav1.GetOptions{})
	}
	if !errors.Is(err, errThrottled) || !strings.Contains(err.Error(), "--qps") {
		t.Fatalf("throttled by %v", err)
	}
	s := newServer(t, sourceOf(), nil)
	s.err = err
	for range 10 {
		s.pass.heard.Store(s.pass.clock.Now().UnixNano())
		if _, err := s.run(t); err == nil {
			t.Fatal("it is no error")
		}
		s.pass.queue.backoff.When(s.pass.id())
	}
	if got := s.report(t); got.blamed() {
		t.Errorf("told is %+v", got)
	}
}
