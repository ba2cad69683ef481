package synctarget

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// syncedVerdict sums up what the syncer reports of the assigned Namespaces; there is none without such a Namespace. Its message
// holds no numbers, so that it changes when the answer does.
func syncedVerdict(target *workloadv1alpha1.SyncTarget, key string, plan namespacePlan) (verdict, bool) {
	namespaces := plan.pending()
	if len(namespaces) == 0 {
		return verdict{}, false
	}
	if v, found := notOpenVerdict(namespaces); found {
		return v, true
	}
	if v, found := reportVerdict(target, key); found {
		return v, true
	}
	for _, n := range plan.in(namespaceOpen) {
		if !isApplied(n.Assignment) {
			return blocked(workloadv1alpha1.ReasonNotSynced, "Namespace %q: some of what is in it has yet to reach the physical cluster", n.Name), true
		}
	}
	return passed(workloadv1alpha1.ReasonSynced, fmt.Sprintf("What is in the assigned Namespaces is in the physical cluster %q", target.Spec.Cluster)), true
}

// isApplied reports whether everything of a Namespace has reached the physical cluster, by a report of the present epoch.
func isApplied(a *workloadv1alpha1.Assignment) bool {
	return a.Status.ObservedEpoch == a.Spec.Epoch && meta.IsStatusConditionTrue(a.Status.Conditions, workloadv1alpha1.ConditionApplied)
}

// notOpenVerdict names a Namespace with a message, or else one that is being opened, if there is any.
func notOpenVerdict(namespaces []*assignedNamespace) (verdict, bool) {
	for _, n := range namespaces {
		if n.Message != "" {
			return blocked(workloadv1alpha1.ReasonNotSynced, "Namespace %q: %s", n.Name, n.Message), true
		}
	}
	for _, n := range namespaces {
		if n.State == namespaceOpening || n.State == namespaceReopening {
			return blocked(workloadv1alpha1.ReasonNotSynced, "Namespace %q is being opened; what that waits for, the condition Deployed says", n.Name), true
		}
	}
	return verdict{}, false
}

// reportVerdict is what the syncer's report on its resources has to say against the condition Synced. Like the phases, it follows
// from the SyncTarget alone.
func reportVerdict(target *workloadv1alpha1.SyncTarget, key string) (verdict, bool) {
	if v, found := noReportVerdict(&target.Status); found {
		return v, true
	}
	if v, found := resourceFaultVerdict(target, key); found {
		return v, true
	}
	if r := firstUnwatched(target.Status.SyncedResources); r != nil {
		return unknown(workloadv1alpha1.ReasonWatchFailing, "%s: %s", workloadv1alpha1.GroupResource{Group: r.Group, Resource: r.Resource}, r.Message), true
	}
	return verdict{}, false
}

// noReportVerdict says that the syncer has reported nothing yet, or nothing that is known to hold, if that is so.
func noReportVerdict(status *workloadv1alpha1.SyncTargetStatus) (verdict, bool) {
	if len(status.SyncedResources) == 0 {
		return unknown(workloadv1alpha1.ReasonAwaitingReport, "Waiting for the first report of the syncer"), true
	}
	if !meta.IsStatusConditionTrue(status.Conditions, workloadv1alpha1.ConditionReady) {
		return unknown(workloadv1alpha1.ReasonAwaitingReport, "The last report of the syncer may not hold any more, for the SyncTarget is not Ready"), true
	}
	return verdict{}, false
}

// resourceFaultVerdict names the first resource that is not synced, or else every resource of which some objects have
// failed, if there are any.
func resourceFaultVerdict(target *workloadv1alpha1.SyncTarget, key string) (verdict, bool) {
	var failing []string
	for _, r := range target.Status.SyncedResources {
		gr := workloadv1alpha1.GroupResource{Group: r.Group, Resource: r.Resource}
		named := slices.Contains(target.Spec.SyncedResources, gr)
		// Of the default resources, what is not served is not missed.
		if r.State != workloadv1alpha1.ResourceAccepted && (named || r.State != workloadv1alpha1.ResourceMissing) {
			return blocked(workloadv1alpha1.ReasonNotSynced, "%s: %s: %s", gr, r.State, r.Message), true
		}
		if r.Failing > 0 {
			failing = append(failing, gr.String())
		}
	}
	if len(failing) > 0 {
		return blocked(workloadv1alpha1.ReasonNotSynced, "Some of the %s are refused by the physical cluster or have failed there; on each, the annotation %q, or an Event, says why",
			strings.Join(failing, ", "), workloadv1alpha1.SyncAnnotation(key)), true
	}
	return verdict{}, false
}

// firstUnwatched is the accepted resource whose watch has been failing for longest, nil if none fails. It remains the same while
// the watches of others begin to fail.
func firstUnwatched(resources []workloadv1alpha1.SyncedResourceStatus) *workloadv1alpha1.SyncedResourceStatus {
	var first *workloadv1alpha1.SyncedResourceStatus
	for i := range resources {
		r := &resources[i]
		if r.State != workloadv1alpha1.ResourceAccepted || r.UnwatchedSince == nil {
			continue
		}
		if first == nil || r.UnwatchedSince.Before(first.UnwatchedSince) {
			first = r
		}
	}
	return first
}
