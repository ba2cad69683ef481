package plugin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/credentials"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

// seeSynced is for what is never synced.
const seeSynced = "docs/run-workloads.md lists what is synced, and this command what a SyncTarget syncs: kubectl synctarget status NAME"

// chainOf judges the way of an object. It reads nothing but its argument.
func chainOf(f *facts, workspace string) *chain {
	c := &chain{Kind: f.kind.GroupVersionKind.Kind, Resource: f.resource.String(), Namespace: f.namespace, Name: f.name, Workspace: workspace}
	judgements := []judgement{{"Object", f.objectLink}, {"Namespace", f.namespaceLink}}
	if f.isNamespace() {
		judgements = judgements[1:]
	}
	if len(f.binding) > 0 || f.in == nil {
		judgements = append(judgements, judgement{"APIBinding", f.bindingLink})
	}
	judgements = append(judgements, judgement{"Placement", f.placementLink}, judgement{"Decision", f.decisionLink})
	links, reached := judge(true, judgements)
	c.Links = links
	for _, p := range f.placed() {
		links, _ := judge(reached, p.judgements())
		c.SyncTargets = append(c.SyncTargets, targetLinks{Name: p.target.Name, Links: links})
	}
	return c
}

func (f *facts) objectLink() link {
	switch {
	case f.object == nil:
		inNamespace := ""
		if f.namespace != "" {
			inNamespace = " -n " + f.namespace
		}
		return breaks(fmt.Sprintf("list those that there are: kubectl get %s%s", f.resource, inNamespace), "it does not exist")
	case f.namespace == "":
		return breaks(seeSynced, "it is in no Namespace, and only what is in one is synced")
	case f.object.GetDeletionTimestamp() != nil:
		return breaks(fmt.Sprintf("see what its finalizers wait for: kubectl get %s -o yaml", f.argument()), "%s",
			deletionText("it", f.object, f.now))
	}
	created := age(f.object.GetCreationTimestamp().Time, f.now)
	if generation := f.object.GetGeneration(); generation > 0 {
		return holds("generation %d, created %s ago", generation, created)
	}
	return holds("created %s ago", created)
}

// deletionText says that something is being deleted, and what that waits for.
func deletionText(what string, object metav1.Object, now time.Time) string {
	text := fmt.Sprintf("%s is being deleted (for %s)", what, age(object.GetDeletionTimestamp().Time, now))
	if finalizers := object.GetFinalizers(); len(finalizers) > 0 {
		text += ", and waits for its finalizers: " + strings.Join(finalizers, ", ")
	}
	return text
}

func (f *facts) namespaceLink() link {
	switch {
	case f.in == nil:
		return breaks("list those that there are: kubectl get namespaces", "Namespace %q does not exist", f.name)
	case f.in.DeletionTimestamp != nil:
		return breaks(fmt.Sprintf("see what that waits for: kubectl get namespace %s -o yaml", f.in.Name), "%s",
			deletionText(fmt.Sprintf("Namespace %q", f.in.Name), f.in, f.now))
	}
	if refusal := credentials.RefusalOf(f.in, f.targets); refusal != "" {
		return breaks("create the objects in another Namespace: kubectl create namespace NAME", "Namespace %q is never synced: %s", f.in.Name, refusal)
	}
	return holds("%q, created %s ago", f.in.Name, age(f.in.CreationTimestamp.Time, f.now))
}

// bindingLink says whether the service sees what it needs of the workspace.
func (f *facts) bindingLink() link {
	var found []string
	for _, b := range f.binding {
		if b.result == wrong {
			return breaks(b.cure, "%s", b.what)
		}
		if b.result == passed { // without an optional claim, objects are synced all the same
			found = append(found, b.what)
		}
	}
	return holds("%s", strings.Join(found, ", "))
}

