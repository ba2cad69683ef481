package plugin

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

// showPlan shows what a drain would do. It asks the scheduler of the service, of which this program has a copy.
func (d *drain) showPlan(ctx context.Context, workspace *connection, target *workloadv1alpha1.SyncTarget) error {
	w, err := d.readWorkspace(ctx, workspace, target)
	if err != nil {
		return err
	}
	rows, held := planOf(scheduler.Plan(w), w, target)
	if len(rows) == 0 {
		fmt.Fprintf(d.Out, "Nothing runs on SyncTarget %q.\n", d.name)
		return nil
	}
	writeSection(d.Out, fmt.Sprintf("Drain of %s: %d of %d Namespaces can leave", d.name, len(rows)-held, len(rows)), []string{"NAMESPACE", "TO", "MESSAGE"}, rows)
	if held > 0 {
		return &failure{
			code: exitFailed, message: fmt.Sprintf("%d of %d Namespaces cannot leave SyncTarget %q", held, len(rows), d.name),
			next: "change what the messages name; what cannot leave goes on running there",
		}
	}
	return nil
}

// readWorkspace reads what the scheduler decides by, as if the SyncTarget were drained without a limit to how many Namespaces move
// at once.
func (d *drain) readWorkspace(ctx context.Context, workspace *connection, target *workloadv1alpha1.SyncTarget) (scheduler.Workspace, error) {
	var (
		targets     workloadv1alpha1.SyncTargetList
		placements  workloadv1alpha1.PlacementList
		assignments workloadv1alpha1.AssignmentList
		namespaces  corev1.NamespaceList
	)
	for _, list := range []client.ObjectList{&targets, &placements, &assignments, &namespaces} {
		if err := workspace.List(ctx, list); err != nil {
			return scheduler.Workspace{}, fmt.Errorf("listing what is placed in %s: %w", workspace.name, err)
		}
	}
	w := scheduler.Workspace{Now: d.clock.Now(), Placements: placements.Items, Assignments: assignments.Items}
	for i := range w.Placements {
		w.Placements[i].Spec.Move.MaxUnavailable = math.MaxInt32
	}
	for i := range targets.Items {
		t := &targets.Items[i]
		if t.UID == target.UID {
			t.Spec.Drain = &workloadv1alpha1.DrainSpec{MaxConcurrent: math.MaxInt32}
		}
		w.Clusters = append(w.Clusters, scheduler.Cluster{Target: t, Key: t.Status.Key})
	}
	for i := range namespaces.Items {
		ns := &namespaces.Items[i]
		w.Namespaces = append(w.Namespaces, scheduler.Namespace{
			Name: ns.Name, UID: ns.UID, Labels: ns.Labels, Terminating: ns.DeletionTimestamp != nil,
			Annotation: ns.Annotations[workloadv1alpha1.AnnotationPlacement],
		})
	}
	return w, nil
}

// planOf lists what becomes of each Namespace that runs on a SyncTarget, by name, and counts those that cannot leave.
func planOf(changes scheduler.Changes, w scheduler.Workspace, target *workloadv1alpha1.SyncTarget) (rows [][]string, held int) {
	messages, held := drainMessages(changes, target)
	to := destinations(slices.Concat(w.Assignments, changes.Create), target)
	unnamed := 0
	for _, namespace := range slices.Sorted(maps.Keys(to)) {
		if to[namespace] == "" && messages[namespace] == "" && held >= maxHeld {
			messages[namespace] = fmt.Sprintf("cannot leave; the reason is told of %d Namespaces only", maxHeld)
			unnamed++
		}
		rows = append(rows, []string{namespace, to[namespace], messages[namespace]})
	}
	return rows, held + unnamed
}

// destinations tells for each Namespace that runs on a SyncTarget by which other one that is replaced, empty for none.
func destinations(assignments []workloadv1alpha1.Assignment, target *workloadv1alpha1.SyncTarget) map[string]string {
	to := map[string]string{}
	for i := range assignments {
		if a := &assignments[i]; runs(a) && isOn(a, target) {
			to[a.Spec.Namespace.Name] = ""
		}
	}
	for i := range assignments {
		a := &assignments[i]
		if _, leaves := to[a.Spec.Namespace.Name]; leaves && runs(a) && a.Spec.Replaces == target.Name {
			to[a.Spec.Namespace.Name] = a.Annotations[workloadv1alpha1.AnnotationSyncTarget]
		}
	}
	return to
}

// drainMessages tells of Namespaces of a SyncTarget what is special about how they leave, and how many cannot.
func drainMessages(changes scheduler.Changes, target *workloadv1alpha1.SyncTarget) (messages map[string]string, held int) {
	messages = map[string]string{}
	for i := range changes.Update {
		if a := &changes.Update[i]; isOn(a, target) && !runs(a) {
			messages[a.Spec.Namespace.Name] = "leaves first, and is placed again when it is gone"
		}
	}
	for _, t := range changes.Targets {
		if t.UID != target.UID || t.Status.Drain == nil {
			continue
		}
		for _, h := range t.Status.Drain.Held {
			messages[h.Namespace] = h.Reason
			held++
		}
	}
	return messages, held
}

func runs(a *workloadv1alpha1.Assignment) bool { return a.Spec.Intent == workloadv1alpha1.IntentRun }

func isOn(a *workloadv1alpha1.Assignment, target *workloadv1alpha1.SyncTarget) bool {
	return a.Labels[workloadv1alpha1.LabelUID] == string(target.UID)
}
