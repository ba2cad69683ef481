package plugin

import (
	"cmp"
	"slices"
	"strings"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// stateRefused is the state of an object that the physical cluster refuses.
const stateRefused = "Refused"

// workspaceTree is what runs where in a workspace. All lists are sorted by name.
type workspaceTree struct {
	Workspace  string          `json:"workspace"`
	Placements []placementTree `json:"placements"`
}

type placementTree struct {
	Name string `json:"name"`
	// Message says why the selected Namespaces have not the clusters that they are to have.
	Message    string          `json:"message,omitempty"`
	Namespaces []namespaceTree `json:"namespaces,omitempty"`
}

type namespaceTree struct {
	Name string `json:"name"`
	// Message says what is awaited, or what is in the way.
	Message     string       `json:"message,omitempty"`
	SyncTargets []targetTree `json:"syncTargets,omitempty"`
}

type targetTree struct {
	Name string `json:"name"`
	// State is Running, Arriving or Leaving, and Message says why it is not Running.
	State   string       `json:"state"`
	Message string       `json:"message,omitempty"`
	Objects []objectTree `json:"objects,omitempty"`
}

type objectTree struct {
	Resource string `json:"resource"`
	Name     string `json:"name"`
	// State is that of the copy, as the report on the object has it, or Refused.
	State   string `json:"state"`
	Message string `json:"message,omitempty"`
}

// treeOf arranges the facts. If one SyncTarget is named, it has only the Placements and Namespaces that are there.
func treeOf(f *treeFacts, workspace string, named bool) *workspaceTree {
	w := &workspaceTree{Workspace: workspace, Placements: []placementTree{}}
	placed := f.placedTargets()
	for i := range f.placements {
		placement := &f.placements[i]
		p := placementTree{Name: placement.Name, Namespaces: namespaceTrees(placement, placed, named)}
		if scheduled := meta.FindStatusCondition(placement.Status.Conditions, workloadv1alpha1.ConditionScheduled); scheduled != nil && scheduled.Status != metav1.ConditionTrue && len(p.Namespaces) == 0 {
			p.Message = scheduled.Message
		}
		if len(p.Namespaces) > 0 || !named {
			w.Placements = append(w.Placements, p)
		}
	}
	slices.SortFunc(w.Placements, func(a, b placementTree) int { return strings.Compare(a.Name, b.Name) })
	return w
}

// placedNamespace identifies a Namespace of a Placement.
type placedNamespace struct{ placement, namespace string }

// placedTargets are the SyncTargets that the Namespaces are on, with the objects there.
func (f *treeFacts) placedTargets() map[placedNamespace][]targetTree {
	objects := f.objectTrees()
	placed := map[placedNamespace][]targetTree{}
	for i := range f.assignments {
		a := &f.assignments[i]
		for j := range f.targets {
			t := &f.targets[j]
			if !isOn(a, t) {
				continue
			}
			node := targetTree{Name: t.Name, Objects: objects[objectPlace{t.Status.Key, a.Spec.Namespace.Name}]}
			node.State, node.Message = assignmentState(a)
			at := placedNamespace{a.Spec.Placement.Name, a.Spec.Namespace.Name}
			placed[at] = append(placed[at], node)
		}
	}
	for _, targets := range placed {
		slices.SortFunc(targets, func(a, b targetTree) int { return strings.Compare(a.Name, b.Name) })
	}
	return placed
}

// namespaceTrees are the Namespaces of a Placement: those with Assignments, and those that wait for a cluster.
func namespaceTrees(placement *workloadv1alpha1.Placement, placed map[placedNamespace][]targetTree, named bool) []namespaceTree {
	messages := map[string]string{}
	for _, n := range placement.Status.Namespaces {
		if len(placed[placedNamespace{placement.Name, n.Name}]) > 0 || !named {
			messages[n.Name] = n.Message
		}
	}
	for at := range placed {
		if _, ok := messages[at.namespace]; at.placement == placement.Name && !ok {
			messages[at.namespace] = ""
		}
	}
	var out []namespaceTree
	for name, message := range messages {
		out = append(out, namespaceTree{Name: name, Message: message, SyncTargets: placed[placedNamespace{placement.Name, name}]})
	}
	slices.SortFunc(out, func(a, b namespaceTree) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// objectPlace is a Namespace in the cluster of the SyncTarget with a key.
type objectPlace struct{ key, namespace string }

// objectTrees are the objects, by where their copies are.
func (f *treeFacts) objectTrees() map[objectPlace][]objectTree {
	placed := map[objectPlace][]objectTree{}
	for _, o := range f.objects {
		for key, report := range o.reports {
			state, message := reportState(report)
			if state == "" {
				continue
			}
			at := objectPlace{key, o.namespace}
			placed[at] = append(placed[at], objectTree{Resource: o.resource.String(), Name: o.name, State: state, Message: message})
		}
	}
	for _, objects := range placed {
		slices.SortFunc(objects, func(a, b objectTree) int {
			return cmp.Or(strings.Compare(a.Resource, b.Resource), strings.Compare(a.Name, b.Name))
		})
	}
	return placed
}

// reportState says how a copy fares; the state is empty for an object that is to have none in the cluster.
func reportState(report rejection.Report) (state, message string) {
	switch {
	case report.Refused != "":
		return stateRefused, report.Refused
	case report.Ready == "" && report.Time == "" && !report.Rejected():
		return "", ""
	}
	differs := ""
	if len(report.Differs) > 0 {
		differs = "other values in: " + strings.Join(report.Differs, ", ")
	}
	return cmp.Or(report.Ready, string(kstatus.UnknownStatus)), cmp.Or(report.Conflict, differs, report.Message)
}
