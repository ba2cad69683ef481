// Package sync syncs the objects of opened Namespaces: specs down to the physical cluster, status up to the workspace.
//
//	controller.go  Controller: what runs, and the workers of the queue
//	queue.go       the queue and its backoff
//	target.go      our SyncTarget in kcp: reads, and the one writer of its status
//	discovery.go   which resources can be synced, asked of both sides again and again
//	namespaces.go  which Namespaces are opened and drained
//	namespace.go   namespaceSync: one opened Namespace; resourceSync: one resource in it
//	drain.go       the end of a Namespace
//	object.go      objectReconciler: one pass over one object
//	apply.go       the way down: the copy
//	upstream.go    the way up: finalizer, status and report
//	remove.go      the end of a copy
//	state.go       what a pass leaves to the next one
//	events.go      Warnings about the copies and what they own
//	status.go      how many objects there are and how many fail, for the SyncTarget
//	synced.go      in which Namespaces everything has arrived
//
// Silence deletes nothing. A copy is deleted only after a live read has shown that its object is deleted, opted out or gone, or
// is another Job, that its resource is no longer named, or that its Namespace is being drained; only by UID; and only if the copy
// carries our metadata. An informer that has not synced, an empty list and a SyncTarget that is not found start nothing.
package sync
