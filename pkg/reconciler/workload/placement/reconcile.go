package placement

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"
	mcreconcile "sigs.k8s.io/multicluster-runtime/pkg/reconcile"

	"github.com/synctarget/synctarget/pkg/reconciler/workload/claims"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

// minRequeue is the least time after which a workspace is looked at again without an event.
const minRequeue = 100 * time.Millisecond

// Reconcile makes one pass over one workspace.
func (r *Reconciler) Reconcile(ctx context.Context, req mcreconcile.Request) (reconcile.Result, error) {
	found, err := r.Workspaces.GetCluster(ctx, req.ClusterName)
	if errors.Is(err, multicluster.ErrClusterNotFound) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("finding logical cluster %q: %w", req.ClusterName, err)
	}
	engaged := r.workspaces.get(req.ClusterName)
	if engaged == nil {
		return reconcile.Result{}, nil // disengaged; engaging it again brings its events
	}
	upstream, err := r.Upstream(found.GetConfig())
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("making a client of logical cluster %q: %w", req.ClusterName, err)
	}
	s := &scope{clusterName: req.ClusterName, workspace: engaged, cached: found.GetCache(), upstream: upstream}
	requeueAfter, lostRace, err := r.pass(ctx, s)
	switch {
	case err != nil:
		return reconcile.Result{}, err
	case lostRace:
		return reconcile.Result{RequeueAfter: r.races.When(req)}, nil
	}
	r.races.Forget(req)
	return reconcile.Result{RequeueAfter: requeueAfter}, nil
}

// pass brings a workspace to what the scheduler says. lostRace tells that somebody else was faster with one of the writes.
func (r *Reconciler) pass(ctx context.Context, s *scope) (requeueAfter time.Duration, lostRace bool, err error) {
	seen, changes, missing, err := r.decide(ctx, s)
	if err != nil {
		return 0, false, err
	}
	if len(missing) > 0 {
		lostRace, err = r.write(ctx, s, seen, &changes)
		return requeueAt(seen, &changes, 0), lostRace, errors.Join(err, r.reportMissing(ctx, s, seen, claims.Message(r.ExportName, missing)))
	}
	putOff := s.workspace.untilReport(seen.Now)
	if putOff > 0 {
		changes, putOff = withoutReports(changes, putOff)
	}
	lostRace, err = r.write(ctx, s, seen, &changes)
	r.notePending(s, seen, &changes)
	return requeueAt(seen, &changes, putOff), lostRace, errors.Join(err, seen.readErr)
}

// decide plans the changes of a workspace. What it has not read live it plans again with a live reading, if the changes need one.
// Without the claims in missing nothing is known of the Namespaces: then only what is being deleted ends.
func (r *Reconciler) decide(ctx context.Context, s *scope) (seen *observation, changes scheduler.Changes, missing []claims.MissingClaim, err error) {
	for l := fromCache; ; {
		if seen, err = r.read(ctx, s, l); err != nil {
			return nil, scheduler.Changes{}, nil, err
		}
		if missing = claims.Missing(seen.bindings, r.ExportName); len(missing) > 0 {
			seen.Namespaces = nil
			changes = endings(r.Plan(seen.Workspace))
		} else {
			r.addGone(ctx, s, seen)
			readUnrecorded(ctx, s, seen)
			changes = r.Plan(seen.Workspace)
		}
		if seen.isBindingDeleted(r.ExportName) {
			changes = withhold(&seen.Workspace, changes)
		}
		required := requiredLevel(&seen.Workspace, &changes)
		if required <= l {
			return seen, changes, missing, nil
		}
		l = required
	}
}

// requeueAt is after how long a workspace is to be looked at again without an event; zero for never.
func requeueAt(seen *observation, changes *scheduler.Changes, putOff time.Duration) time.Duration {
	var next time.Duration
	within := func(d time.Duration) {
		if d = max(d, minRequeue); next == 0 || d < next {
			next = d
		}
	}
	if putOff > 0 {
		within(putOff)
	}
	for _, at := range []time.Time{changes.NextCheck, seen.recheckHidden} {
		if !at.IsZero() {
			within(at.Sub(seen.Now))
		}
	}
	for _, cluster := range seen.Clusters {
		if cluster.EvictionPaused && isSilent(cluster.Target) {
			within(pausedRecheck)
		}
	}
	return next
}
