package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/orphan"
)

const (
	// probeTimeout bounds every live read of the physical cluster.
	probeTimeout = 5 * time.Second
	// reportTimeout bounds one request to kcp.
	reportTimeout = 10 * time.Second
)

// beat is one round. It returns how long to rest until the next, or an *orphan.Error if there is to be none.
func (h *Heart) beat(ctx context.Context) (time.Duration, error) {
	leading := h.leads()
	err := h.round(ctx, leading)
	if ctx.Err() != nil {
		return h.Interval, nil // leaving: what was cut short is no failure
	}
	pause := h.settle(ctx, leading, err)
	if !leading {
		return pause, nil // kcp was not asked
	}
	return pause, h.detectOrphan(err)
}

// detectOrphan returns an *orphan.Error if the answers of kcp, of which this is the last, say that there is nothing left
// to report to.
func (h *Heart) detectOrphan(err error) error {
	answer := answerOf(err, h.Name)
	if !h.detector.Observe(answer, h.Clock.Now()) {
		return nil
	}
	return &orphan.Error{Answer: answer, Cause: err}
}

func (h *Heart) round(ctx context.Context, leading bool) error {
	clusterID, err := h.probe(ctx)
	if err != nil {
		h.versionRead = time.Time{} // who knows what comes back
		return fmt.Errorf("%w: %w", errOwnCluster, err)
	}
	h.vitals.contacted()
	if !leading {
		return nil
	}
	h.vitals.elected()
	syncer, err := h.measure(ctx, clusterID)
	if err != nil {
		return err
	}
	if err := h.report(ctx, syncer); err != nil {
		h.vitals.unreported(isRefusal(err))
		return err
	}
	h.vitals.reported()
	return nil
}

// probe proves that the own cluster answers, and says which it is.
func (h *Heart) probe(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return h.Downstream.ID(ctx)
}

// report sends the heartbeat, with status.syncer if that has changed.
func (h *Heart) report(ctx context.Context, syncer workloadv1alpha1.SyncerStatus) error {
	if h.reported != nil && equality.Semantic.DeepEqual(*h.reported, syncer) {
		err := h.patch(ctx, pulsePatch(h.UID, h.Clock.Now(), syncer.ClusterID))
		if !apierrors.IsInvalid(err) {
			return err
		}
		// A test failed. If it was not the UID's, somebody else wrote status.syncer: say it again in full.
		h.reported = nil
	}
	err := h.patch(ctx, fullPatch(h.UID, h.Clock.Now(), syncer))
	if apierrors.IsInvalid(err) {
		return h.explain(ctx, err)
	}
	if err != nil {
		return err
	}
	h.reported = &syncer
	return nil
}

func (h *Heart) patch(ctx context.Context, patch []byte) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	started := h.Clock.Now()
	err := h.Upstream.PatchStatus(ctx, patch)
	h.Metrics.patched(h.Clock.Since(started))
	return err
}

// explain finds out why a full patch was refused as invalid: the server does not say which test failed.
func (h *Heart) explain(ctx context.Context, refusal error) error {
	target, err := h.get(ctx)
	switch {
	case err != nil:
		return err
	case target.UID != h.UID:
		return fmt.Errorf("%w: its UID is %q, not %q", errRecreated, target.UID, h.UID)
	case target.Status.Key == "":
		return fmt.Errorf("%w: %w", errUninitialized, refusal)
	default:
		return refusal
	}
}

func (h *Heart) get(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	return h.Upstream.Get(ctx)
}

// settle accounts for the round, logs what has changed, and returns how long to rest.
func (h *Heart) settle(ctx context.Context, leading bool, err error) time.Duration {
	logger := log.FromContext(ctx)
	state, meaning := diagnose(err, leading)
	switch {
	case state == h.state:
		logger.V(4).Info("beat", "state", state, "error", message(err))
	case err != nil:
		logger.Error(err, meaning)
	default:
		logger.Info(meaning)
	}
	h.state = state

	switch {
	case err == nil && leading:
		h.Metrics.accepted(h.Clock.Now())
	case errors.Is(err, errOwnCluster) && leading:
		h.Metrics.withheld()
	case err != nil && leading:
		h.Metrics.failed()
	}

	if err == nil {
		h.failures = 0
		return rest(h.Interval, h.Random())
	}
	h.failures++
	return backoff(h.failures, h.Interval, h.Random())
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
