package heartbeat

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

const (
	// leaseRetryMax is the longest mean time before a Lease that could not be renewed is tried again.
	leaseRetryMax = 10 * time.Minute
	// confirmInterval is how long the SyncTarget is not asked for while the Lease is renewed. That there is a Lease does not
	// prove that there is a SyncTarget.
	confirmInterval = 5 * time.Minute
)

// report sends the heartbeat, and status.syncer if that has changed. Where there is no Lease, or the syncer may not renew it,
// the heartbeat is written to the SyncTarget. That alone says nothing about the SyncTarget: one without a Lease is served by a
// controller of an earlier version, or in a workspace that does not let the controller make one.
func (s *Sender) report(ctx context.Context, syncer workloadv1alpha1.SyncerStatus) error {
	if s.Clock.Now().Before(s.leaseRetry) {
		return s.reportStatus(ctx, syncer)
	}
	err := s.send(ctx, s.Lease.Patch, leasePatch(s.UID, s.Clock.Now(), syncer.ClusterID, s.Instance, missedHeartbeats*s.Interval))
	switch {
	case err == nil:
		s.leaseRenewed(ctx)
		return s.reportSyncer(ctx, syncer)
	case isUnusable(err):
		s.leaseMissed(ctx, err)
		return s.reportStatus(ctx, syncer)
	}
	return err
}

// isUnusable tells whether kcp has answered that there is no Lease for this syncer.
func isUnusable(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsInvalid(err)
}

func (s *Sender) leaseRenewed(ctx context.Context) {
	if s.leaseMisses > 0 {
		log.FromContext(ctx).Info("heartbeats go to the Lease in the workspace")
	}
	s.leaseMisses, s.leaseRetry = 0, time.Time{}
}

// leaseMissed has the Lease tried again later: twice as long each time, so that one that comes soon is found soon.
func (s *Sender) leaseMissed(ctx context.Context, err error) {
	if s.leaseMisses == 0 {
		log.FromContext(ctx).Info("heartbeats go to the status of the SyncTarget, since the Lease in the workspace cannot be renewed", "reason", err.Error())
	}
	s.leaseMisses++
	pause := s.Interval
	for n := 0; n < s.leaseMisses && pause < leaseRetryMax; n++ {
		pause *= 2
	}
	s.leaseRetry = s.Clock.Now().Add(rest(min(pause, leaseRetryMax), s.Random()))
}

// reportSyncer sends status.syncer if it has changed, without a heartbeat. When kcp has not shown the SyncTarget for a while, it
// asks for it, and puts the report right where another syncer has replaced it.
func (s *Sender) reportSyncer(ctx context.Context, syncer workloadv1alpha1.SyncerStatus) error {
	isReported := s.reported != nil && equality.Semantic.DeepEqual(*s.reported, syncer)
	if isReported && s.Clock.Since(s.confirmed) >= confirmInterval {
		target, err := s.getOurs(ctx)
		if err != nil {
			return err
		}
		isReported = target.Status.Syncer != nil && equality.Semantic.DeepEqual(*target.Status.Syncer, syncer)
	}
	if isReported {
		return nil
	}
	s.reported = nil
	return s.patchReport(ctx, syncerPatch(s.UID, syncer), syncer)
}
