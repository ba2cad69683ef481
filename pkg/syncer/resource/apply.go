package resource

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
)

// apply writes the copy. What the physical cluster refuses is told, and tried again after a while; again says when. An
// error is for what another attempt may change; it is told as well once it has lasted.
func (o *pass) apply(ctx context.Context, desired *unstructured.Unstructured, report Report) (told Report, again time.Duration, err error) {
	log.FromContext(ctx).V(1).Info("Applying", "object", o.String())
	if o.dst != nil {
		desired.SetUID(o.dst.GetUID()) // should it be replaced meanwhile, the server refuses
	}
	if o.dst == nil && o.passes.Load() > crowd {
		o.crowded.Store(o.clock.Now().UnixNano())
	}
	held, first := o.holds(), o.holdsFirst()
	if !o.ours(o.dst) && held {
		// By the cache. Before the look below, so that there is nothing between that and the apply.
		if err := o.hold(ctx); err != nil {
			return report, 0, err
		}
	}
	if o.dst == nil && (held || first || o.takesOver()) {
		if err := o.lacks(ctx); err != nil {
			return o.blame(desired, report, err)
		}
	}
	if !o.ours(o.dst) && first && !held {
		if known, ok := o.settlement(desired); ok && known.report.blamed() {
			// Refused before. It is only tried, so that the object is not held and let go again and again.
			if _, err := o.write(ctx, desired, metav1.DryRunAll); err != nil {
				o.copyless = o.dst == nil && refusesCopy(err)
				return o.blame(desired, report, fmt.Errorf("applying %s in the physical cluster: %w", o, err))
			}
		}
		if err := o.hold(ctx); err != nil {
			return report, 0, err
		}
	}
	applied, err := o.write(ctx, desired)
	if isScaled(err) {
		applied, err = o.write(ctx, withoutReplicas(desired))
	}
	if err != nil {
		o.copyless = o.dst == nil && refusesCopy(err)
		return o.blame(desired, report, fmt.Errorf("applying %s in the physical cluster: %w", o, err))
	}
	if o.dst == nil && !held && !o.isFixture() && isShared(applied) {
		// The cache did not show it yet. What was merged into it is taken out again.
		o.dst = applied
		o.memory.merged = applied.GetUID()
		if err := o.giveBackMerged(ctx); err != nil {
			return report, 0, err
		}
		o.copyless = true
		return o.refusedByForeign(report), 0, nil
	}
	unchanged := o.dst != nil && o.dst.GetResourceVersion() == applied.GetResourceVersion()
	if o.restores(desired) && !equality.Semantic.DeepEqual(contentOf(o.dst), contentOf(applied)) {
		o.memory.restored = o.clock.Now()
	}
	o.dst = applied
	if unchanged {
		o.settle(desired, settlement{}, 0)
		return report, 0, nil
	}
	o.lane.down.objects.put(o.place.counterpart+"/"+o.name, applied, true)
	report.Time = o.clock.Now().UTC().Format(time.RFC3339)
	o.metrics.carried(o.lane.resource.GroupResource, o.clock, o.changedAt)
	return report, 0, nil
}

// restores tells whether an apply brings a copy back to what was applied to it already.
func (o *pass) restores(desired *unstructured.Unstructured) bool {
	return o.dst != nil && hashIn(o.dst) == hashIn(desired)
}

