package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// settleTime is how long a condition that the user has to mend may stand after a change before a wait ends with it: the
// controller may not have seen the change yet.
const settleTime = 30 * time.Second

// readyConditions are those that have to be True, in the order of the phases: the first that is not names the cause.
var readyConditions = []string{workloadv1alpha1.ConditionValid, workloadv1alpha1.ConditionDeployed, workloadv1alpha1.ConditionReady}

// notTrue returns the conditions that keep a SyncTarget from being Ready, the cause first. A condition that does not speak of the
// present spec is Unknown.
func notTrue(target *workloadv1alpha1.SyncTarget) []metav1.Condition {
	var out []metav1.Condition
	for _, name := range readyConditions {
		condition := meta.FindStatusCondition(target.Status.Conditions, name)
		switch {
		case condition == nil:
			out = append(out, metav1.Condition{Type: name, Status: metav1.ConditionUnknown, Reason: "NotReported", Message: "the controller has not reported on it yet"})
		case condition.ObservedGeneration != target.Generation:
			out = append(out, metav1.Condition{Type: name, Status: metav1.ConditionUnknown, Reason: "Outdated", Message: "the controller has not seen the last change of the spec yet"})
		case condition.Status != metav1.ConditionTrue:
			out = append(out, *condition)
		}
	}
	return out
}

func conditionText(condition metav1.Condition) string {
	return fmt.Sprintf("%s is %s (%s): %s", condition.Type, condition.Status, condition.Reason, condition.Message)
}

// needsUser tells whether time alone does not make a condition True.
func needsUser(condition metav1.Condition) bool {
	switch condition.Reason {
	case workloadv1alpha1.ReasonValidationFailed, workloadv1alpha1.ReasonDeploymentFailed, workloadv1alpha1.ReasonClusterMismatch,
		workloadv1alpha1.ReasonTargetLimitReached, workloadv1alpha1.ReasonScaledToZero:
		return condition.Status == metav1.ConditionFalse
	}
	return false
}

// nextFor is what the user can do about a condition that is not True.
func nextFor(target *workloadv1alpha1.SyncTarget, condition metav1.Condition) string {
	name := target.Name
	switch condition.Reason {
	case workloadv1alpha1.ReasonAwaitingInstall:
		return fmt.Sprintf("install the syncer in the physical cluster: kubectl synctarget manifests %s | kubectl --context=CLUSTER apply --server-side -f -", name)
	case workloadv1alpha1.ReasonValidationFailed:
		return fmt.Sprintf("correct what the message names: kubectl synctarget join %s … or kubectl edit synctarget %s", name, name)
	case workloadv1alpha1.ReasonDeploymentFailed, workloadv1alpha1.ReasonClusterMismatch, workloadv1alpha1.ReasonClusterUnreachable:
		return fmt.Sprintf("correct what the message names; kubectl synctarget join %s --from-context=CLUSTER renews the kubeconfig and the rights of the service", name)
	case workloadv1alpha1.ReasonScaledToZero:
		return fmt.Sprintf("run a syncer again: kubectl patch synctarget %s --type=merge -p '{\"spec\":{\"syncer\":{\"replicas\":1}}}'", name)
	case workloadv1alpha1.ReasonUnhealthy:
		return readLog(target)
	}
	return fmt.Sprintf("follow it with: kubectl synctarget status %s --watch; docs/troubleshoot.md explains each reason", name)
}

// readLog is how the user finds out why a syncer that is installed sends no heartbeats.
func readLog(target *workloadv1alpha1.SyncTarget) string {
	return fmt.Sprintf("read the log of the syncer in the physical cluster: kubectl --context=CLUSTER -n %s logs deployment/syncer",
		workloadv1alpha1.SyncerNamespace(target.Name, target.Status.Key))
}

// awaitReady waits until a SyncTarget is Ready, or until a condition has to be mended by the user. hint, which may be nil, adds
// what else is known while heartbeats are missing.
func (p *plugin) awaitReady(ctx context.Context, workspace *connection, name string, timeout time.Duration, hint func(context.Context) string) error {
	settled := p.clock.Now().Add(settleTime)
	var last *workloadv1alpha1.SyncTarget
	err := p.poll(ctx, fmt.Sprintf("SyncTarget %q", name), timeout, "see whether kcp answers: kubectl synctarget status "+name, func(ctx context.Context) (observation, error) {
		target, err := readTarget(ctx, workspace, name)
		if err != nil {
			return observation{}, err
		}
		last = target
		open := notTrue(target)
		if len(open) == 0 {
			return observation{done: true}, nil
		}
		cause := open[0]
		if needsUser(cause) && !p.clock.Now().Before(settled) {
			return observation{}, failed(nextFor(target, cause), "SyncTarget %q does not become Ready: %s", name, conditionText(cause))
		}
		waiting := conditionText(cause)
		if hint != nil && cause.Type != workloadv1alpha1.ConditionValid && target.Status.LastHeartbeatTime == nil {
			waiting = hint(ctx) // the condition only says that the user is waited for
		}
		return observation{waiting: waiting}, nil
	})
	if err != nil {
		return withNext(err, last, hint != nil)
	}
	p.progress.say("SyncTarget %q is Ready", name)
	return nil
}

// withNext adds to a timeout what to do about the SyncTarget, which is nil if it was never read.
func withNext(err error, last *workloadv1alpha1.SyncTarget, pullMode bool) error {
	f := (*failure)(nil)
	if !errors.As(err, &f) || f.code != exitTimeout || last == nil {
		return err
	}
	f.next = nextFor(last, notTrue(last)[0])
	if pullMode && last.Status.LastHeartbeatTime == nil {
		f.next = readLog(last)
	}
	return f
}
