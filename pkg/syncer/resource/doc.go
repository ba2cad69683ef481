// Package resource syncs the objects of opened Namespaces: specs down, status up.
//
//	engine    what runs: follows the SyncTarget, opens and closes places, works the queue off
//	catalog   which resources both sides serve
//	schemas   whether a resource is the same API on both
//	place     one opened Namespace: the informers on both sides of it
//	object    one pass over one object: carry it, or withdraw its copy
//	copy      what travels down: a pure function, held by golden files
//	subset    whether a copy still says what it should
//	overlay   what the caches show, with our own last writes on top; packed, as JSON
//	report    what travels up: status, and the annotation that tells how the copy fares
//	events    Warnings of the copies and of what they own
//	close     the end of a place
//
// Nothing is deleted on silence. A copy is deleted when a live read has shown its object to be deleted, opted out or
// gone, or its Namespace to be closing; only by UID; and only if it carries our mark. An informer that has not synced, an
// empty list, a SyncTarget that is not found: none of them starts anything.
package resource