func (f *facts) placementLink() link {
	selecting := scheduler.Selecting(f.placements, f.in.Labels)
	if len(selecting) == 0 {
		text := fmt.Sprintf("no Placement selects Namespace %q, which has the labels %s", f.in.Name, orAbsent(labels.Set(f.in.Labels).String()))
		if message := scheduler.AnnotationMessage(f.in.Annotations[workloadv1alpha1.AnnotationPlacement]); message != "" {
			text += "; " + message // it runs all the same
		}
		return breaks(f.howToSelect(), "%s", text)
	}
	text := fmt.Sprintf("%q counts", selecting[0].Name)
	if len(selecting) > 1 {
		var lost []string
		for _, p := range selecting[1:] {
			lost = append(lost, fmt.Sprintf("%q (priority %d)", p.Name, p.Spec.Priority))
		}
		text += fmt.Sprintf(" (priority %d); others that select the Namespace and do not count: %s", selecting[0].Spec.Priority, strings.Join(lost, ", "))
	}
	return holds("%s", text)
}

// howToSelect is a command by which a Placement selects the Namespace, as far as one can be given.
func (f *facts) howToSelect() string {
	for i := range f.placements {
		selector := f.placements[i].Spec.NamespaceSelector
		if f.placements[i].DeletionTimestamp == nil && len(selector.MatchLabels) > 0 && len(selector.MatchExpressions) == 0 {
			return fmt.Sprintf("create a Placement (docs/place-workloads.md), or have Placement %q select it: kubectl label namespace %s --overwrite %s",
				f.placements[i].Name, f.in.Name, strings.ReplaceAll(labels.Set(selector.MatchLabels).String(), ",", " "))
		}
	}
	return "create a Placement that selects it (docs/place-workloads.md); those that there are: kubectl get placements -o yaml"
}

// decisionLink says whether the Namespace has the clusters that it is to have, and why not in the words of the scheduler.
func (f *facts) decisionLink() link {
	placement := scheduler.Selecting(f.placements, f.in.Labels)[0]
	var names []string
	for _, p := range f.placed() {
		if runs(p.assignment) {
			names = append(names, p.target.Name)
		}
	}
	wanted := max(1, int(placement.Spec.NumberOfClusters))
	message := f.decisionMessage(placement)
	switch {
	case placement.Status.ObservedGeneration != placement.Generation:
		return breaks(fmt.Sprintf("look again in a moment; where it stays so, see whether the APIBinding is bound: kubectl describe placement %s", placement.Name),
			"the service has not seen the last change of Placement %q yet", placement.Name)
	case len(names) < wanted:
		return breaks("change what it names, on the SyncTargets (kubectl synctarget status) or in the Placement (kubectl edit placement "+placement.Name+")",
			"Namespace %q has %d of %d clusters: %s", f.in.Name, len(names), wanted, cmp.Or(message, "the service has yet to decide"))
	case message != "":
		return holds("%s; %s", strings.Join(names, ", "), message)
	}
	return holds("%s", strings.Join(names, ", "))
}

// decisionMessage is what the scheduler says about the Namespace: why it waits for a cluster, or cannot move.
func (f *facts) decisionMessage(placement *workloadv1alpha1.Placement) string {
	for i := range placement.Status.Namespaces {
		if placement.Status.Namespaces[i].Name == f.in.Name {
			return placement.Status.Namespaces[i].Message
		}
	}
	return scheduler.AnnotationMessage(f.in.Annotations[workloadv1alpha1.AnnotationPlacement]) // the status names 100 at most
}

// placed returns the Assignments that count, with their SyncTargets, in the order of the clusters.
func (f *facts) placed() []*placedOn {
	var out []*placedOn
	for i := range f.assignments {
		a := &f.assignments[i]
		for j := range f.targets {
			t := &f.targets[j]
			if f.in != nil && a.Spec.Namespace.UID == f.in.UID && isOn(a, t) && a.Namespace == workloadv1alpha1.SyncerNamespace(t.Name, t.Status.Key) {
				out = append(out, &placedOn{facts: f, assignment: a, target: t})
			}
		}
	}
	slices.SortFunc(out, func(a, b *placedOn) int {
		return cmp.Or(cmp.Compare(a.assignment.Spec.Order, b.assignment.Spec.Order), strings.Compare(a.target.Name, b.target.Name))
	})
	return out
}
