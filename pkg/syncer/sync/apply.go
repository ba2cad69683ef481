package sync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/ratelimit"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// apply writes the copy. What the physical cluster refuses is told, and tried again after a while; again says when. An
// error is for what another attempt may change; it is told as well once it has lasted.
func (o *objectReconciler) apply(ctx context.Context, desired *unstructured.Unstructured, report rejection.Report) (told rejection.Report, again time.Duration, err error) {
	log.FromContext(ctx).V(1).Info("Applying", "object", o.String())
	if o.dst != nil {
		desired.SetUID(o.dst.GetUID()) // should it be replaced meanwhile, the server refuses
	}
	if o.dst == nil && o.runningPasses.Load() > burstPasses {
		o.burstSince.Store(o.clock.Now().UnixNano())
	}
	held, first := o.hasFinalizer(), o.finalizerFirst()
	if !o.isManaged(o.dst) && held {
		// By the cache. Before the look below, so that there is nothing between that and the apply.
		if err := o.addFinalizer(ctx); err != nil {
			return report, 0, err
		}
	}
	if o.dst == nil && (held || first || o.takesOver()) {
		if err := o.verifyAbsent(ctx); err != nil {
			return o.recordFailure(desired, report, err)
		}
	}
	if !o.isManaged(o.dst) && first && !held {
		if known, ok := o.outcomeOf(desired); ok && known.report.Rejected() {
			// Refused before. It is only tried, so that the object is not held and let go again and again.
			if _, err := o.write(ctx, desired, metav1.DryRunAll); err != nil {
				o.noCopy = o.dst == nil && isRejectedUnapplied(err)
				return o.recordFailure(desired, report, fmt.Errorf("applying %s in the physical cluster: %w", o, err))
			}
		}
		if err := o.addFinalizer(ctx); err != nil {
			return report, 0, err
		}
	}
	applied, err := o.write(ctx, desired)
	if rejection.IsScaleConflict(err) {
		applied, err = o.write(ctx, withoutReplicas(desired))
	}
	if err != nil {
		o.noCopy = o.dst == nil && isRejectedUnapplied(err)
		return o.recordFailure(desired, report, fmt.Errorf("applying %s in the physical cluster: %w", o, err))
	}
	if o.dst == nil && !held && !o.isClusterDefault() && isShared(applied) {
		// The cache did not show it yet. What was merged into it is taken out again.
		o.dst = applied
		o.state.merged = applied.GetUID()
		if err := o.giveBackMerged(ctx); err != nil {
			return report, 0, err
		}
		o.noCopy = true
		return o.unmanagedReport(report), 0, nil
	}
	unchanged := o.dst != nil && o.dst.GetResourceVersion() == applied.GetResourceVersion()
	if o.restores(desired) && !equality.Semantic.DeepEqual(contentOf(o.dst), contentOf(applied)) {
		o.state.restoredAt = o.clock.Now()
	}
	o.dst = applied
	if unchanged {
		o.cacheOutcome(desired, outcome{}, 0)
		return report, 0, nil
	}
	o.resource.down.Objects.Assume(o.namespace.downstreamNamespace+"/"+o.name, applied, true)
	report.Time = o.clock.Now().UTC().Format(time.RFC3339)
	o.metrics.syncLatency(o.resource.api.GroupResource, o.clock, o.changedAt)
	return report, 0, nil
}

// restores tells whether an apply brings a copy back to what was applied to it already.
func (o *objectReconciler) restores(desired *unstructured.Unstructured) bool {
	return o.dst != nil && transform.AppliedHash(o.dst) == transform.AppliedHash(desired)
}

// untilRestored is how long a copy that somebody has changed, and changes back again and again, is left so.
func (o *objectReconciler) untilRestored(desired *unstructured.Unstructured) time.Duration {
	if o.state.restoredAt.IsZero() || !o.restores(desired) {
		return 0
	}
	return max(restorePace-o.clock.Since(o.state.restoredAt), 0)
}

// contentOf is what an object says, without what its server keeps of it.
func contentOf(object *unstructured.Unstructured) map[string]any {
	content := map[string]any{}
	for field, value := range object.Object {
		if field != "status" && field != "metadata" {
			content[field] = value
		}
	}
	return content
}

// verifyAbsent asks the physical cluster whether there is nothing of the copy's name, as the cache shows: something of somebody's
// would be made ours.
func (o *objectReconciler) verifyAbsent(ctx context.Context) error {
	live, err := o.resource.down.Client.Get(ctx, o.name, metav1.GetOptions{})
	switch {
	case isGone(err, o.name):
		return nil
	case err != nil:
		return fmt.Errorf("reading %s in the physical cluster: %w", o, err)
	}
	return fmt.Errorf("%s, of resource version %s, is in the physical cluster, and the syncer's watch has yet to show it", o, live.GetResourceVersion())
}

func (o *objectReconciler) write(ctx context.Context, desired *unstructured.Unstructured, dryRun ...string) (applied *unstructured.Unstructured, err error) {
	started := o.clock.Now()
	defer func() {
		if _, kind := rejection.Classify(err); err == nil || kind != rejection.Transient {
			o.lastApplyAnswer.Store(o.clock.Now().UnixNano())
		}
	}()
	applied, err = o.resource.down.Client.Apply(ctx, o.name, desired, metav1.ApplyOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer, Force: o.takesOver(), DryRun: dryRun})
	if len(dryRun) == 0 {
		o.metrics.applyDuration(o.resource.api.GroupResource, o.clock.Since(started), err)
	}
	return applied, err
}

