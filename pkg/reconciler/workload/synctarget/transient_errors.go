package synctarget

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// transientErrorTime is how long kcp may fail to answer the passes of a SyncTarget before its conditions say so.
	transientErrorTime = time.Minute
	// answerTimeout bounds the read that shows whether kcp answers at all.
	answerTimeout = 5 * time.Second
)

// transientErrors records, by UID, since when kcp has kept each pass over a SyncTarget from its work.
type transientErrors struct {
	mu    sync.Mutex
	since map[types.UID]time.Time
}

// observe takes in whether a pass failed by a transient error, and returns for how long all passes have.
func (t *transientErrors) observe(uid types.UID, failed bool, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !failed {
		delete(t.since, uid)
		return 0
	}
	if t.since == nil {
		t.since = map[types.UID]time.Time{}
	}
	if _, known := t.since[uid]; !known {
		t.since[uid] = now
	}
	return now.Sub(t.since[uid])
}

// forget drops a SyncTarget that is gone.
func (t *transientErrors) forget(uid types.UID) { t.observe(uid, false, time.Time{}) }

// hasTransientFailure reports whether kcp kept a phase of a pass from its work.
func hasTransientFailure(verdicts map[string]verdict) bool {
	for _, v := range verdicts {
		if v.certainty == transientFailure {
			return true
		}
	}
	return false
}

// kcpAnswers reports whether kcp is reachable after a pass that failed by a transient error: then a heartbeat would have been seen.
// responded reports whether it answered a request of the pass. In pull mode there may have been no other, so one is made.
func (r *Reconciler) kcpAnswers(ctx context.Context, s *scope, responded bool) bool {
	if responded || !s.pullMode() {
		return responded
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := s.live(ctx)
	return err == nil || !isTransient(err)
}

// isTransient reports whether an error passes by itself, as no answer of kcp or a conflict does, unlike an answer that will be the
// same next time.
func isTransient(err error) bool {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return true
	}
	switch answer.Status().Code {
	case http.StatusConflict, http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// concernsObject reports whether an answer may be due to one object, as that of a webhook for it is, and not to all.
func concernsObject(err error) bool {
	return !isTransient(err) || apierrors.IsInternalError(err)
}

// isAnswer reports whether an API server has answered.
func isAnswer(err error) bool {
	var answer apierrors.APIStatus
	return errors.As(err, &answer)
}
