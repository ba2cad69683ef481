// Package sync syncs the objects of assigned Namespaces: specs down to the physical cluster, status up to their source.
//
//	controller.go  Controller: what runs, and the workers of the queue
//	queue.go       the queue and its backoff
//	discovery.go   which resources can be synced, asked of both sides again and again
//	namespaces.go  which Namespaces are opened and drained, by their Assignments
//	namespace.go   namespaceSync: one assigned Namespace; resourceSync: one resource in it
//	drain.go       the end of a Namespace
//	drainreport.go reports that a Namespace is drained
//	reports.go     when it is reported how a Namespace fares
//	conditions.go  what is reported of it
//	inflight.go    the passes that run now
//	object.go      objectReconciler: one pass over one object: observe, decide, act, and again
//	decide.go      decide: the rules of the sync, in one pure function; decide_test.go is their specification
//	observe.go     what is known of an object on both sides
//	write.go       the copy is created and applied; what refuses it is remembered
//	configuration.go what is applied: the object, and the defaults that follow from it
//	remove.go      the end of a copy
//	report.go      what is reported on the object
//	neversynced.go what is said on an object that is never synced although its user asks for it
//	upstream.go    what is written to the source: finalizer, status and report
//	state.go       what a pass leaves to the next one
//	events.go      writes upstream the Warning Events of the copies and of what they own
//	eventowners.go looks up which object an Event of the physical cluster is about
//	status.go      what is reported on the SyncTarget, and when
//	kinds.go       which resources serve, and which run on one cluster alone
//	counts.go      how many objects there are, and how they fare
//	synced.go      whether everything has arrived in a Namespace
//	watchhealth.go which watches fail
//
// The source (package source) is where the objects come from and where reports go. That it is a workspace, nothing here knows.
//
// Silence deletes nothing. A copy is deleted only after a live read has shown that its object is deleted, opted out or gone, or
// is another Job, that its resource is no longer named, or that its Namespace is being drained; only by UID; and only if the copy
// carries our metadata. An informer that has not synced, an empty list and a source that does not answer start nothing.
package sync
