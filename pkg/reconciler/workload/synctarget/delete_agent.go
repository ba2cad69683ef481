package synctarget

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// agentRemoval is what removeAgent returns beside its result.
type agentRemoval struct {
	secretRead bool
	// clusterID is the physical cluster that the target stays pinned to.
	clusterID string
}

// removeAgent takes the syncer out of the physical cluster, and the pin off it when nothing is left there.
func (r *Reconciler) removeAgent(ctx context.Context, s *scope, d deletion) (agentRemoval, stepResult, error) {
	removed := agentRemoval{clusterID: s.target.Status.ClusterID}
	if s.pullMode() || removed.clusterID == "" {
		// Installed by the user; or by nobody, for nothing is installed before the cluster is pinned.
		return removed, stepDone("Syncer removed"), nil
	}
	_, kubeconfig, err := readKubeconfig(ctx, s)
	if fault := (*secretFault)(nil); errors.As(err, &fault) {
		return removed, stepFailed("The syncer cannot be removed: %s", fault), nil
	}
	if err != nil {
		return removed, stepResult{}, err
	}
	removed.secretRead = true

	result := r.removeFromCluster(ctx, s, d, kubeconfig)
	switch result.progress {
	case done:
		removed.clusterID = ""
	case inProgress:
		// A Namespace takes its time on each side. Nothing needs the identity any more; its own step reports what fails.
		_, _, _ = agent.RemoveIdentity(ctx, s.upstream, s.target.Name, s.key, s.target.UID)
	}
	return removed, result, nil
}

// removeFromCluster takes the syncer out of the physical cluster to which the kubeconfig leads.
func (r *Reconciler) removeFromCluster(ctx context.Context, s *scope, d deletion, kubeconfig []byte) stepResult {
	ctx, cancel := pcluster.WithBudget(ctx)
	defer cancel()
	cluster, err := r.physical.Get(ctx, s.pclusterID(), kubeconfig)
	if err != nil {
		return clusterFailed("The syncer", err)
	}
	id, err := cluster.ID(ctx)
	if err != nil {
		return clusterFailed("The syncer", err)
	}
	if pinned := s.target.Status.ClusterID; pinned != id {
		return stepFailed("The syncer cannot be removed: the kubeconfig leads to cluster %q, but the syncer is in cluster %q", id, pinned)
	}
	return r.removeDownstream(ctx, s, d, cluster)
}

// clusterFailed is the result of a failed call to the physical cluster; what names what it was to remove.
func clusterFailed(what string, err error) stepResult {
	switch {
	case errors.Is(err, pcluster.ErrConnecting):
		return stepResult{progress: notAttempted, verdict: connecting(workloadv1alpha1.ReasonRemoving)}
	case errors.Is(err, pcluster.ErrReplaced):
		// It says nothing about the cluster.
		result := stepWaits(noAnswer, "The physical cluster is being connected again")
		result.verdict.certainty = pending
		return result
	}
	return stepFailed("%s cannot be removed: %s", what, pcluster.Describe(err))
}

// removeDownstream removes the syncer and the downstream Namespaces, neither of which waits for the other: a Namespace may take
// its time, or for ever.
func (r *Reconciler) removeDownstream(ctx context.Context, s *scope, d deletion, cluster physicalCluster) stepResult {
	waiting, gone, failure := agent.Remove(ctx, cluster.Client(), s.target.Name, s.key, s.target.UID)
	hanging, ended, allGone, err := r.removeDownstreamNamespaces(ctx, s, cluster)
	switch {
	case failure != nil:
		return clusterFailed("The syncer", failure)
	case ended > 0 && errors.Is(err, context.DeadlineExceeded) && d.urgency == abandonedByUser:
		return stepWaits(inProgress, "Removing what was synced")
	case ended > 0 && errors.Is(err, context.DeadlineExceeded):
		// There are more than a pass has time for. Each pass leaves fewer, so this ends, and is not abandoned at the deadline.
		return stepContinues(time.Second, "Removing what was synced")
	case err != nil:
		return clusterFailed("What was synced", err)
	case !gone || !allGone:
		return stepWaits(inProgress, "%s", cmp.Or(hanging, cluster.Clean(waiting)))
	}
	return stepDone("Syncer removed")
}

func leftDownstream(s *scope, removed removal) string {
	name := workloadv1alpha1.SyncerNamespace(s.target.Name, s.key)
	finalizer := ""
	if ref := s.target.Spec.KubeconfigSecretRef; ref != nil && !removed.secretRead {
		finalizer = fmt.Sprintf(", and, if the Secret %q is there without the label that shows it to the service, finalizer %q on it", ref.Namespace+"/"+ref.Name, workloadv1alpha1.SyncTargetFinalizer(s.key))
	}
	left := fmt.Sprintf("Namespace, ClusterRole and ClusterRoleBinding %q", name)
	if len(removed.namespaces.items) > 0 {
		left += ", and the Namespaces with the copies of what was synced,"
	}
	return fmt.Sprintf("%s in the physical cluster %q%s", left, s.target.Spec.Cluster, finalizer)
}
