package synctarget

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// versionDelay is how long after it first found an installation right this process writes its version to a SyncTarget that it gives
// no other settings. The times at which installations are read again are spread over the minutes after that: see untilReread.
const versionDelay = driftInterval * 4 / 5

// recordVersion writes the version of this controller to the Namespace of the syncer in the workspace, where the kubectl plugin
// reads it. isNew says that this pass gives the syncer other settings, those of this controller, so that a rollout writes it wave by
// wave.
//
// A controller of another version with the same settings rolls out nothing, and in pull mode there is no rollout. It then writes its
// version when it reads an installation again after versionDelay: at its start it would write to all SyncTargets at once.
func (r *Reconciler) recordVersion(ctx context.Context, s *scope, cfg agent.Config, isNew bool) error {
	if r.Version == "" || !isNew && !r.installCache.wasVerifiedBefore(s.target.UID, r.Clock.Now().Add(-versionDelay)) {
		return nil
	}
	namespace := namespaceMeta()
	name := client.ObjectKey{Name: workloadv1alpha1.SyncerNamespace(s.target.Name, s.key)}
	err := s.cached.Get(ctx, name, namespace)
	if err == nil && namespace.Annotations[workloadv1alpha1.AnnotationControllerVersion] == r.Version {
		return nil // what the cache does not have yet is read live
	}
	_, err = agent.RecordVersion(ctx, s.upstream, cfg, r.Version, workloadv1alpha1.FieldOwnerController)
	return err
}
