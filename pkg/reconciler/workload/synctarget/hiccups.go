package synctarget

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// hiccupTime is how long kcp may fail to answer the passes of a SyncTarget before its conditions say so.
	hiccupTime = time.Minute
	// answerTimeout bounds the read that shows whether kcp answers at all.
	answerTimeout = 5 * time.Second
)

// hiccups records, by UID, since when kcp has kept each pass over a SyncTarget from its work.
type hiccups struct {
	mu    sync.Mutex
	since map[types.UID]time.Time
}

// observe takes in whether a pass failed by a hiccup, and returns for how long all passes have.
func (h *hiccups) observe(uid types.UID, failed bool, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !failed {
		delete(h.since, uid)
		return 0
	}
	if h.since == nil {
		h.since = map[types.UID]time.Time{}
	}
	if _, known := h.since[uid]; !known {
		h.since[uid] = now
	}
	return now.Sub(h.since[uid])
}

// forget drops a SyncTarget that is gone.
func (h *hiccups) forget(uid types.UID) { h.observe(uid, false, time.Time{}) }

// failedByHiccup tells whether kcp kept a phase of a pass from its work.
func failedByHiccup(verdicts map[string]verdict) bool {
	for _, v := range verdicts {
		if v.hiccup {
			return true
		}
	}
	return false
}

// kcpAnswers tells whether kcp answered a request of a pass that failed by a hiccup: then a heartbeat would have been seen. In
// pull mode there may have been no other request, so one is made.
func (r *Reconciler) kcpAnswers(ctx context.Context, s *scope) bool {
	if s.answered || !s.pullMode() {
		return s.answered
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := s.live(ctx)
	return err == nil || !isHiccup(err)
}
