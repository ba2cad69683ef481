package sync

import (
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
	"github.com/synctarget/synctarget/pkg/syncer/transform"
)

// objectState is what a pass over an object leaves to the next one. A restart forgets it.
type objectState struct {
	// lastOutcome is the outcome of the last write, while it need not be repeated.
	lastOutcome outcome
	// unreportedSince is when the copy was created, until that has been reported.
	unreportedSince time.Time
	// restoredAt is when the copy was last restored from what somebody had changed.
	restoredAt time.Time
	// prunedStatus identifies the status that the workspace has taken without a change.
	prunedStatus string
	// metadataRejectedAt is when an Event last said that the workspace refuses our metadata, until it takes it.
	metadataRejectedAt time.Time
	// neverSyncedWarned identifies the last warning that the object is never synced although its user asks for it.
	neverSyncedWarned string
}

// outcome is that of a write which would be the same again until the object or its copy changes.
type outcome struct {
	// key identifies what was written, and what was there.
	key string
	// report is what the outcome means for the object. With partial the copy was written but for what report names.
	report  rejection.Report
	partial bool
	// without are the fields that were left out since others own them, in the notation of the API server.
	without []string
	// deferred tells that the server has asked to try again later.
	deferred bool
	// until is how long the outcome holds.
	until time.Time
}

// cacheOutcome remembers the outcome of a write for as long as it lasts.
func (o *objectReconciler) cacheOutcome(desired *unstructured.Unstructured, result outcome, lasts time.Duration) {
	o.state.lastOutcome = result
	o.state.lastOutcome.key, o.state.lastOutcome.until = o.applyKey(desired), o.clock.Now().Add(lasts)
}

// applyKey identifies what an apply is about: what is wanted and what is there, but for the fields that are left to others.
func (o *objectReconciler) applyKey(desired *unstructured.Unstructured) string {
	about := []any{transform.AppliedHash(desired), o.takesOver()}
	if o.dst != nil {
		there, removed := transform.Without(o.dst, o.state.lastOutcome.without) // their values are their owners' business
		about = append(about, there.GetUID(), contentOf(there), there.GetLabels(), there.GetAnnotations(), removed)
	}
	hash, err := transform.Hash(about)
	if err != nil {
		return ""
	}
	return hash
}

// objectState is what is remembered of an object.
func (p *namespaceSync) objectState(resource workloadv1alpha1.GroupResource, name string) objectState {
	found, _ := p.objectStates.Load(queueKey{namespace: p.upstream, resource: resource, name: name})
	state, _ := found.(objectState)
	return state
}

// setObjectState keeps what is remembered of an object, if there is anything.
func (p *namespaceSync) setObjectState(key queueKey, state objectState) {
	if reflect.ValueOf(state).IsZero() {
		p.objectStates.Delete(key)
	} else {
		p.objectStates.Store(key, state)
	}
}
