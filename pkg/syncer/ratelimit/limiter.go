package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// informerQPS and informerBurst limit the requests of the informers to one side. A lower limit of the passes applies to
// the informers too, so that both kinds together send at most twice what is configured.
const (
	informerQPS   = 50
	informerBurst = 100
)

// AnswerTime is how much of its pass a request must have left for its answer when it is sent.
const AnswerTime = time.Second

// ErrThrottled means that a request could not be sent in the time of its pass. The object is not the cause.
var ErrThrottled = errors.New("too many requests of the syncer are waiting; see spec.syncer.kubeAPIQPS, or --qps and --burst")

// NewLimiter limits the requests to one side: those of the passes to config.QPS and config.Burst, and those of the
// informers separately. A negative config.QPS is no limit for either.
func NewLimiter(config *rest.Config) flowcontrol.RateLimiter {
	if config.QPS <= 0 {
		return config.RateLimiter
	}
	return limiter{
		RateLimiter: flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst),
		informers:   flowcontrol.NewTokenBucketRateLimiter(min(config.QPS, informerQPS), min(config.Burst, informerBurst)),
	}
}

// limiter has one token bucket for the passes, which it embeds, and one for the informers. With a single bucket, a full
// queue would delay the lists of the informers, and the lists of many assigned Namespaces would delay the passes.
type limiter struct {
	flowcontrol.RateLimiter
	informers flowcontrol.RateLimiter
}

// Wait returns nil when the request may be sent. A request with a deadline belongs to a pass, one without to an
// informer. Of the requests of an informer, client-go limits the lists and the retries of watches, but not the start
// of a watch.
func (l limiter) Wait(ctx context.Context) error {
	deadline, isPass := ctx.Deadline()
	if !isPass {
		return l.informers.Wait(ctx)
	}
	untilSent, cancel := context.WithDeadline(ctx, deadline.Add(-AnswerTime))
	defer cancel()
	err := l.RateLimiter.Wait(untilSent)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrThrottled, err)
	}
	return err
}
