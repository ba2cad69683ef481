package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/sanitize"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

const (
	// maxErrors is how many of the writes of a pass that failed are named.
	maxErrors = 3
	// maxMessage keeps a condition readable.
	maxMessage = 1024
)

// outcome is what has become of the writes of a pass.
type outcome struct {
	mu sync.Mutex
	// lostRace: an object had changed, or was there already.
	lostRace bool
	errs     []error
	// failed are the Namespaces of which an Assignment could not be written.
	failed sets.Set[string]
}

// add takes in the result of a write; namespace is that of its Assignment, empty for other objects.
func (o *outcome) add(namespace string, err error) {
	if err == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if namespace != "" {
		o.failed.Insert(namespace)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || errors.Is(err, errRightsLeft) {
		o.lostRace = true
		return
	}
	o.errs = append(o.errs, err)
}

func (o *outcome) err() error {
	if len(o.errs) > maxErrors {
		return fmt.Errorf("%d writes failed, among them: %w", len(o.errs), errors.Join(o.errs[:maxErrors]...))
	}
	return errors.Join(o.errs...)
}

// inParallel makes writes at the same time, a bounded number of them. One that fails keeps no other from being made.
func inParallel(count int, write func(int)) {
	var writing errgroup.Group
	writing.SetLimit(parallelWrites)
	for i := range count {
		writing.Go(func() error {
			write(i)
			return nil
		})
	}
	_ = writing.Wait()
}

// write makes the changes: first our finalizers of Placements, then the Assignments, then what tells about them.
func (r *Reconciler) write(ctx context.Context, s *scope, seen *observation, c *scheduler.Changes) (lostRace bool, err error) {
	o := &outcome{failed: sets.New[string]()}
	placements := r.writeFinalizers(ctx, s, seen, c, o)
	r.writeAssignments(ctx, s, seen, c, o)

	if len(c.Placements)+len(c.Targets)+len(c.Annotations) > 0 {
		s.workspace.report(seen.Now)
	}
	inParallel(len(placements), func(i int) {
		o.add("", patchPlacementStatus(ctx, s.upstream, placements[i].before, &placements[i].after.Status))
	})
	targets := map[string]*workloadv1alpha1.SyncTarget{}
	for _, cluster := range seen.Clusters {
		targets[cluster.Target.Name] = cluster.Target
	}
	inParallel(len(c.Targets), func(i int) {
		o.add("", patchTargetStatus(ctx, s.upstream, targets[c.Targets[i].Name], &c.Targets[i].Status))
	})
	inParallel(len(c.Annotations), func(i int) { o.add("", patchAnnotation(ctx, s.upstream, &c.Annotations[i])) })
	r.sendEvents(s, seen, c, o.failed)
	return o.lostRace, o.err()
}

// placementChange is a Placement as it is now, and as it is to be.
type placementChange struct{ before, after *workloadv1alpha1.Placement }

// writeFinalizers adds our finalizer to Placements, and takes it off. It returns those that are there afterwards.
func (r *Reconciler) writeFinalizers(ctx context.Context, s *scope, seen *observation, c *scheduler.Changes, o *outcome) []placementChange {
	changes := make([]placementChange, 0, len(c.Placements))
	for i := range c.Placements {
		at := slices.IndexFunc(seen.Placements, func(p workloadv1alpha1.Placement) bool { return p.UID == c.Placements[i].UID })
		if at >= 0 {
			changes = append(changes, placementChange{before: &seen.Placements[at], after: &c.Placements[i]})
		}
	}
	inParallel(len(changes), func(i int) {
		change := &changes[i]
		if slices.Equal(change.before.Finalizers, change.after.Finalizers) {
			return
		}
		written, err := patchFinalizers(ctx, s.upstream, change.before, change.after.Finalizers)
		o.add("", err)
		if err != nil || written.DeletionTimestamp != nil {
			change.before = nil
			return
		}
		change.before = written
	})
	return slices.DeleteFunc(changes, func(change placementChange) bool { return change.before == nil })
}

// writeAssignments writes the Assignments.
func (r *Reconciler) writeAssignments(ctx context.Context, s *scope, seen *observation, c *scheduler.Changes, o *outcome) {
	read := byName(seen.Assignments)
	inParallel(len(c.Create), func(i int) {
		created := &c.Create[i]
		err := createAssignment(ctx, s.upstream, created)
		if err == nil {
			r.Metrics.created(created, seen.Assignments)
		}
		o.add(created.Spec.Namespace.Name, err)
	})
	inParallel(len(c.Update), func(i int) {
		update := &c.Update[i]
		before := read[keyOf(update)]
		err := patchAssignment(ctx, s.upstream, before, update)
		if err == nil && withdraws(read, update) {
			r.Metrics.withdrawn(before, update, seen.Assignments)
		}
		o.add(update.Spec.Namespace.Name, err)
	})
	inParallel(len(c.Delete), func(i int) {
		deleted := &c.Delete[i]
		err := verifyEnd(ctx, s.upstream, seen, deleted)
		if err == nil {
			err = deleteAssignment(ctx, s.upstream, deleted)
		}
		o.add(deleted.Spec.Namespace.Name, err)
	})
}

// sendEvents tells what begins to move or has moved, but not of Namespaces of which that could not be written.
func (r *Reconciler) sendEvents(s *scope, seen *observation, c *scheduler.Changes, failed sets.Set[string]) {
	for _, e := range c.Events {
		if failed.Has(e.Namespace) {
			continue
		}
		eventType := corev1.EventTypeNormal
		if e.Warning {
			eventType = corev1.EventTypeWarning
		}
		if e.Reason == scheduler.EventFailedScheduling {
			r.Metrics.unschedulable()
		}
		if e.Placement != nil {
			r.Events.Event(s.clusterName, e.Placement, eventType, e.Reason, e.Message)
		}
		if namespace := namespaceOf(seen, e.Namespace); namespace != nil {
			r.Events.Event(s.clusterName, namespace, eventType, e.Reason, e.Message)
		}
	}
}

// namespaceOf names a Namespace of a workspace; nil if it is not known.
func namespaceOf(seen *observation, name string) *metav1.PartialObjectMetadata {
	for _, n := range seen.Namespaces {
		if n.Name == name && !n.Gone {
			namespace := namespaceMeta()
			namespace.Name, namespace.UID = n.Name, n.UID
			return namespace
		}
	}
	return nil
}

// withoutReports puts off what tells about a workspace, if there is something to tell; the next plan has it again. What is told of a
// change of an Assignment is told with that.
func withoutReports(c scheduler.Changes, putOff time.Duration) (scheduler.Changes, time.Duration) {
	written := sets.New[string]()
	for _, assignments := range [][]workloadv1alpha1.Assignment{c.Create, c.Update, c.Delete} {
		for i := range assignments {
			written.Insert(assignments[i].Spec.Namespace.Name)
		}
	}
	placements := slices.DeleteFunc(slices.Clone(c.Placements), func(p workloadv1alpha1.Placement) bool { return !releases(p) })
	if len(placements) == len(c.Placements) && len(c.Targets)+len(c.Annotations) == 0 {
		return c, 0
	}
	c.Events = slices.DeleteFunc(slices.Clone(c.Events), func(e scheduler.Event) bool { return !written.Has(e.Namespace) })
	c.Placements, c.Targets, c.Annotations = placements, nil, nil
	return c, putOff
}

// reportMissing says on each Placement that nothing is decided without permission claims.
func (r *Reconciler) reportMissing(ctx context.Context, s *scope, seen *observation, message string) error {
	o := &outcome{failed: sets.New[string]()}
	inParallel(len(seen.Placements), func(i int) {
		placement := &seen.Placements[i]
		if placement.DeletionTimestamp != nil {
			return
		}
		status := placement.Status.DeepCopy()
		status.ObservedGeneration = placement.Generation
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: workloadv1alpha1.ConditionScheduled, Status: metav1.ConditionUnknown, Reason: workloadv1alpha1.ReasonValidationFailed,
			Message: sanitize.Truncate(message, maxMessage), ObservedGeneration: placement.Generation, LastTransitionTime: metav1.NewTime(seen.Now),
		})
		scheduler.SetProgress(status, seen.Now)
		if !equality.Semantic.DeepEqual(status, &placement.Status) {
			o.add("", patchPlacementStatus(ctx, s.upstream, placement, status))
		}
	})
	return o.err()
}

// notePending notes, for the metrics, which Namespaces have no SyncTarget, as far as the statuses of the Placements name them.
func (r *Reconciler) notePending(s *scope, seen *observation, c *scheduler.Changes) {
	planned := map[string]*workloadv1alpha1.Placement{}
	for i := range seen.Placements {
		planned[seen.Placements[i].Name] = &seen.Placements[i]
	}
	for i := range c.Placements {
		planned[c.Placements[i].Name] = &c.Placements[i]
	}
	var pending []string
	for _, placement := range planned {
		for _, namespace := range placement.Status.Namespaces {
			if len(namespace.Clusters) == 0 {
				pending = append(pending, namespace.Name)
			}
		}
	}
	s.workspace.setPending(pending, seen.Now)
}

// isSilent tells whether a SyncTarget is not Ready for its silence.
func isSilent(target *workloadv1alpha1.SyncTarget) bool {
	ready := meta.FindStatusCondition(target.Status.Conditions, workloadv1alpha1.ConditionReady)
	return ready != nil && ready.Reason == workloadv1alpha1.ReasonUnhealthy
}
