package sync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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

// conflictRetry is when an apply is repeated that others have kept from taking effect, without a change on either side: an owner may
// have given up a field without changing it.
const conflictRetry = time.Hour

// maxConflictRounds bounds how often an apply is repeated without the fields that others own: a server names all conflicts at once.
const maxConflictRounds = 3

// write creates or applies the copy. What the physical cluster refuses is reported on the object; done tells that the pass ends.
func (o *objectReconciler) write(ctx context.Context, next action, desired *unstructured.Unstructured) (done bool, err error) {
	var written *unstructured.Unstructured
	var conflicts []rejection.FieldConflict
	switch next {
	case dryRunCreate:
		_, err = o.create(ctx, desired, metav1.DryRunAll)
		o.confirmed.creatable = err == nil
	case createCopy:
		log.FromContext(ctx).V(1).Info("Creating the copy", "object", o.String())
		written, err = o.create(ctx, desired)
	default:
		log.FromContext(ctx).V(1).Info("Applying the copy", "object", o.String())
		written, conflicts, err = o.apply(ctx, desired)
	}
	if err != nil {
		return o.writeFailed(ctx, next, desired, err)
	}
	switch next {
	case applyCopy:
		o.recordApply(desired, written, conflicts)
	case createCopy:
		o.endCreation()
		o.setCopy(written)
		o.state.unreportedSince = o.clock.Now()
	}
	return false, nil
}

// writeFailed handles a failed write. A create may fail because there is a copy that the cache does not show yet: as AlreadyExists or,
// since a server may judge the content first, as a refusal. Then the pass goes on with that copy.
func (o *objectReconciler) writeFailed(ctx context.Context, next action, desired *unstructured.Unstructured, err error) (done bool, failure error) {
	if apierrors.IsAlreadyExists(err) {
		return false, o.readCopy(ctx)
	}
	if next == createCopy && wasNotWritten(err) && !o.confirmed.noCopy {
		if done, failure := o.confirmNoCopy(ctx); done || o.dst != nil {
			return done, failure
		}
	}
	return true, o.recordFailure(ctx, desired, fmt.Errorf("writing %s in the physical cluster: %w", o, err))
}

// create creates the copy, which fails if there is anything of its name.
func (o *objectReconciler) create(ctx context.Context, desired *unstructured.Unstructured, dryRun ...string) (*unstructured.Unstructured, error) {
	return o.measured(dryRun, func() (*unstructured.Unstructured, error) {
		return o.resource.down.Client.Create(ctx, desired, metav1.CreateOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer, DryRun: dryRun})
	})
}

// apply applies the copy. Fields that somebody else owns and has set otherwise are left out, and returned if the object sets them; if the
// user takes over, they are forced. A mere default of the server is never forced.
func (o *objectReconciler) apply(ctx context.Context, desired *unstructured.Unstructured) (applied *unstructured.Unstructured, conflicts []rejection.FieldConflict, err error) {
	configuration, err := o.applyConfiguration(ctx, desired)
	if err != nil {
		return nil, nil, err
	}
	configuration.SetUID(o.dst.GetUID()) // should it be replaced meanwhile, the server refuses
	options := metav1.ApplyOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer}
	for range maxConflictRounds {
		applied, err = o.measured(nil, func() (*unstructured.Unstructured, error) {
			return o.resource.down.Client.Apply(ctx, o.name, configuration, options)
		})
		found := rejection.FieldConflicts(err)
		if len(found) == 0 {
			return applied, conflicts, err
		}
		wanted, defaults := splitConflicts(desired, found)
		leftOut := found
		if o.takesOver() {
			options.Force, leftOut = true, defaults
		} else {
			conflicts = append(conflicts, wanted...)
		}
		var missing []string
		if configuration, missing = transform.Without(configuration, fieldsOf(leftOut)); len(missing) > 0 {
			return nil, nil, err // a field that cannot be left out, such as our own labels
		}
	}
	return nil, nil, err
}

// fieldsOf returns the fields of conflicts.
func fieldsOf(conflicts []rejection.FieldConflict) []string {
	fields := make([]string, 0, len(conflicts))
	for _, c := range conflicts {
		fields = append(fields, c.Field)
	}
	return fields
}

