package scheduler

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// wantedTaints returns what status.taints of a SyncTarget is to be: the taints of its owner, then the service's own. A
// taint that is there already keeps its timeAdded.
func wantedTaints(c Cluster, now metav1.Time) []workloadv1alpha1.ObservedTaint {
	var taints []workloadv1alpha1.ObservedTaint
	add := func(key, value string, effect workloadv1alpha1.TaintEffect) {
		same := func(t workloadv1alpha1.ObservedTaint) bool {
			return t.Key == key && t.Value == value && t.Effect == effect
		}
		if slices.ContainsFunc(taints, same) {
			return
		}
		taint := workloadv1alpha1.ObservedTaint{Key: key, Value: value, Effect: effect, TimeAdded: now}
		if i := slices.IndexFunc(c.Target.Status.Taints, same); i >= 0 {
			taint = c.Target.Status.Taints[i]
		}
		taints = append(taints, taint)
	}
	for _, t := range c.Target.Spec.Taints {
		add(t.Key, t.Value, t.Effect)
	}
	if c.Target.Spec.Unschedulable || c.Target.Spec.Drain != nil || c.Target.DeletionTimestamp != nil {
		add(workloadv1alpha1.TaintUnschedulable, "", workloadv1alpha1.TaintNoSchedule)
	}
	for _, effect := range unreachableEffects(c) {
		add(workloadv1alpha1.TaintUnreachable, "", effect)
	}
	return taints
}

// unreachableEffects returns the effects of the taint "unreachable" of a SyncTarget. What is neither True nor False
// with the reason Unhealthy says nothing new about the syncer: the taint stays as it is. While evictions are paused
// there is no NoExecute, so that tolerationSeconds count from the end of the pause.
func unreachableEffects(c Cluster) []workloadv1alpha1.TaintEffect {
	ready := meta.FindStatusCondition(c.Target.Status.Conditions, workloadv1alpha1.ConditionReady)
	present := func(effect workloadv1alpha1.TaintEffect) bool {
		return slices.ContainsFunc(c.Target.Status.Taints, func(t workloadv1alpha1.ObservedTaint) bool {
			return t.Key == workloadv1alpha1.TaintUnreachable && t.Effect == effect
		})
	}
	if ready != nil && ready.Status == metav1.ConditionTrue {
		return nil
	}
	silent := ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == workloadv1alpha1.ReasonUnhealthy
	var effects []workloadv1alpha1.TaintEffect
	if silent || present(workloadv1alpha1.TaintNoSchedule) {
		effects = append(effects, workloadv1alpha1.TaintNoSchedule)
	}
	if !c.EvictionPaused && (silent || present(workloadv1alpha1.TaintNoExecute)) {
		effects = append(effects, workloadv1alpha1.TaintNoExecute)
	}
	return effects
}

// tolerates reports whether a toleration matches a taint, as in Kubernetes.
func tolerates(toleration *workloadv1alpha1.PlacementToleration, taint *workloadv1alpha1.ObservedTaint) bool {
	if toleration.Effect != "" && toleration.Effect != taint.Effect {
		return false
	}
	if toleration.Key != "" && toleration.Key != taint.Key {
		return false
	}
	if toleration.Operator == workloadv1alpha1.TolerationExists {
		return true
	}
	return toleration.Key != "" && toleration.Value == taint.Value
}

// tolerated reports whether any of the tolerations matches the taint, for however long.
func tolerated(tolerations []workloadv1alpha1.PlacementToleration, taint *workloadv1alpha1.ObservedTaint) bool {
	return slices.ContainsFunc(tolerations, func(t workloadv1alpha1.PlacementToleration) bool { return tolerates(&t, taint) })
}

// toleratedUntil returns until when a NoExecute taint is tolerated: the earliest end of all tolerations that match and
// have one. Where none matches, unreachable is tolerated for ever, and any other taint is not tolerated.
func toleratedUntil(tolerations []workloadv1alpha1.PlacementToleration, taint *workloadv1alpha1.ObservedTaint) (until time.Time, forever bool) {
	matched := taint.Key == workloadv1alpha1.TaintUnreachable
	until, forever = taint.TimeAdded.Time, true
	for i := range tolerations {
		t := &tolerations[i]
		if !tolerates(t, taint) {
			continue
		}
		matched = true
		if t.TolerationSeconds == nil {
			continue
		}
		end := taint.TimeAdded.Add(time.Duration(*t.TolerationSeconds) * time.Second)
		if forever || end.Before(until) {
			until, forever = end, false
		}
	}
	return until, forever && matched
}
