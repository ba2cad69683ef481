package synctarget

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// scope is what one pass over one SyncTarget starts with. Nothing in it changes during the pass: a phase returns what it finds.
type scope struct {
	// clusterName is the logical cluster of the target.
	clusterName multicluster.ClusterName
	// target is a copy of the cached object. Phases read it; status.go alone decides its status.
	target *workloadv1alpha1.SyncTarget
	// key is the target's key.
	key string
	// cached reads the target's workspace from the cache.
	cached client.Reader
	// upstream talks to the target's workspace, uncached.
	upstream client.Client
}

// findings are what the phases of one pass have returned beside their verdicts. Each phase is given those that it needs.
type findings struct {
	// facts are returned by validate.
	facts facts
	// namespaces is returned by reconcileNamespaces, and by deploy with what has become of it.
	namespaces namespacePlan
	// clusterID is the physical cluster to pin: status.clusterID, or that to which deploy or, in pull mode, health pins the
	// target.
	clusterID string
	// needsFinalizer and credentials are returned by deploy.
	needsFinalizer bool
	credentials    *workloadv1alpha1.CredentialsStatus
}

// facts are what validate finds beside its verdict.
type facts struct {
	// kubeconfig is the content of the referenced Secret; nil in pull mode, or where it could not be read.
	kubeconfig []byte
	// pullSecrets are those of the workspace that spec.syncer.imagePullSecrets names; none in pull mode.
	pullSecrets []agent.PullSecret
	// claimsAccepted: the accepted permission claims show the service all that it needs, so what it does not see is not there.
	claimsAccepted bool
	// specInvalid: the spec itself is at fault, so that no later phase can say anything of its own.
	specInvalid bool
	// kcpResponded: kcp has answered a request, so what it does not answer later in this pass is no outage.
	kcpResponded bool
}

// pullMode reports whether the user, not the service, installs the syncer.
func (s *scope) pullMode() bool { return s.target.Spec.KubeconfigSecretRef == nil }

// isAbandoned reports whether the user does not wait for the end of a deletion.
func (s *scope) isAbandoned() bool {
	return s.target.Annotations[workloadv1alpha1.AnnotationAbandon] == "true"
}

// live is the SyncTarget as it is now.
func (s *scope) live(ctx context.Context) (*workloadv1alpha1.SyncTarget, error) {
	var live workloadv1alpha1.SyncTarget
	if err := s.upstream.Get(ctx, client.ObjectKeyFromObject(s.target), &live); err != nil {
		return nil, fmt.Errorf("reading SyncTarget %q: %w", s.target.Name, err)
	}
	return &live, nil
}

func (s *scope) pclusterID() pcluster.ID {
	return pcluster.ID{ClusterName: s.clusterName.String(), Name: s.target.Name, UID: string(s.target.UID)}
}
