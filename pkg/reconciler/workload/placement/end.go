package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

// errRightsLeft: the syncer still has rights by an Assignment that says that they were taken back. The controller of SyncTargets takes
// them back, and the event of that brings another pass.
var errRightsLeft = errors.New("the syncer still has its rights in the Namespace")

// verifyEnd looks live whether the rights are gone by an Assignment that is to be deleted since it says so. The syncer may write that,
// too: without the record nobody would take its rights back. What is deleted for another reason is not asked about.
func verifyEnd(ctx context.Context, upstream client.Client, seen *observation, a *workloadv1alpha1.Assignment) error {
	at := slices.IndexFunc(seen.Clusters, func(c scheduler.Cluster) bool { return string(c.Target.UID) == a.Labels[workloadv1alpha1.LabelUID] })
	if at < 0 || !saysRevoked(a) || slices.ContainsFunc(seen.Assignments, func(other workloadv1alpha1.Assignment) bool { return isSuccessor(&other, a) }) {
		return nil
	}
	cluster := &seen.Clusters[at]
	granted, err := agent.GrantedTo(ctx, upstream, cluster.Target, cluster.Key, a.Spec.Namespace.Name)
	switch {
	case err != nil:
		return fmt.Errorf("reading the rights of the syncer of SyncTarget %q in Namespace %q: %w", cluster.Target.Name, a.Spec.Namespace.Name, err)
	case granted:
		return errRightsLeft
	}
	return nil
}

func saysRevoked(a *workloadv1alpha1.Assignment) bool {
	admitted := meta.FindStatusCondition(a.Status.Conditions, workloadv1alpha1.ConditionAdmitted)
	return admitted != nil && admitted.Status == metav1.ConditionFalse && admitted.Reason == workloadv1alpha1.ReasonRevoked
}

// isSuccessor tells whether the rights may be those of another Namespace of the same name.
func isSuccessor(other, a *workloadv1alpha1.Assignment) bool {
	return other.Namespace == a.Namespace && other.Name != a.Name && other.Spec.Namespace.Name == a.Spec.Namespace.Name && !saysRevoked(other)
}
