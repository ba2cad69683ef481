package plugin

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/sanitize"
)

// versions are those that the version of a syncer is compared with; controller is empty if it is not known.
type versions struct{ plugin, controller string }

// writeDetails describes one SyncTarget.
func writeDetails(out io.Writer, workspace string, target *workloadv1alpha1.SyncTarget, assignments []workloadv1alpha1.Assignment, v versions, now time.Time) {
	writeSummary(out, workspace, target, v, now)
	writeConditions(out, target, now)
	writeCapacity(out, target)
	writeResources(out, target)
	writeTaints(out, target, now)
	writeNamespaces(out, assignments, now)
	writeDrain(out, target)
}

func writeSummary(out io.Writer, workspace string, target *workloadv1alpha1.SyncTarget, v versions, now time.Time) {
	w := printers.GetNewTabWriter(out)
	defer w.Flush()
	line := func(name, value string) { fmt.Fprintf(w, "%s:\t%s\n", name, orAbsent(value)) }
	line("Name", target.Name)
	line("Workspace", workspace)
	line("Phase", string(target.Status.Phase))
	line("Schedulable", schedulable(target))
	line("Mode", modeText(target))
	line("Cluster", target.Spec.Cluster)
	line("Cluster ID", target.Status.ClusterID)
	line("Cells", cellText(target.Spec.Cells))
	line("Key", target.Status.Key)
	line("Age", age(target.CreationTimestamp.Time, now))
	line("Heartbeat", heartbeatText(target, now))
	line("Controller", v.controllerText())
	line("Agent", v.agentText(target.Status.Syncer))
	if credentials := target.Status.Credentials; credentials != nil && credentials.IssuedAt != nil {
		line("Token", tokenText(credentials, now))
	}
	if syncer := target.Status.Syncer; syncer != nil {
		line("Kubernetes", syncer.KubernetesVersion)
		line("Nodes", fmt.Sprint(syncer.Nodes))
	}
}

// tokenText is how old the newest token of the syncer is, whether it is in use, and when it is replaced.
func tokenText(credentials *workloadv1alpha1.CredentialsStatus, now time.Time) string {
	text := fmt.Sprintf("issued %s ago in Secret %s", age(credentials.IssuedAt.Time, now), credentials.Secret)
	next := credentials.NextRotation
	switch {
	case credentials.InUse != "" && credentials.InUse != credentials.Secret:
		text += ", the syncer still uses the one in Secret " + credentials.InUse
	case next != nil && now.Before(next.Time):
		text += ", replaced in " + age(now, next.Time)
	case next != nil:
		text += ", due to be replaced"
	}
	return text
}

func schedulable(target *workloadv1alpha1.SyncTarget) string {
	switch {
	case target.Spec.Drain != nil:
		return "no, it is being drained"
	case target.Spec.Unschedulable:
		return "no, it is cordoned"
	}
	return "yes"
}

func modeText(target *workloadv1alpha1.SyncTarget) string {
	ref := target.Spec.KubeconfigSecretRef
	if ref == nil {
		return "pull: you apply the manifests of the syncer"
	}
	return fmt.Sprintf("push: the service installs the syncer, by the kubeconfig in Secret %s/%s", ref.Namespace, ref.Name)
}

func cellText(cells map[string]workloadv1alpha1.CellValue) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(cells)) {
		all = append(all, fmt.Sprintf("%s=%s", name, cells[name]))
	}
	return strings.Join(all, ",")
}

func heartbeatText(target *workloadv1alpha1.SyncTarget, now time.Time) string {
	if target.Status.LastHeartbeatTime == nil {
		return "none yet"
	}
	return heartbeatAge(target, now) + " ago"
}

// controllerText is the version of the controller, and how it compares with the plugin's.
func (v versions) controllerText() string {
	found := skewOf(v.controller, v.plugin)
	if v.controller == "" || found == sameVersion {
		return v.controller
	}
	return fmt.Sprintf("%s (%s kubectl synctarget, %s)", v.controller, found.words(), v.plugin)
}

// agentText is the version of the syncer, and how it compares with the controller's, or if that is not known, with the plugin's.
func (v versions) agentText(syncer *workloadv1alpha1.SyncerStatus) string {
	if syncer == nil || syncer.Version == "" {
		return ""
	}
	text := syncer.Version
	if syncer.Instance != "" {
		text += ", Pod " + syncer.Instance
	}
	what, version := "the controller", v.controller
	if v.controller == "" {
		what, version = "kubectl synctarget", v.plugin
	}
	if found := skewOf(syncer.Version, version); found != sameVersion {
		text += fmt.Sprintf(" (%s %s, %s)", found.words(), what, version)
	}
	return text
}

// writeSection writes a table below a title, indented; without rows it writes nothing.
func writeSection(out io.Writer, title string, header []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s:\n", title)
	w := printers.GetNewTabWriter(out)
	defer w.Flush()
	for _, row := range append([][]string{header}, rows...) {
		for i := range row {
			row[i] = sanitize.Line(orAbsent(row[i])) // it may have the words of others
		}
		fmt.Fprintf(w, "  %s\n", strings.Join(row, "\t"))
	}
}

