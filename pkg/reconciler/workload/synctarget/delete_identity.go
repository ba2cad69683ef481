package synctarget

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// removeIdentity takes the syncer's identity out of the workspace.
func (r *Reconciler) removeIdentity(ctx context.Context, s *scope) (stepResult, error) {
	waiting, gone, err := agent.RemoveIdentity(ctx, s.upstream, s.target.Name, s.key, s.target.UID)
	if err != nil {
		return stepResult{}, fmt.Errorf("removing the syncer's identity from the workspace: %w", err)
	}
	if !gone {
		return stepWaits(completing, "%s", waiting), nil
	}
	return stepDone("Identity removed"), nil
}

// releaseSecret takes this target's finalizer off the Secrets.
func (r *Reconciler) releaseSecret(ctx context.Context, s *scope) (stepResult, error) {
	if err := r.releaseSecrets(ctx, s, client.ObjectKey{}); err != nil {
		return stepResult{}, err
	}
	if err := releaseReferenced(ctx, s); err != nil {
		return stepResult{}, err
	}
	return stepDone("Secret released"), nil
}

func leftUpstream(s *scope, _ removal) string {
	name := workloadv1alpha1.SyncerNamespace(s.target.Name, s.key)
	return fmt.Sprintf("Namespace, ClusterRole and ClusterRoleBinding %q, and, if the service stood in for the syncer, ClusterRoleBinding %q in the workspace", name, agent.AccessBinding(name))
}

func leftSecretFinalizers(s *scope, _ removal) string {
	return fmt.Sprintf("finalizer %q on Secrets of the workspace", workloadv1alpha1.SyncTargetFinalizer(s.key))
}
