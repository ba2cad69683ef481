package plugin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// placedOn are the facts of an object about one cluster of its Namespace.
type placedOn struct {
	*facts
	assignment *workloadv1alpha1.Assignment
	target     *workloadv1alpha1.SyncTarget
}

// judgements are those about the cluster, in their order.
func (p *placedOn) judgements() []judgement {
	if p.isNamespace() {
		return []judgement{
			{"Assignment", p.assignmentLink},
			{workloadv1alpha1.ConditionApplied, func() link { return p.conditionLink(workloadv1alpha1.ConditionApplied) }},
			{workloadv1alpha1.ConditionAvailable, func() link { return p.conditionLink(workloadv1alpha1.ConditionAvailable) }},
			{"Heartbeat", p.heartbeatLink},
		}
	}
	return []judgement{
		{"Assignment", p.assignmentLink}, {"Resource", p.resourceLink}, {"Wanted", p.wantedLink}, {"Applied", p.appliedLink},
		{"Unchanged", p.unchangedLink}, {"Ready", p.readyLink}, {"Heartbeat", p.heartbeatLink},
	}
}

// awaits is for what the syncer has yet to do. If it is silent, that is why.
func (p *placedOn) awaits(format string, args ...any) link {
	waiting := breaks(fmt.Sprintf("look again in a moment; where it stays so: kubectl synctarget check %s", p.target.Name), format, args...)
	if open := notTrue(p.target); len(open) > 0 {
		waiting.Message += fmt.Sprintf("; SyncTarget %q is not Ready: %s", p.target.Name, conditionText(open[0]))
		waiting.Next = nextFor(p.target, open[0])
	}
	return waiting
}

func (p *placedOn) condition(name string) *metav1.Condition {
	return meta.FindStatusCondition(p.assignment.Status.Conditions, name)
}

func (p *placedOn) assignmentLink() link {
	a := p.assignment
	admitted := p.condition(workloadv1alpha1.ConditionAdmitted)
	switch {
	case !runs(a):
		return ends("it leaves (%s): %s", a.Spec.Reason, p.withdrawal())
	case admitted == nil:
		return p.awaits("the syncer has yet to get its rights in the Namespace")
	case admitted.Status != metav1.ConditionTrue:
		return p.awaits("the syncer has no rights in the Namespace (%s, for %s): %s", admitted.Reason, age(admitted.LastTransitionTime.Time, p.now), admitted.Message)
	case a.Status.ObservedEpoch != a.Spec.Epoch:
		return p.awaits("the syncer has yet to read the Assignment")
	}
	return holds("%s (%s) for %s, admitted", a.Spec.Intent, a.Spec.Reason, age(a.CreationTimestamp.Time, p.now))
}

// withdrawal says how far a withdrawal is.
func (p *placedOn) withdrawal() string {
	if withdrawn := p.condition(workloadv1alpha1.ConditionWithdrawn); withdrawn != nil {
		return fmt.Sprintf("%s (for %s)", withdrawn.Message, age(withdrawn.LastTransitionTime.Time, p.now))
	}
	return "the syncer has yet to begin"
}

// conditionLink judges a condition of the Assignment, for a Namespace.
func (p *placedOn) conditionLink(name string) link {
	condition := p.condition(name)
	switch {
	case condition == nil:
		return p.awaits("the syncer has yet to report")
	case condition.Status == metav1.ConditionTrue:
		return holds("%s (for %s)", condition.Message, age(condition.LastTransitionTime.Time, p.now))
	case condition.Reason == workloadv1alpha1.ReasonApplying:
		return p.awaits("%s (for %s)", condition.Message, age(condition.LastTransitionTime.Time, p.now))
	}
	return breaks(fmt.Sprintf("see how each object fares: kubectl synctarget tree %s; and explain the one that is named: kubectl synctarget explain KIND/NAME -n %s",
		p.target.Name, p.name), "%s (for %s)", condition.Message, age(condition.LastTransitionTime.Time, p.now))
}

// resourceLink says whether the SyncTarget syncs objects of the kind.
func (p *placedOn) resourceLink() link {
	edit := fmt.Sprintf("name it in spec.syncedResources: kubectl edit synctarget %s", p.target.Name)
	if err := p.resource.Syncable(); err != nil {
		return breaks(seeSynced, "%s", err)
	}
	if !slices.Contains(p.target.Spec.Synced(), p.resource) {
		return breaks(edit, "SyncTarget %q does not sync %s: they are not among its resources", p.target.Name, p.resource)
	}
	i := slices.IndexFunc(p.target.Status.SyncedResources, func(r workloadv1alpha1.SyncedResourceStatus) bool {
		return r.Group == p.resource.Group && r.Resource == p.resource.Resource
	})
	if i < 0 {
		return p.awaits("the syncer has yet to report whether it can sync %s", p.resource)
	}
	switch reported := &p.target.Status.SyncedResources[i]; {
	case reported.State != workloadv1alpha1.ResourceAccepted:
		return breaks("do what the message says; docs/troubleshoot.md explains each state: kubectl synctarget status "+p.target.Name, "%s are not synced (%s): %s",
			p.resource, orAbsent(string(reported.State)), orAbsent(reported.Message))
	case reported.UnwatchedSince != nil:
		return breaks("mend what the message names: kubectl synctarget status "+p.target.Name, "changes have not been seen for %s: %s",
			age(reported.UnwatchedSince.Time, p.now), reported.Message)
	}
	return holds("%s are synced", p.resource)
}

