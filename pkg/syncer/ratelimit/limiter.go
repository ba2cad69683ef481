package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// maxInformerRequests is how many requests of the informers stand in line with those of the passes. Where hundreds of Namespaces are
// opened at once, the others wait apart: a pass has not the time to wait behind all of them.
const maxInformerRequests = 4

// NewLimiter limits the requests to one side, as config says; none if it has no QPS.
func NewLimiter(config *rest.Config) flowcontrol.RateLimiter {
	if config.QPS <= 0 {
		return config.RateLimiter
	}
	return sharedLimiter{flowcontrol.NewTokenBucketRateLimiter(config.QPS, config.Burst), make(chan struct{}, maxInformerRequests)}
}

// sharedLimiter has requests without a deadline, which are those of the informers, wait for one of a few places in the line.
type sharedLimiter struct {
	flowcontrol.RateLimiter
	informerSlots chan struct{}
}

// AnswerTime is what a request must have left of the time of its pass when its turn comes.
const AnswerTime = time.Second

// ErrThrottled tells that a request did not fit into the time of its pass, which is nobody's fault but the limit's.
var ErrThrottled = errors.New("too many requests of the syncer are waiting; see --qps and --burst")

// Wait returns when it is the request's turn, or why that does not come in its time.
func (p sharedLimiter) Wait(ctx context.Context) error {
	wait := ctx
	if deadline, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		wait, cancel = context.WithDeadline(ctx, deadline.Add(-AnswerTime))
		defer cancel()
	} else {
		select {
		case p.informerSlots <- struct{}{}:
			defer func() { <-p.informerSlots }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := p.RateLimiter.Wait(wait)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrThrottled, err)
	}
	return err
}
