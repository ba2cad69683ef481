package workspace

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// slowServer answers each read after a second with what was true when the read began.
type slowServer struct {
	mu    sync.Mutex
	state int64
	reads int
	err   error
}

func (s *slowServer) get(ctx context.Context) (*source.Plan, error) {
	s.mu.Lock()
	plan, err := &source.Plan{Generation: s.state}, s.err
	s.reads++
	s.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return plan, err
}

func (s *slowServer) set(state int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

// TestSharedReadIsFresh: nobody is answered with a read that began before the call, and those who wait share the next one.
func TestSharedReadIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, reads := &slowServer{state: 1}, &sharedRead{}
		var group sync.WaitGroup
		expect := func(count int, want int64) {
			for range count {
				group.Go(func() {
					if got, err := reads.do(t.Context(), server.get); err != nil || got.Generation != want {
						t.Errorf("read state %v, %v, want %d", got, err, want)
					}
				})
			}
			synctest.Wait()
		}
		expect(1, 1)
		server.set(2) // while the first read is under way, which shows the state before
		expect(50, 2)
		group.Wait()
		if server.reads != 2 {
			t.Errorf("%d reads", server.reads)
		}
		server.set(3)
		expect(1, 3)
		group.Wait()
	})
}

// TestSharedReadFails: a failure is told to all that share the read, and not to the next.
func TestSharedReadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, reads := &slowServer{err: errors.New("connection refused")}, &sharedRead{}
		if _, err := reads.do(t.Context(), server.get); !errors.Is(err, server.err) {
			t.Errorf("do() = %v", err)
		}
		server.err = nil
		if _, err := reads.do(t.Context(), server.get); err != nil {
			t.Errorf("do() = %v", err)
		}
	})
}

// TestSharedReadIsLeft: who leaves does not end the read of the others, and waits no longer.
func TestSharedReadIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, reads := &slowServer{}, &sharedRead{}
		leaving, leave := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := reads.do(leaving, server.get); !errors.Is(err, context.Canceled) {
				t.Errorf("who left: do() = %v", err)
			}
		})
		synctest.Wait()
		leave()
		group.Wait()
		if _, err := reads.do(t.Context(), server.get); err != nil {
			t.Errorf("who stayed: do() = %v", err)
		}
	})
}
