package sync

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/synctarget/synctarget/pkg/syncer/ratelimit"
)

// TestLimitedPassesComeToAnEnd: with the workers that a limit is given, each of a burst of passes gets through.
func TestLimitedPassesComeToAnEnd(t *testing.T) {
	for _, qps := range []float32{1, 3, 40} {
		synctest.Test(t, func(t *testing.T) {
			up, down := ratelimit.NewLimiter(&rest.Config{QPS: qps, Burst: 1}), ratelimit.NewLimiter(&rest.Config{QPS: qps, Burst: 1})
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

// TestThrottledIsNobodysFault: that a request had no time to wait for its turn is never told of the object.
func TestThrottledIsNobodysFault(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	config := ratelimit.WithoutRetries(&rest.Config{Host: server.URL, QPS: 0.001, Burst: 1})
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 { // the second has to wait
		_, err = client.Resource(configMaps).Namespace("shop").Get(ctx, "a", metav1.GetOptions{})
	}
	if !errors.Is(err, ratelimit.ErrThrottled) || !strings.Contains(err.Error(), "--qps") {
		t.Fatalf("throttled by %v", err)
	}
	s := newServer(t, sourceOf(), nil)
	s.err = err
	for range 10 {
		s.pass.lastApplyAnswer.Store(s.pass.clock.Now().UnixNano())
		if _, err := s.run(t); err == nil {
			t.Fatal("it is no error")
		}
		s.pass.queue.backoff.When(s.pass.key())
	}
	if got := s.report(t); got.Rejected() {
		t.Errorf("told is %+v", got)
	}
}