// splitConflicts tells the conflicts about fields that an object sets from those about the server's defaults, of which there are none
// in metadata.
func splitConflicts(desired *unstructured.Unstructured, conflicts []rejection.FieldConflict) (wanted, defaults []rejection.FieldConflict) {
	for _, c := range conflicts {
		if _, missing := transform.Without(desired, []string{c.Field}); len(missing) == 0 || strings.HasPrefix(c.Field, ".metadata.") {
			wanted = append(wanted, c)
		} else {
			defaults = append(defaults, c)
		}
	}
	return wanted, defaults
}

// measured makes a write to the physical cluster and notes how long it took and that the cluster has answered.
func (o *objectReconciler) measured(dryRun []string, write func() (*unstructured.Unstructured, error)) (*unstructured.Unstructured, error) {
	started := o.clock.Now()
	written, err := write()
	if _, class := rejection.Classify(err); err == nil || class != rejection.Transient {
		o.lastApplyAnswer.Store(o.clock.Now().UnixNano())
	}
	if len(dryRun) == 0 {
		o.metrics.applyDuration(o.resource.api.GroupResource, o.clock.Since(started), err)
	}
	return written, err
}

// setCopy goes on with what a write has answered, which the watch will deliver later.
func (o *objectReconciler) setCopy(written *unstructured.Unstructured) {
	o.dst = written
	o.resource.down.Objects.Assume(o.namespace.downstreamNamespace+"/"+o.name, written, true)
	o.report.Time, o.state.unreportedSince = timestamp(o.clock.Now()), time.Time{}
	o.metrics.syncLatency(o.resource.api.GroupResource, o.clock, o.changedAt)
}

// recordApply goes on with an applied copy. What it still does not say, though it was applied, is remembered, so that it is not
// applied again and again, and reported.
func (o *objectReconciler) recordApply(desired, applied *unstructured.Unstructured, conflicts []rejection.FieldConflict) {
	if o.isRestored(desired) && !equality.Semantic.DeepEqual(contentOf(o.dst), contentOf(applied)) {
		o.state.restoredAt = o.clock.Now()
	}
	if o.dst.GetResourceVersion() == applied.GetResourceVersion() {
		o.dst = applied
	} else {
		o.setCopy(applied)
	}
	unmet := outcome{partial: true, without: fieldsOf(conflicts)}
	if len(conflicts) > 0 {
		unmet.report.Conflict = rejection.ConflictMessage(conflicts, o.resource.api.Kind)
	}
	o.state.lastOutcome = outcome{}
	if _, missing := transform.Without(applied, unmet.without); len(missing) > 0 {
		return // their owner has removed them meanwhile, so that they are applied now
	}
	if len(conflicts) > 0 || !transform.Matches(applied, desired) {
		o.cacheOutcome(desired, unmet, conflictRetry)
	}
}

// readCopy reads what has the name of the copy in the physical cluster.
func (o *objectReconciler) readCopy(ctx context.Context) error {
	live, err := o.resource.down.Client.Get(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading %s in the physical cluster: %w", o, err)
	}
	o.dst = live
	return nil
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

// recordFailure remembers a failed write. What the object is to blame for is reported on it: at once if it will be the same again,
// otherwise once it has failed several times. An error is for what another attempt may change.
func (o *objectReconciler) recordFailure(ctx context.Context, desired *unstructured.Unstructured, err error) error {
	report, class := o.classify(err)
	failures := o.failures()
	o.noCopy = o.dst == nil && wasNotWritten(err)
	switch {
	case class == rejection.Terminal:
		o.queue.Forget(o.key()) // earlier failures have been overcome
		o.cacheOutcome(desired, outcome{report: report}, rejection.RetryAfter)
		return o.writeReport(ctx, reportRejection, desired)
	case class == rejection.Persistent && failures >= rejection.ReportAfter:
		o.cacheOutcome(desired, outcome{report: report}, pause(failures, err))
		return errors.Join(err, o.writeReport(ctx, reportRejection, desired))
	}
	if _, asked := apierrors.SuggestsClientDelay(err); asked {
		o.cacheOutcome(desired, outcome{deferred: true}, pause(failures, err))
	}
	return err
}

// wasNotWritten tells whether the failure of a write says that nothing was written: not where there was no answer, nor where the
// server speaks of a fault of its own, before which it may have been done.
func wasNotWritten(err error) bool {
	var answer apierrors.APIStatus
	_, class := rejection.Classify(err)
	return class != rejection.Transient && errors.As(err, &answer) && answer.Status().Code < http.StatusInternalServerError
}

// isThrottled tells whether a request did not fit into the time of its pass because of our own limit.
func isThrottled(err error) bool { return errors.Is(err, ratelimit.ErrThrottled) }
