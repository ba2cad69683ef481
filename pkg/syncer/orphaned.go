package syncer

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/synctarget/synctarget/pkg/syncer/orphan"
	"github.com/synctarget/synctarget/pkg/syncer/upstream"
)

// awaitSyncTarget serves the probes and the metrics, and returns nil when the SyncTarget exists again or ctx ends. Besides one
// request to kcp every five minutes it sends nothing. The process stays alive, so that kubelet does not restart it, and is
// not ready, which shows in the Pod.
func (s *syncer) awaitSyncTarget(ctx context.Context, reason *orphan.Error) error {
	target, err := upstream.NewSyncTarget(s.upstream, s.SyncTargetName)
	if err != nil {
		return err
	}
	mgr, err := newManager(s.downstream, s.Options, nil)
	if err != nil {
		return err
	}
	waiter := orphan.NewWaiter(orphan.Config{
		Upstream: target,
		Name:     s.SyncTargetName,
		UID:      types.UID(s.SyncTargetUID),
		Metrics:  s.metrics.orphan,
		Clock:    s.build.Clock,
	}, reason)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		defer cancel() // which stops the manager
		waiter.Wait(ctx)
		return nil
	})); err != nil {
		return fmt.Errorf("adding the wait for the SyncTarget: %w", err)
	}
	if err := mgr.AddReadyzCheck("synctarget-exists", waiter.SyncTargetExists); err != nil {
		return fmt.Errorf("adding readiness check %q: %w", "synctarget-exists", err)
	}
	return mgr.Start(ctx)
}