func writeConditions(out io.Writer, target *workloadv1alpha1.SyncTarget, now time.Time) {
	var rows [][]string
	names := append(slices.Clone(readyConditions), workloadv1alpha1.ConditionSynced)
	for _, name := range names {
		if c := meta.FindStatusCondition(target.Status.Conditions, name); c != nil {
			rows = append(rows, []string{c.Type, string(c.Status), age(c.LastTransitionTime.Time, now), c.Reason, outdated(target, c) + c.Message})
		}
	}
	writeSection(out, "Conditions", []string{"TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"}, rows)
}

// outdated marks a condition that does not speak of the present spec.
func outdated(target *workloadv1alpha1.SyncTarget, condition *metav1.Condition) string {
	if condition.ObservedGeneration == target.Generation {
		return ""
	}
	return "(before the last change of the spec) "
}

func writeCapacity(out io.Writer, target *workloadv1alpha1.SyncTarget) {
	names := map[string]bool{}
	var capacity, allocatable map[string]resource.Quantity
	requested := requestedBy(target.Status.SyncedResources)
	if syncer := target.Status.Syncer; syncer != nil {
		capacity, allocatable = syncer.Capacity, syncer.Allocatable
	}
	for _, quantities := range []map[string]resource.Quantity{target.Spec.Capacity, capacity, allocatable, requested} {
		for name := range quantities {
			names[name] = true
		}
	}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		rows = append(rows, []string{
			name, quantity(target.Spec.Capacity, name), quantity(capacity, name), quantity(allocatable, name), quantity(requested, name),
		})
	}
	writeSection(out, "Capacity", []string{"RESOURCE", "DECLARED", "MEASURED", "ALLOCATABLE", "REQUESTED"}, rows)
}

// requestedBy adds up what the copies of all resources request.
func requestedBy(resources []workloadv1alpha1.SyncedResourceStatus) map[string]resource.Quantity {
	total := map[string]resource.Quantity{}
	for i := range resources {
		for name, quantity := range resources[i].Requested {
			sum := total[name]
			sum.Add(quantity)
			total[name] = sum
		}
	}
	return total
}

func quantity(quantities map[string]resource.Quantity, name string) string {
	if q, ok := quantities[name]; ok {
		return q.String()
	}
	return ""
}

func writeResources(out io.Writer, target *workloadv1alpha1.SyncTarget) {
	var rows [][]string
	for _, r := range target.Status.SyncedResources {
		name := workloadv1alpha1.GroupResource{Group: r.Group, Resource: r.Resource}.String()
		rows = append(rows, []string{name, string(r.State), fmt.Sprint(r.Objects), fmt.Sprint(r.Failing), strings.Join(r.Versions, ","), r.Message})
	}
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	writeSection(out, "Resources", []string{"RESOURCE", "STATE", "OBJECTS", "FAILING", "VERSIONS", "MESSAGE"}, rows)
}

func writeTaints(out io.Writer, target *workloadv1alpha1.SyncTarget, now time.Time) {
	var rows [][]string
	for _, t := range target.Status.Taints {
		rows = append(rows, []string{t.Key, t.Value, string(t.Effect), age(t.TimeAdded.Time, now)})
	}
	writeSection(out, "Taints", []string{"KEY", "VALUE", "EFFECT", "SINCE"}, rows)
}

func writeNamespaces(out io.Writer, assignments []workloadv1alpha1.Assignment, now time.Time) {
	var rows [][]string
	for i := range assignments {
		a := &assignments[i]
		state, message := assignmentState(a)
		objects, failing := "", ""
		if a.Status.Objects != nil {
			objects, failing = fmt.Sprint(a.Status.Objects.Applied), fmt.Sprint(a.Status.Objects.Failing)
		}
		rows = append(rows, []string{
			a.Spec.Namespace.Name, state, string(a.Spec.Reason), a.Spec.Placement.Name, objects, failing, age(a.CreationTimestamp.Time, now), message,
		})
	}
	writeSection(out, "Namespaces", []string{"NAME", "STATE", "REASON", "PLACEMENT", "OBJECTS", "FAILING", "AGE", "MESSAGE"}, rows)
}

// writeDrain says which Namespaces cannot leave.
func writeDrain(out io.Writer, target *workloadv1alpha1.SyncTarget) {
	if target.Status.Drain == nil {
		return
	}
	var rows [][]string
	for _, held := range target.Status.Drain.Held {
		rows = append(rows, []string{held.Namespace, held.Reason})
	}
	writeSection(out, fmt.Sprintf("Drain (%d Namespaces have yet to leave, %d are moving)", target.Status.Drain.Remaining, target.Status.Drain.Moving),
		[]string{"HELD", "REASON"}, rows)
}