// scaledMark behind the hash of a copy tells that it was applied without its replicas, which somebody else sets.
const scaledMark = "-scaled"

// withoutReplicas is what is applied to a copy that is scaled in the physical cluster.
func withoutReplicas(desired *unstructured.Unstructured) *unstructured.Unstructured {
	partial := desired.DeepCopy()
	unstructured.RemoveNestedField(partial.Object, "spec", "replicas")
	annotations := partial.GetAnnotations()
	annotations[workloadv1alpha1.AnnotationAppliedHash] += scaledMark
	partial.SetAnnotations(annotations)
	return partial
}

// isLeftScaled tells whether the copy was applied without the replicas that are wanted, and is to stay so.
func (o *objectReconciler) isLeftScaled(desired *unstructured.Unstructured) bool {
	return o.dst != nil && transform.AppliedHash(o.dst) == transform.AppliedHash(desired)+scaledMark && !o.takesOver()
}

func (o *objectReconciler) takesOver() bool {
	return o.src.GetAnnotations()[workloadv1alpha1.AnnotationTakeOver] == "true"
}

// recordFailure says what of a failed apply is to be told.
func (o *objectReconciler) recordFailure(desired *unstructured.Unstructured, report rejection.Report, err error) (rejection.Report, time.Duration, error) {
	refused, kind := o.classify(err)
	refused.Time = report.Time
	attempts := o.queue.NumRequeues(o.key())
	switch {
	case kind == rejection.Terminal:
		o.queue.Forget(o.key()) // what failed before has been overcome
		o.cacheOutcome(desired, outcome{report: refused}, rejection.RetryAfter)
		return refused, rejection.RetryAfter, nil
	case kind == rejection.Persistent && attempts >= rejection.ReportAfter:
		// Settled, so that not even the event of what is told makes the next attempt come sooner.
		o.cacheOutcome(desired, outcome{report: refused}, pause(attempts, err))
		return refused, 0, err
	}
	if _, asked := apierrors.SuggestsClientDelay(err); asked {
		o.cacheOutcome(desired, outcome{putOff: true}, pause(attempts, err))
	}
	return report, 0, err
}

// classify is what the failure of a write is worth. That there was no answer says nothing of the object, unless others have
// been answered since it was tried before.
func (o *objectReconciler) classify(err error) (rejection.Report, rejection.Class) {
	report, kind := rejection.Classify(err)
	attempts := o.queue.NumRequeues(o.key())
	if err == nil || kind != rejection.Transient || attempts < rejection.ReportAfter || rejection.IsOverload(err) || errors.Is(err, ratelimit.ErrThrottled) {
		return report, kind
	}
	before := o.began.Add(-pause(attempts-1, err))
	if !time.Unix(0, o.lastApplyAnswer.Load()).After(before) {
		return report, kind
	}
	why := rejection.Clip(err.Error())
	if errors.Is(err, context.DeadlineExceeded) {
		why = fmt.Sprintf("it does not answer within %s; a webhook there may hang", passTimeout)
	}
	return rejection.Report{Refused: "the physical cluster takes others, but not this one: " + why}, rejection.Persistent
}

// isRejectedUnapplied tells whether what became of a write says that nothing was written: not where there was no answer, nor where the
// server speaks of a fault of its own, before which it may have been done.
func isRejectedUnapplied(err error) bool {
	var answer apierrors.APIStatus
	_, kind := rejection.Classify(err)
	return kind != rejection.Transient && errors.As(err, &answer) && answer.Status().Code < http.StatusInternalServerError
}

// isShared tells whether somebody else has set something of an object too.
func isShared(object *unstructured.Unstructured) bool {
	return slices.ContainsFunc(object.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager != workloadv1alpha1.FieldOwnerSyncer
	})
}

// outcome is the outcome of an apply that would be the same again until the object or its copy changes: nothing was
// changed, though the copy seemed not to say what it should, or the server refused or put it off, which holds for a while.
type outcome struct {
	of     string
	report rejection.Report
	putOff bool
	until  time.Time
}

// errPutOff tells that the server has asked to try it no sooner than that, and that there is nothing to tell yet.
var errPutOff = errors.New("the server has put it off")

// cacheOutcome notes the outcome of an apply, and how long it holds.
func (o *objectReconciler) cacheOutcome(desired *unstructured.Unstructured, outcome outcome, lasts time.Duration) {
	outcome.of, outcome.until = o.applyKey(desired), o.clock.Now().Add(lasts)
	o.state.lastOutcome = outcome
}

// validOutcome returns the outcome of the last apply if it still stands.
func (o *objectReconciler) validOutcome(desired *unstructured.Unstructured) (outcome, bool) {
	known, ok := o.outcomeOf(desired)
	if !ok || (known.report.Rejected() || known.putOff) && !o.clock.Now().Before(known.until) {
		return outcome{}, false
	}
	return known, true
}

// outcomeOf returns the outcome of the last apply of the same.
func (o *objectReconciler) outcomeOf(desired *unstructured.Unstructured) (outcome, bool) {
	known := o.state.lastOutcome
	return known, known != (outcome{}) && known.of == o.applyKey(desired)
}

// applyKey identifies what an apply is about: what is wanted, and what is there.
func (o *objectReconciler) applyKey(desired *unstructured.Unstructured) string {
	about := []any{transform.AppliedHash(desired), o.takesOver()}
	if o.dst != nil {
		about = append(about, o.dst.GetUID(), contentOf(o.dst), o.dst.GetLabels(), o.dst.GetAnnotations())
	}
	hash, err := transform.Hash(about)
	if err != nil {
		return ""
	}
	return hash
}
