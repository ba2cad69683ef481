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

// Do waits for a place, first come, first served, and makes the call. The error is the context's, if that ends before there
// is a place.
func (l *Limiter[G]) Do(ctx context.Context, group G, call func()) error {
	own := l.join(group)
	defer l.leave(group, own)
	if err := own.Acquire(ctx, 1); err != nil {
		return err
	}
	defer own.Release(1)
	if err := l.total.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.total.Release(1)
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
