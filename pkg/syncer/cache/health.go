package cache

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// UnhealthyAfter is how long the watch of a resource may fail before it is unhealthy.
const UnhealthyAfter = 30 * time.Second

// watchHealth is since when the requests of an informer have been failing. While they fail, no event is delivered: an
// informer has one watch, and starts the next one when that has ended.
type watchHealth struct {
	mu           sync.Mutex
	failingSince time.Time
	lastError    string
	// cannotWatch tells that a watch could not be started. Lists alone show a change late, and cost more.
	cannotWatch bool
}

// recordList notes the outcome of a list.
func (h *watchHealth) recordList(ctx context.Context, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err != nil:
		h.fail(ctx, err, now)
	case !h.cannotWatch:
		h.failingSince, h.lastError = time.Time{}, ""
	}
}

// recordWatch notes whether a watch could be started. That it ends later is no failure.
func (h *watchHealth) recordWatch(ctx context.Context, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cannotWatch = err != nil
	if err != nil {
		h.fail(ctx, err, now)
		return
	}
	h.failingSince, h.lastError = time.Time{}, ""
}

// fail notes a failure, unless the request was cancelled together with the informer. The caller holds mu.
func (h *watchHealth) fail(ctx context.Context, err error, now time.Time) {
	if ctx.Err() != nil {
		return
	}
	if h.failingSince.IsZero() {
		h.failingSince = now
	}
	h.lastError = rejection.Clip(causeOf(err))
}

// Health returns since when the watch has been failing, and its last error, if that is UnhealthyAfter or longer. A zero
// time means that the watch is healthy.
func (s *ResourceCache) Health(now time.Time) (failingSince time.Time, lastError string) {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if s.health.failingSince.IsZero() || now.Sub(s.health.failingSince) < UnhealthyAfter {
		return time.Time{}, ""
	}
	return s.health.failingSince, s.health.lastError
}

// causeOf returns what the server has answered, or why it could not be reached, without the URL of the request and the
// local address, which differ with each attempt.
func causeOf(err error) string {
	var (
		answer  apierrors.APIStatus
		network *net.OpError
		request *url.Error
	)
	switch {
	case errors.As(err, &answer):
		return answer.Status().Message
	case errors.As(err, &network):
		return (&net.OpError{Op: network.Op, Net: network.Net, Addr: network.Addr, Err: network.Err}).Error()
	case errors.As(err, &request):
		return request.Err.Error()
	}
	return err.Error()
}
