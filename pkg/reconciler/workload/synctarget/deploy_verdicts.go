package synctarget

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/synctarget/synctarget/pkg/agent"
	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/pcluster"
)

// deployed is the verdict when all is as it should be. What the kubeconfig does not allow is read again from time to time:
// where it lets nobody watch that all stays so, within the minute that users were promised.
func deployed(cluster physicalCluster, withheld withheldRights) verdict {
	v := passed(workloadv1alpha1.ReasonDeployed, "Syncer deployment successful")
	if len(withheld.resources) > 0 {
		var names []string
		for _, resource := range withheld.resources {
			names = append(names, resource.String())
		}
		slices.Sort(names)
		v.message += "; without rights on " + strings.Join(names, ", ") + ", which the kubeconfig's user does not have and so cannot grant"
		v = v.after(refusedRecheck)
	}
	if withheld.observation {
		v.message += "; what is installed is read once a minute, because the syncer may not watch it: the kubeconfig's user may not list or watch it, and so cannot grant that"
		v = v.after(unwatchedRecheck)
	}
	if refusal := cluster.Unwatched(); refusal != nil {
		v.message += "; it is read once a minute instead of being watched: " + pcluster.Describe(refusal)
		v = v.after(unwatchedRecheck)
	}
	return v
}

// backOff is when to try again what has kept the syncer from being deployed: after a quarter of the time that it
// has, from least to a minute. It follows from the status alone, so a restart does not begin anew.
func (r *Reconciler) backOff(s *scope, least time.Duration) time.Duration {
	deployed := meta.FindStatusCondition(s.target.Status.Conditions, workloadv1alpha1.ConditionDeployed)
	if deployed == nil || deployed.Status == metav1.ConditionTrue {
		return least
	}
	return min(max(r.Clock.Since(deployed.LastTransitionTime.Time)/4, least), time.Minute)
}

// verdictOfApply sorts the errors of an apply that a user or time must mend from those to retry.
func (r *Reconciler) verdictOfApply(ctx context.Context, s *scope, side string, err error, removeLeftovers func(context.Context) (string, bool, error)) (*verdict, error) {
	var foreign *agent.ForeignError
	var leftover *agent.LeftoverError
	var terminating *agent.TerminatingError
	var v verdict
	switch {
	case errors.As(err, &foreign):
		v = blocked(workloadv1alpha1.ReasonDeploymentFailed, "%s", foreign).after(refusedRecheck)
	case errors.As(err, &leftover):
		waiting, _, err := removeLeftovers(ctx)
		if err != nil {
			return nil, err
		}
		message := "Removing what an earlier SyncTarget of this name left in the " + side
		if waiting != "" {
			message += ". " + waiting
		}
		v = blocked(workloadv1alpha1.ReasonRollingOut, "%s", message).after(r.backOff(s, leftoverRetry))
	case errors.As(err, &terminating):
		v = blocked(workloadv1alpha1.ReasonRollingOut, "%s", terminating).after(r.backOff(s, leftoverRetry))
	default:
		return nil, err
	}
	return &v, nil
}

// verdictOfCluster turns what the physical cluster answered, or did not, into a verdict. None of it is an error: the
// prober or the recheck brings us back.
func (r *Reconciler) verdictOfCluster(s *scope, err error) (verdict, error) {
	switch {
	case errors.Is(err, pcluster.ErrConnecting):
		return connecting(workloadv1alpha1.ReasonRollingOut), nil
	case errors.Is(err, errUnfinished), errors.Is(err, pcluster.ErrReplaced), errors.Is(err, context.Canceled):
		// None says anything about the cluster: there is more to do, the connection is a new one, or we are stopping.
		return verdict{}, err
	case errors.Is(err, pcluster.ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
		return unknown(workloadv1alpha1.ReasonClusterUnreachable, "%s", pcluster.Describe(err)).after(refusedRecheck), nil
	case errors.Is(err, pcluster.ErrInvalid):
		return blocked(workloadv1alpha1.ReasonDeploymentFailed, "%s", pcluster.Describe(err)), nil
	case apierrors.IsConflict(err):
		return blocked(workloadv1alpha1.ReasonRollingOut, "Installing the syncer: %s", pcluster.Describe(err)).after(r.backOff(s, conflictRetry)), nil
	default:
		return blocked(workloadv1alpha1.ReasonDeploymentFailed, "%s", pcluster.Describe(err)).after(refusedRecheck), nil
	}
}

// connecting is the verdict while the first contact with the physical cluster is under way, which is bounded; its end
// brings us back.
func connecting(reason string) verdict {
	v := blocked(reason, "Waiting for the physical cluster to answer")
	v.certainty = pending
	return v
}

// openingNamespaces is the verdict while there are more Namespaces than one pass has time for, as in a cluster that is far away.
func openingNamespaces() verdict {
	v := blocked(workloadv1alpha1.ReasonRollingOut, "Opening Namespaces in the physical cluster").after(wait.Jitter(continueRetry, 1))
	v.certainty = pending
	return v
}

// deployFailed is the verdict when kcp kept the phase from its work.
func deployFailed(err error) verdict {
	return failing(workloadv1alpha1.ReasonDeploymentFailed, err)
}
