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

// attempt is one attempt to send a heartbeat. It returns how long to rest until the next, or an *orphan.Error if there is to be none.
func (s *Sender) attempt(ctx context.Context) (time.Duration, error) {
	leading := s.leads()
	err := s.probeAndReport(ctx, leading)
	if ctx.Err() != nil {
		return s.Interval, nil // leaving: what was cut short is no failure
	}
	pause := s.settle(ctx, leading, err)
	if !leading {
		return pause, nil // kcp was not asked
	}
	return pause, s.detectOrphan(err)
}

// detectOrphan returns an *orphan.Error if the answers of kcp, of which this is the last, say that there is nothing left
// to report to. That the Lease was renewed hides nothing: until the SyncTarget is confirmed, each attempt asks for it, too.
func (s *Sender) detectOrphan(err error) error {
	answer := answerOf(err, s.Name)
	if !s.detector.Observe(answer, s.Clock.Now()) {
		return nil
	}
	return &orphan.Error{Answer: answer, Cause: err}
}

func (s *Sender) probeAndReport(ctx context.Context, leading bool) error {
	clusterID, err := s.probe(ctx)
	if err != nil {
		s.versionRead = time.Time{} // who knows what comes back
		return fmt.Errorf("%w: %w", errOwnCluster, err)
	}
	s.readiness.contacted()
	if !leading {
		return nil
	}
	s.readiness.elected()
	syncer, err := s.measure(ctx, clusterID)
	if err != nil {
		return err
	}
	if err := s.report(ctx, syncer); err != nil {
		s.readiness.unreported(isRefusal(err))
		return err
	}
	s.readiness.reported()
	return nil
}

// probe proves that the own cluster answers, and says which it is.
func (s *Sender) probe(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return s.Downstream.ID(ctx)
}

// reportStatus writes the heartbeat to the SyncTarget, with status.syncer if that has changed.
func (s *Sender) reportStatus(ctx context.Context, syncer workloadv1alpha1.SyncerStatus) error {
	if s.reported != nil && equality.Semantic.DeepEqual(*s.reported, syncer) {
		err := s.patchStatus(ctx, heartbeatPatch(s.UID, s.Clock.Now(), syncer.ClusterID))
		if !apierrors.IsInvalid(err) {
			return err
		}
		// A test failed. If it was not the UID's, somebody else wrote status.syncer: say it again in full.
		s.reported = nil
	}
	return s.patchReport(ctx, fullPatch(s.UID, s.Clock.Now(), syncer), syncer)
}

// patchReport sends a patch with the whole of status.syncer.
func (s *Sender) patchReport(ctx context.Context, patch []byte, syncer workloadv1alpha1.SyncerStatus) error {
	err := s.patchStatus(ctx, patch)
	if apierrors.IsInvalid(err) {
		return s.explain(ctx, err)
	}
	if err != nil {
		return err
	}
	s.reported = &syncer
	return nil
}

// patchStatus sends a patch that tests the SyncTarget's UID.
func (s *Sender) patchStatus(ctx context.Context, patch []byte) error {
	err := s.send(ctx, s.Upstream.PatchStatus, patch)
	if err == nil {
		s.confirm()
	}
	return err
}

func (s *Sender) send(ctx context.Context, to func(context.Context, []byte) error, patch []byte) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	started := s.Clock.Now()
	err := to(ctx, patch)
	s.Metrics.patched(s.Clock.Since(started))
	return err
}

// confirm notes that kcp has shown the SyncTarget with our UID.
func (s *Sender) confirm() { s.confirmed = s.Clock.Now() }

// explain finds out why a full patch was refused as invalid: the server does not say which test failed.
func (s *Sender) explain(ctx context.Context, refusal error) error {
	target, err := s.getOurs(ctx)
	switch {
	case err != nil:
		return err
	case target.Status.Key == "":
		return fmt.Errorf("%w: %w", errUninitialized, refusal)
	default:
		return refusal
	}
}

// getOurs reads the SyncTarget. The error is errRecreated if it has another UID.
func (s *Sender) getOurs(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	target, err := s.Upstream.Get(ctx)
	if err != nil {
		return nil, err
	}
	if target.UID != s.UID {
		return nil, fmt.Errorf("%w: its UID is %q, not %q", errRecreated, target.UID, s.UID)
	}
	s.confirm()
	return target, nil
}

// settle accounts for the attempt, logs what has changed, and returns how long to rest.
func (s *Sender) settle(ctx context.Context, leading bool, err error) time.Duration {
	logger := log.FromContext(ctx)
	state, meaning := diagnose(err, leading)
	switch {
	case state == s.state:
		logger.V(4).Info("heartbeat", "state", state, "error", message(err))
	case err != nil:
		logger.Error(err, meaning)
	default:
		logger.Info(meaning)
	}
	s.state = state

	switch {
	case err == nil && leading:
		s.Metrics.accepted(s.Clock.Now())
	case errors.Is(err, errOwnCluster) && leading:
		s.Metrics.withheld()
	case err != nil && leading:
		s.Metrics.failed()
	}

	if err == nil {
		s.failures = 0
		return rest(s.Interval, s.Random())
	}
	s.failures++
	if !isRefusal(err) && !errors.Is(err, errOwnCluster) {
		s.leaseRetry = time.Time{} // kcp could not be reached: much may be new there when it can
	}
	return backoff(s.failures, s.Interval, s.Random())
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