// untilRestored is how long a copy that somebody has changed, and changes back again and again, is left so.
func (o *pass) untilRestored(desired *unstructured.Unstructured) time.Duration {
	if o.memory.restored.IsZero() || !o.restores(desired) {
		return 0
	}
	return max(restorePace-o.clock.Since(o.memory.restored), 0)
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

// lacks asks the physical cluster whether there is nothing of the copy's name, as the cache shows: something of somebody's
// would be made ours.
func (o *pass) lacks(ctx context.Context) error {
	live, err := o.lane.down.client.Get(ctx, o.name, metav1.GetOptions{})
	switch {
	case isGone(err, o.name):
		return nil
	case err != nil:
		return fmt.Errorf("reading %s in the physical cluster: %w", o, err)
	}
	return fmt.Errorf("%s, of resource version %s, is in the physical cluster, and the syncer's watch has yet to show it", o, live.GetResourceVersion())
}

func (o *pass) write(ctx context.Context, desired *unstructured.Unstructured, dryRun ...string) (applied *unstructured.Unstructured, err error) {
	started := o.clock.Now()
	defer func() {
		if _, kind := refusal(err); err == nil || kind != passing {
			o.heard.Store(o.clock.Now().UnixNano())
		}
	}()
	applied, err = o.lane.down.client.Apply(ctx, o.name, desired, metav1.ApplyOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer, Force: o.takesOver(), DryRun: dryRun})
	if len(dryRun) == 0 {
		o.metrics.applied(o.lane.resource.GroupResource, o.clock.Since(started), err)
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
func (o *pass) isLeftScaled(desired *unstructured.Unstructured) bool {
	return o.dst != nil && hashIn(o.dst) == hashIn(desired)+scaledMark && !o.takesOver()
}

func (o *pass) takesOver() bool {
	return o.src.GetAnnotations()[workloadv1alpha1.AnnotationTakeOver] == "true"
}

// blame says what of a failed apply is to be told.
func (o *pass) blame(desired *unstructured.Unstructured, report Report, err error) (Report, time.Duration, error) {
	refused, kind := o.refusal(err)
	refused.Time = report.Time
	attempts := o.queue.NumRequeues(o.id())
	switch {
	case kind == final:
		o.queue.Forget(o.id()) // what failed before has been overcome
		o.settle(desired, settlement{report: refused}, refusalRetry)
		return refused, refusalRetry, nil
	case kind == lasting && attempts >= tellAfter:
		// Settled, so that not even the event of what is told makes the next attempt come sooner.
		o.settle(desired, settlement{report: refused}, pause(attempts, err))
		return refused, 0, err
	}
	if _, asked := apierrors.SuggestsClientDelay(err); asked {
		o.settle(desired, settlement{putOff: true}, pause(attempts, err))
	}
	return report, 0, err
}

// refusal is what the failure of a write is worth. That there was no answer says nothing of the object, unless others have
// been answered since it was tried before.
func (o *pass) refusal(err error) (Report, refusalKind) {
	report, kind := refusal(err)
	attempts := o.queue.NumRequeues(o.id())
	if err == nil || kind != passing || attempts < tellAfter || isOverload(err) || errors.Is(err, errThrottled) {
		return report, kind
	}
	before := o.began.Add(-pause(attempts-1, err))
	if !time.Unix(0, o.heard.Load()).After(before) {
		return report, kind
	}
	why := clip(err.Error())
	if errors.Is(err, context.DeadlineExceeded) {
		why = fmt.Sprintf("it does not answer within %s; a webhook there may hang", passTimeout)
	}
	return Report{Refused: "the physical cluster takes others, but not this one: " + why}, lasting
}

// refusesCopy tells whether what became of a write says that nothing was written: not where there was no answer, nor where the
// server speaks of a fault of its own, before which it may have been done.
func refusesCopy(err error) bool {
	var answer apierrors.APIStatus
	_, kind := refusal(err)
	return kind != passing && errors.As(err, &answer) && answer.Status().Code < http.StatusInternalServerError
}

// isOverload tells the answer of a server that turns requests away unseen, and says so in a line of text, from one that was
// given to this object.
func isOverload(err error) bool {
	return apierrors.IsTooManyRequests(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// isShared tells whether somebody else has set something of an object too.
func isShared(object *unstructured.Unstructured) bool {
	return slices.ContainsFunc(object.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager != workloadv1alpha1.FieldOwnerSyncer
	})
}

// settlement is the outcome of an apply that would be the same again until the object or its copy changes: nothing was
// changed, though the copy seemed not to say what it should, or the server refused or put it off, which holds for a while.
type settlement struct {
	of     string
	report Report
	putOff bool
	until  time.Time
}

// errPutOff tells that the server has asked to try it no sooner than that, and that there is nothing to tell yet.
var errPutOff = errors.New("the server has put it off")

// settle notes the outcome of an apply, and how long it holds.
func (o *pass) settle(desired *unstructured.Unstructured, outcome settlement, lasts time.Duration) {
	outcome.of, outcome.until = o.matter(desired), o.clock.Now().Add(lasts)
	o.memory.settled = outcome
}

// settled returns the outcome of the last apply if it still stands.
func (o *pass) settled(desired *unstructured.Unstructured) (settlement, bool) {
	known, ok := o.settlement(desired)
	if !ok || (known.report.blamed() || known.putOff) && !o.clock.Now().Before(known.until) {
		return settlement{}, false
	}
	return known, true
}

// settlement returns the outcome of the last apply of the same.
func (o *pass) settlement(desired *unstructured.Unstructured) (settlement, bool) {
	known := o.memory.settled
	return known, known != (settlement{}) && known.of == o.matter(desired)
}

// matter identifies what an apply is about: what is wanted, and what is there.
func (o *pass) matter(desired *unstructured.Unstructured) string {
	about := []any{hashIn(desired), o.takesOver()}
	if o.dst != nil {
		about = append(about, o.dst.GetUID(), contentOf(o.dst), o.dst.GetLabels(), o.dst.GetAnnotations())
	}
	hash, err := hashOf(about)
	if err != nil {
		return ""
	}
	return hash
}
