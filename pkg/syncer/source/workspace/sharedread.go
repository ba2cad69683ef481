package workspace

import (
	"context"
	"sync"
	"time"

	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// sharedReadTimeout bounds a read, which may have begun for a caller that has gone since.
const sharedReadTimeout = 10 * time.Second

// sharedRead lets calls at the same time share live reads. A call never gets the answer to a read that began before the
// call: it waits for the read that runs to end, and then shares the next one with all that wait.
type sharedRead struct {
	mu            sync.Mutex
	running, next *planRead
}

// planRead is one read. The answer is set when done is closed, and is not changed.
type planRead struct {
	done chan struct{}
	plan *source.Plan
	err  error
}

// do returns what a read answers that begins after the call.
func (s *sharedRead) do(ctx context.Context, get func(context.Context) (*source.Plan, error)) (*source.Plan, error) {
	s.mu.Lock()
	read := s.next
	if read == nil {
		read = &planRead{done: make(chan struct{})}
		if s.next = read; s.running == nil {
			s.startNext(ctx, get)
		}
	}
	s.mu.Unlock()
	select {
	case <-read.done:
		return read.plan, read.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// startNext starts the read that calls wait for, if there is one. The caller holds mu.
func (s *sharedRead) startNext(ctx context.Context, get func(context.Context) (*source.Plan, error)) {
	s.running, s.next = s.next, nil
	if s.running == nil {
		return
	}
	go func(read *planRead) {
		readCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sharedReadTimeout)
		defer cancel()
		read.plan, read.err = get(readCtx)
		close(read.done)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.startNext(ctx, get)
	}(s.running)
}
