package fairness

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Limiter bounds the calls in flight: so many of each group, and so many in all. A call first takes a place of its group, so
// that a group with a thousand calls that hang waits for its own places.
type Limiter[G comparable] struct {
	total    *semaphore.Weighted
	perGroup int64

	mu     sync.Mutex
	groups map[G]*places // those that have calls
}

// places are those of one group.
type places struct {
	*semaphore.Weighted
	users int // calls in flight, or waiting for a place
}

// NewLimiter returns a Limiter. The places in all may be shared between Limiters.
func NewLimiter[G comparable](total *semaphore.Weighted, perGroup int64) *Limiter[G] {
	return &Limiter[G]{total: total, perGroup: perGroup, groups: map[G]*places{}}
}

// Acquire waits for a place, first come, first served, and returns how to give it back. The error is the context's, if that
// ends before there is a place.
func (l *Limiter[G]) Acquire(ctx context.Context, group G) (release func(), err error) {
	own := l.join(group)
	if err := own.Acquire(ctx, 1); err != nil {
		l.leave(group, own)
		return nil, err
	}
	if err := l.total.Acquire(ctx, 1); err != nil {
		own.Release(1)
		l.leave(group, own)
		return nil, err
	}
	return func() {
		l.total.Release(1)
		own.Release(1)
		l.leave(group, own)
	}, nil
}

// Do makes a call when there is a place for it; see Acquire.
func (l *Limiter[G]) Do(ctx context.Context, group G, call func()) error {
	release, err := l.Acquire(ctx, group)
	if err != nil {
		return err
	}
	defer release()
	call()
	return nil
}

// Calls counts the calls of a group that are in flight or wait for a place.
func (l *Limiter[G]) Calls(group G) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own := l.groups[group]; own != nil {
		return own.users
	}
	return 0
}

func (l *Limiter[G]) join(group G) *places {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, ok := l.groups[group]
	if !ok {
		own = &places{Weighted: semaphore.NewWeighted(l.perGroup)}
		l.groups[group] = own
	}
	own.users++
	return own
}

func (l *Limiter[G]) leave(group G, own *places) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(l.groups, group)
	}
}