// report is what the syncer says on the object about its copy, and whether it says anything.
func (p *placedOn) report() (report rejection.Report, found bool) {
	text, found := p.object.GetAnnotations()[workloadv1alpha1.SyncAnnotation(p.target.Status.Key)]
	return rejection.ParseReport(text), found
}

// wantedLink says whether the object is to have a copy in the cluster.
func (p *placedOn) wantedLink() link {
	if reason := transform.NotSynced(p.object); reason != "" {
		next := seeSynced
		if transform.NeverSynced(p.object) == "" {
			next = fmt.Sprintf("have it synced: kubectl label %s %s-", p.argument(), workloadv1alpha1.LabelSync)
		}
		return breaks(next, "%s", reason)
	}
	report, _ := p.report()
	if p.assignment.Spec.Order > 0 && report.Ready == "" && report.Message != "" && !report.Rejected() {
		return ends("%s", report.Message)
	}
	return holds("the object is to have a copy here")
}

// appliedLink says whether the object as it is now has reached the cluster, and what refuses it in the words of the server.
func (p *placedOn) appliedLink() link {
	report, found := p.report()
	switch generation := p.object.GetGeneration(); {
	case report.Refused != "":
		text := report.Refused
		if report.Ready != "" {
			text += fmt.Sprintf("; the copy is of generation %d", report.Generation)
		}
		return breaks("do what it says (docs/run-workloads.md explains what refuses objects), and see the Events: kubectl events --for "+p.argument(), "%s", text)
	case !found || report.IsZero():
		return p.awaits("the syncer has yet to report on the object")
	case report.Generation > 0 && report.Generation < generation:
		return p.awaits("generation %d has yet to be applied, and the copy is of generation %d, applied %s", generation, report.Generation, p.ago(report.Time))
	case report.Generation > 0:
		return holds("generation %d, applied %s", report.Generation, p.ago(report.Time))
	}
	return holds("applied %s", p.ago(report.Time))
}

// ago is the age of a time by the clock of the syncer.
func (p *placedOn) ago(text string) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return "at a time that is not known"
	}
	return age(at, p.now) + " ago"
}

// unchangedLink says whether the copy is what the object says.
func (p *placedOn) unchangedLink() link {
	report, _ := p.report()
	switch {
	case report.Conflict != "":
		return breaks(fmt.Sprintf("take the fields out of the object, or take them over: kubectl annotate %s %s=true", p.argument(), workloadv1alpha1.AnnotationTakeOver),
			"%s", report.Conflict)
	case len(report.Differs) > 0:
		return breaks("somebody changes the copy, or the cluster does: look for who in metadata.managedFields of the copy; kubectl synctarget get-credentials "+
			p.target.Name+" says where it is", "the copy has other values than the object in: %s", strings.Join(report.Differs, ", "))
	}
	return holds("the copy is what the object says")
}

// readyLink says how the copy fares.
func (p *placedOn) readyLink() link {
	report, _ := p.report()
	if report.Ready == string(kstatus.CurrentStatus) {
		return holds("%s", strings.TrimSuffix(report.Ready+": "+report.Message, ": "))
	}
	next := fmt.Sprintf("see its Events, and those of its Pods: kubectl events --for %s", p.argument())
	return breaks(next, "the copy is %s: %s", cmp.Or(report.Ready, string(kstatus.UnknownStatus)), cmp.Or(report.Message, p.statusMessage(), "its status says no more"))
}

// statusMessage says what a copy waits for whose status the object has.
func (p *placedOn) statusMessage() string {
	if !p.assignment.Spec.WritesStatus {
		return ""
	}
	result, err := kstatus.Compute(p.object)
	if err != nil {
		return ""
	}
	return result.Message
}

// heartbeatLink says how old what the syncer has reported may be.
func (p *placedOn) heartbeatLink() link {
	if open := notTrue(p.target); len(open) > 0 {
		return breaks(nextFor(p.target, open[0]), "what stands above may be out of date, since SyncTarget %q is not Ready (last heartbeat: %s): %s",
			p.target.Name, heartbeatText(p.target, p.now), conditionText(open[0]))
	}
	return holds("SyncTarget %q is Ready (last heartbeat: %s)", p.target.Name, heartbeatText(p.target, p.now))
}
