// Package resource syncs the objects of opened Namespaces: specs down, status up.
//
//	engine    what runs
//	queue     what waits for its turn, and for its next attempt
//	unwaiting the clients, which leave it to the queue to wait
//	target    our SyncTarget in kcp: what it says, and what we say there
//	look      what both sides serve, asked again and again
//	catalog   which resources can travel
//	schemas   whether a resource is the same API on both sides
//	plan      which Namespaces are opened and closed
//	place     one opened Namespace, with what is followed in it; side, the informer of a resource on one side; passes, those under way
//	close     the end of a place
//	memory    what a pass over an object leaves to the next
//	object    one pass over one object: carry it, or withdraw its copy
//	apply     the way down
//	tell      the way up: the finalizer, the status and the report
//	withdraw  the end of a copy
//	copy      what travels down: a pure function, held by golden files
//	subset    whether a copy still says what it should
//	overlay   what the caches show, with our own last writes on top; packed, as JSON
//	report    what is told: the status in terms of the user's object, and the annotation that says how the copy fares
//	events    Warnings of the copies and of what they own
//	count     how many objects there are, and how many fare badly, for the SyncTarget
//	synced    of which Namespaces all has arrived
//
// Nothing is deleted on silence. A copy is deleted when a live read has shown just now its object to be deleted, opted out,
// gone or, for a Job, another one, its resource to be named no more, or its Namespace to be closing; only by UID; and only if
// it carries our mark. An informer that has not synced, an empty list, a SyncTarget that is not found: none of them starts
// anything.
package resource
