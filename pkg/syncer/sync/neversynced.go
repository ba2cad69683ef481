package sync

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// neverSyncedWarning is what to say on an object that its user has labelled to be synced, and that never is; empty for any other.
// Most objects of this kind, such as the ServiceAccount "default", are in every Namespace, and nobody expects a copy of them.
func neverSyncedWarning(src *unstructured.Unstructured) string {
	if src == nil || src.GetDeletionTimestamp() != nil || src.GetLabels()[workloadv1alpha1.LabelSync] != "true" {
		return ""
	}
	reason := transform.NeverSynced(src)
	if reason == "" {
		return ""
	}
	return fmt.Sprintf("this object is not synced although the label %s=true asks for it: %s", workloadv1alpha1.LabelSync, reason)
}

// mustWarnNeverSynced tells whether that has yet to be said on the object.
func (o *objectReconciler) mustWarnNeverSynced() bool {
	warning := neverSyncedWarning(o.src)
	return warning != "" && o.state.neverSyncedWarned != neverSyncedKey(o.src, warning)
}

// neverSyncedKey identifies a warning on an object.
func neverSyncedKey(src *unstructured.Unstructured, warning string) string {
	return string(src.GetUID()) + " " + warning
}

// warnNeverSynced says it in a Warning Event, unless there is one that says the same, as after a restart. The object has no
// report: nothing is written on what is not synced.
func (o *objectReconciler) warnNeverSynced(ctx context.Context) {
	warning := neverSyncedWarning(o.src)
	event := o.warning(warning)
	live, err := o.source.ReadEvent(ctx, o.namespace.upstream, event.Name)
	if err == nil && (live == nil || live.Message != event.Message) {
		err = o.source.WriteEvent(ctx, o.namespace.upstream, event)
	}
	if err != nil {
		log.FromContext(ctx).V(1).Info("An object is never synced, which could not be written in an Event", "object", o.String(), "cause", err.Error())
		return
	}
	o.state.neverSyncedWarned = neverSyncedKey(o.src, warning)
}
