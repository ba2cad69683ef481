package synctarget

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Kubernetes lets nobody grant what they do not hold themselves. What the kubeconfig's user cannot grant the syncer does not get.

// withheldRights are those that the syncer does not get, because the kubeconfig's user does not have them.
type withheldRights struct {
	// resources are synced resources.
	resources []workloadv1alpha1.GroupResource
	// observation is the right to watch its own installation.
	observation bool
}

// applyAgent applies what is installed. A right that cannot be granted keeps the others from nothing.
func (r *Reconciler) applyAgent(ctx context.Context, s *scope, cfg agent.Config, cluster physicalCluster) (withheldRights, error) {
	if r.installCache.isUnobserved(s.target.UID) {
		// Asked before: an apply might give a part of the right, to be taken back in the same pass, time and again.
		may, err := agent.MayObserve(ctx, cluster.Client(), cfg, workloadv1alpha1.FieldOwnerController)
		if err != nil {
			return withheldRights{}, err
		}
		cfg.Unobserved = !may
	}
	err := r.applyDownstream(ctx, cfg, cluster)
	if apierrors.IsForbidden(err) {
		if tried := withhold(ctx, &cfg, cluster); tried != nil || len(cfg.Withheld) == 0 && !cfg.Unobserved {
			return withheldRights{}, err
		}
		err = r.applyDownstream(ctx, cfg, cluster)
	}
	r.installCache.setUnobserved(s.target.UID, cfg.Unobserved)
	return withheldRights{resources: cfg.Withheld, observation: cfg.Unobserved}, err
}

// withhold finds out which rights cannot be granted, and takes them out of the Config.
func withhold(ctx context.Context, cfg *agent.Config, cluster physicalCluster) (err error) {
	cfg.Withheld, err = agent.Ungrantable(ctx, cluster.Client(), *cfg, workloadv1alpha1.FieldOwnerController)
	if err != nil || cfg.Unobserved {
		return err
	}
	may, err := agent.MayObserve(ctx, cluster.Client(), *cfg, workloadv1alpha1.FieldOwnerController)
	cfg.Unobserved = !may && err == nil
	return err
}

func (r *Reconciler) applyDownstream(ctx context.Context, cfg agent.Config, cluster physicalCluster) error {
	changed, err := agent.ApplyDownstream(ctx, cluster.Client(), cfg, workloadv1alpha1.FieldOwnerController)
	r.Metrics.applied(changed, err)
	return err
}
