package synctarget

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Several SyncTargets of a workspace may stand for one physical cluster. That is no error, since their syncers do not meet, but
// it may be a mistake in a kubeconfig, so the condition Valid says it.

// validVerdict is the verdict on a SyncTarget that is valid. It asks the cache alone.
func validVerdict(ctx context.Context, s *scope) (verdict, error) {
	others, err := targetsOfCluster(ctx, s.cached, s.target.Name, s.target.Status.ClusterID)
	if err != nil {
		return verdict{}, fmt.Errorf("listing the workspace's SyncTargets of the same cluster: %w", err)
	}
	valid := passed(workloadv1alpha1.ReasonValid, "SyncTarget validation passed"+sharingSentence(others))
	if _, err := rotationRequest(s.target); err != nil {
		valid.message += "; " + err.Error()
	}
	return valid, nil
}

// sharingSentence names the other SyncTargets of a cluster, to be added to a message; empty for none.
func sharingSentence(others []string) string {
	const maxNamed = 3
	slices.Sort(others)
	named := make([]string, 0, maxNamed)
	for _, name := range others[:min(len(others), maxNamed)] {
		named = append(named, fmt.Sprintf("%q", name))
	}
	switch {
	case len(others) == 0:
		return ""
	case len(others) == 1:
		return fmt.Sprintf("; SyncTarget %s of this workspace stands for the same cluster", named[0])
	case len(others) > maxNamed:
		return fmt.Sprintf("; SyncTargets %s and others of this workspace stand for the same cluster", strings.Join(named, ", "))
	}
	return fmt.Sprintf("; SyncTargets %s of this workspace stand for the same cluster", strings.Join(named, ", "))
}

// targetsOfCluster returns the names of the other SyncTargets of a workspace that are pinned to this cluster.
func targetsOfCluster(ctx context.Context, cached client.Reader, name, clusterID string) ([]string, error) {
	if clusterID == "" {
		return nil, nil
	}
	var targets workloadv1alpha1.SyncTargetList
	if err := cached.List(ctx, &targets, client.MatchingFields{indexClusterID: clusterID}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var names []string
	for i := range targets.Items {
		if other := targets.Items[i].Name; other != name {
			names = append(names, other)
		}
	}
	return names, nil
}

// queueSharing queues every other SyncTarget that is pinned to the cluster of one of these, which names them.
func queueSharing(ctx context.Context, clusterName multicluster.ClusterName, cl cluster.Cluster, q queue, changed ...*workloadv1alpha1.SyncTarget) {
	for _, target := range changed {
		names, err := targetsOfCluster(ctx, cl.GetCache(), target.Name, target.Status.ClusterID)
		if err != nil {
			continue // the next pass of each tells it
		}
		for _, name := range names {
			q.Add(request(clusterName, name))
		}
	}
}
