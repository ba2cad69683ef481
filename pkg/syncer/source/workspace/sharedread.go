package workspace

import (
	"context"
	"sync"
	"time"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// sharedReadTimeout bounds a read, which may have begun for a caller that has gone since.
const sharedReadTimeout = 10 * time.Second

// sharedRead lets calls at the same time share live reads. A call never gets the answer to a read that began before the
// call: it waits for the read that runs to end, and then shares the next one with all that wait.
type sharedRead struct {
	mu            sync.Mutex
	running, next *targetRead
}

// targetRead is one read. The answer is set when done is closed, and is not changed.
type targetRead struct {
	done   chan struct{}
	target *workloadv1alpha1.SyncTarget
	err    error
}

// do returns what a read answers that begins after the call.
func (s *sharedRead) do(ctx context.Context, get func(context.Context) (*workloadv1alpha1.SyncTarget, error)) (*workloadv1alpha1.SyncTarget, error) {
	s.mu.Lock()
	read := s.next
	if read == nil {
		read = &targetRead{done: make(chan struct{})}
		if s.next = read; s.running == nil {
			s.startNext(ctx, get)
		}
	}
	s.mu.Unlock()
	select {
	case <-read.done:
		return read.target, read.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// startNext starts the read that calls wait for, if there is one. The caller holds mu.
func (s *sharedRead) startNext(ctx context.Context, get func(context.Context) (*workloadv1alpha1.SyncTarget, error)) {
	s.running, s.next = s.next, nil
	if s.running == nil {
		return
	}
	go func(read *targetRead) {
		readCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sharedReadTimeout)
		defer cancel()
		read.target, read.err = get(readCtx)
		close(read.done)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.startNext(ctx, get)
	}(s.running)
}
