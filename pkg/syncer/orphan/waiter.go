package orphan

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	// checkInterval is the mean time between two requests of an orphaned syncer.
	checkInterval = 5 * time.Minute
	// jitter spreads the requests of many syncers: ±10 %.
	jitter = 0.1
	// checkTimeout bounds one request.
	checkTimeout = 10 * time.Second
)

// Upstream is the SyncTarget in kcp. Its errors are, or wrap, the API server's.
type Upstream interface {
	Get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error)
}

// Config is what a Waiter needs. All of it is required, except where a default is named.
type Config struct {
	Upstream Upstream
	// Name and UID are those of the SyncTarget that the syncer acts for.
	Name    string
	UID     types.UID
	Metrics *Metrics
	// Clock defaults to the real one.
	Clock clock.Clock
	// Random yields numbers in [0,1) for jitter; it defaults to math/rand.
	Random func() float64
}

// Waiter waits for the SyncTarget of an orphaned syncer.
type Waiter struct {
	Config
	// reason is why the syncer is orphaned, as kcp has said last.
	reason atomic.Pointer[Error]
}

// NewWaiter returns a Waiter of a syncer that is orphaned for this reason.
func NewWaiter(config Config, reason *Error) *Waiter {
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	if config.Random == nil {
		config.Random = rand.Float64
	}
	w := &Waiter{Config: config}
	w.reason.Store(reason)
	return w
}

// Wait returns when the SyncTarget exists again and kcp accepts the token, or when ctx ends.
func (w *Waiter) Wait(ctx context.Context) {
	w.Metrics.orphaned.Set(1)
	defer w.Metrics.orphaned.Set(0)
	w.log(ctx, "orphaned: nothing is synced or deleted; kcp is asked every five minutes whether the SyncTarget exists")
	for {
		timer := w.Clock.NewTimer(w.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		answer, err := w.check(ctx)
		switch {
		case answer == Exists:
			log.FromContext(ctx).Info("no longer orphaned: the SyncTarget exists and kcp accepts the token; the syncer starts again")
			return
		case answer != Unknown && answer != w.reason.Load().Answer:
			w.reason.Store(&Error{Answer: answer, Cause: err})
			w.log(ctx, "still orphaned, for another reason")
		}
	}
}

// pause is the mean interval, more or less the jitter.
func (w *Waiter) pause() time.Duration {
	return time.Duration(float64(checkInterval) * (1 - jitter + 2*jitter*w.Random()))
}

// check asks kcp for the SyncTarget, once.
func (w *Waiter) check(ctx context.Context) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	target, err := w.Upstream.Get(ctx)
	answer := AnswerOf(err, w.Name)
	if answer == Exists && target.UID != w.UID {
		answer = Recreated
	}
	log.FromContext(ctx).V(4).Info("asked whether the SyncTarget exists", "answer", answer.String(), "error", err)
	return answer, err
}

func (w *Waiter) log(ctx context.Context, message string) {
	reason := w.reason.Load()
	log.FromContext(ctx).Error(reason, message, "reason", reason.Answer.String())
}

// SyncTargetExists is a readiness check. It fails for as long as there is a Waiter.
func (w *Waiter) SyncTargetExists(*http.Request) error {
	return errors.New(w.reason.Load().Answer.meaning())
}
