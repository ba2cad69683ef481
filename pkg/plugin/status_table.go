package plugin

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// absent stands in a table for what is not known.
const absent = "-"

// columns of the table of SyncTargets; those of priority 1 are wide.
func columns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name"}, {Name: "Ready", Type: "string"}, {Name: "Phase", Type: "string"}, {Name: "Cluster", Type: "string"},
		{Name: "Heartbeat", Type: "string"}, {Name: "Agent", Type: "string"}, {Name: "Namespaces", Type: "string"}, {Name: "Failing", Type: "string"},
		{Name: "Age", Type: "string"}, {Name: "Reason", Type: "string"},
		{Name: "Mode", Type: "string", Priority: 1}, {Name: "Nodes", Type: "string", Priority: 1}, {Name: "Kubernetes", Type: "string", Priority: 1},
		{Name: "Key", Type: "string", Priority: 1}, {Name: "Message", Type: "string", Priority: 1},
	}
}

func tableOf(targets []workloadv1alpha1.SyncTarget, now time.Time) *metav1.Table {
	table := &metav1.Table{ColumnDefinitions: columns()}
	for i := range targets {
		table.Rows = append(table.Rows, metav1.TableRow{Cells: rowOf(&targets[i], now), Object: runtime.RawExtension{Object: &targets[i]}})
	}
	return table
}

// rowOf is the line of a SyncTarget, in the order of the columns.
func rowOf(target *workloadv1alpha1.SyncTarget, now time.Time) []any {
	ready, reason, message := string(metav1.ConditionUnknown), absent, absent
	if condition := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionReady); condition != nil {
		ready = string(condition.Status)
	}
	if open := notTrue(target); len(open) > 0 {
		reason, message = open[0].Reason, open[0].Message
	} else if target.Spec.Drain != nil {
		reason = "Draining"
	} else if target.Spec.Unschedulable {
		reason = "Cordoned"
	}
	agent, nodes, kubernetes := absent, absent, absent
	if syncer := target.Status.Syncer; syncer != nil {
		agent, nodes, kubernetes = orAbsent(syncer.Version), fmt.Sprint(syncer.Nodes), orAbsent(syncer.KubernetesVersion)
	}
	return []any{
		target.Name, ready, orAbsent(string(target.Status.Phase)), orAbsent(target.Spec.Cluster), heartbeatAge(target, now), agent,
		runningNamespaces(target), fmt.Sprint(failing(target)), age(target.CreationTimestamp.Time, now), reason,
		mode(target), nodes, kubernetes, orAbsent(target.Status.Key), message,
	}
}

func mode(target *workloadv1alpha1.SyncTarget) string {
	if target.Spec.KubeconfigSecretRef == nil {
		return "pull"
	}
	return "push"
}

// runningNamespaces is how many of the Namespaces that are to run there do.
func runningNamespaces(target *workloadv1alpha1.SyncTarget) string {
	counts := target.Status.Assignments
	if counts == nil {
		return absent
	}
	return fmt.Sprintf("%d/%d", counts.Running, counts.Running+counts.Pending)
}

// failing is how many objects the physical cluster refuses, or whose copy has failed.
func failing(target *workloadv1alpha1.SyncTarget) (n int32) {
	for _, resource := range target.Status.SyncedResources {
		n += resource.Failing
	}
	return n
}

func heartbeatAge(target *workloadv1alpha1.SyncTarget, now time.Time) string {
	if target.Status.LastHeartbeatTime == nil {
		return absent
	}
	return age(target.Status.LastHeartbeatTime.Time, now)
}

func age(since, now time.Time) string {
	if since.IsZero() {
		return absent
	}
	return duration.HumanDuration(max(now.Sub(since), 0))
}

func orAbsent(text string) string {
	if text == "" {
		return absent
	}
	return text
}
