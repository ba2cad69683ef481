package synctarget

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// The controller connects to the physical clusters of a limited number of SyncTargets of each workspace. A SyncTarget that is
// connected, which status.clusterID shows, stays so. The other places go to the oldest. SyncTargets in pull mode need none.

// checkLimit returns a verdict if a SyncTarget has to wait until fewer of its workspace are connected.
func (r *Reconciler) checkLimit(ctx context.Context, s *scope) (*verdict, error) {
	if r.MaxTargetsPerWorkspace == 0 || s.pullMode() || isConnected(s.target) {
		return nil, nil
	}
	var targets workloadv1alpha1.SyncTargetList
	if err := s.cached.List(ctx, &targets); err != nil {
		return nil, fmt.Errorf("listing the workspace's SyncTargets: %w", err)
	}
	if hasPlace(s.target, targets.Items, r.MaxTargetsPerWorkspace) {
		return nil, nil
	}
	r.disconnect(s)
	v := blocked(workloadv1alpha1.ReasonTargetLimitReached,
		"The service connects to at most %d SyncTargets of a workspace, and older ones come first; delete SyncTargets that are not needed, install this syncer yourself by creating the SyncTarget without kubeconfigSecretRef, or ask the operator of the service for a higher limit",
		r.MaxTargetsPerWorkspace)
	return &v, nil
}

// hasPlace decides whether a SyncTarget is among those of its workspace to which the controller connects.
func hasPlace(target *workloadv1alpha1.SyncTarget, targets []workloadv1alpha1.SyncTarget, limit int) bool {
	if isConnected(target) {
		return true
	}
	before := 0
	for i := range targets {
		if other := &targets[i]; other.Name != target.Name && needsPlace(other) && (isConnected(other) || isOlder(other, target)) {
			before++
		}
	}
	return before < limit
}

// isConnected reports whether the target is pinned to a physical cluster, and something may be installed there.
func isConnected(target *workloadv1alpha1.SyncTarget) bool { return target.Status.ClusterID != "" }

// needsPlace reports whether a SyncTarget counts: one that is being deleted does as long as something may be installed.
func needsPlace(target *workloadv1alpha1.SyncTarget) bool {
	return target.Spec.KubeconfigSecretRef != nil && (isConnected(target) || target.DeletionTimestamp == nil)
}

func isOlder(a, b *workloadv1alpha1.SyncTarget) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name < b.Name
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

// queueWaiting queues the SyncTargets of a workspace that have waited for a place and have one now.
func (r *Reconciler) queueWaiting(ctx context.Context, clusterName multicluster.ClusterName, cl cluster.Cluster, q queue) {
	var targets workloadv1alpha1.SyncTargetList
	if r.MaxTargetsPerWorkspace == 0 || cl.GetCache().List(ctx, &targets) != nil {
		return
	}
	for i := range targets.Items {
		target := &targets.Items[i]
		deployed := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionDeployed)
		if deployed != nil && deployed.Reason == workloadv1alpha1.ReasonTargetLimitReached && hasPlace(target, targets.Items, r.MaxTargetsPerWorkspace) {
			q.Add(request(clusterName, target.Name))
		}
	}
}
