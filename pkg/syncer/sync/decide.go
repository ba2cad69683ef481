package sync

import "time"

// sourceState is what the cache of the workspace shows of an object.
type sourceState int

const (
	// sourceAbsent: the cache shows no object.
	sourceAbsent sourceState = iota
	// sourceUnwanted: it is deleted, opted out, or never synced.
	sourceUnwanted
	// sourceWanted: it is to have a copy.
	sourceWanted
)

// copyState is what the cache of the physical cluster shows under the name of the copy.
type copyState int

const (
	copyAbsent copyState = iota
	// copyManaged is a copy that belongs to this SyncTarget.
	copyManaged
	// copyUnmanaged is an object of somebody else.
	copyUnmanaged
	// copyAdoptable is an object that its owner has handed over by an annotation, or that the cluster itself puts into every
	// Namespace: it is applied to, and never deleted.
	copyAdoptable
)

// intent is what is to become of the copy for reasons that lie outside the object.
type intent int

const (
	// intentRun: the object itself decides.
	intentRun intent = iota
	// intentRemove: the spec of the SyncTarget no longer names the resource.
	intentRemove
	// intentDrain: the Namespace is being drained.
	intentDrain
)

// outcomeState is what is known from the last write of the same content to the same copy.
type outcomeState int

const (
	// outcomeNone: nothing is known, or it no longer holds.
	outcomeNone outcomeState = iota
	// outcomeUnchanged: the write changed nothing, or what it could not change is known.
	outcomeUnchanged
	// outcomeRejected: the physical cluster refused it, and is not asked again before a time.
	outcomeRejected
	// outcomeDeferred: the physical cluster asked to try again later.
	outcomeDeferred
	// outcomeRejectedBefore: the physical cluster refused it some time ago, and may be asked again.
	outcomeRejectedBefore
)

// observation is what is known of one object on both sides. It is a value: deciding reads nothing else.
type observation struct {
	source sourceState
	// finalizer and report tell whether ours are on the object.
	finalizer, report bool
	// finished tells that the object is a Job that has ended.
	finished bool
	// mustWarnNeverSynced tells that the object is never synced although its user asks for it by a label, and that this has yet to
	// be said on it.
	mustWarnNeverSynced bool

	copy copyState
	// terminating tells that the copy is being deleted; matches, that it is what the object says; earlierJob, that it is the copy
	// of an earlier Job of the name; newerSource, that it was made from a later generation of the object than the cache shows.
	terminating, matches, earlierJob, newerSource bool
	// clusterDefault tells that the name is that of an object which the cluster itself puts into every Namespace.
	clusterDefault bool

	intent intent
	// accepted, watchedDownstream and listDenied are of the resource: whether its objects can be synced, whether the physical
	// cluster serves it, and whether it refuses to list it.
	accepted, watchedDownstream, listDenied bool

	outcome outcomeState
	// restoreWait is how long a copy that somebody changes again and again is left as it is.
	restoreWait time.Duration

	confirmed confirmations
}

// confirmations are what live reads and writes of this pass have shown.
type confirmations struct {
	// removal: the copy is to go, and orphan: it is to stay without our metadata.
	removal, orphan bool
	// kept: the copy is not to go after all.
	kept bool
	// noCopy: the physical cluster has no copy.
	noCopy bool
	// finalizer: the object carries our finalizer in its latest version.
	finalizer bool
	// creatable: a dry run of the creation was accepted.
	creatable bool
	// source: the object was read live.
	source bool
}

// action is the one thing to do next about an object.
type action int

const (
	// doNothing ends the pass.
	doNothing action = iota
	// waitForCache ends the pass, and looks again soon: a cache lags behind.
	waitForCache
	// waitDeferred ends the pass until the physical cluster may be asked again.
	waitDeferred

	// confirmRemoval reads live whether the copy is really to go.
	confirmRemoval
	// confirmSource reads the object live.
	confirmSource
	// confirmNoCopy asks the physical cluster whether there is a copy.
	confirmNoCopy
	// dryRunCreate asks the physical cluster whether it would take the copy now.
	dryRunCreate

	addFinalizer
	createCopy
	applyCopy
	deleteCopy
	// replaceJob deletes the copy of an earlier Job.
	replaceJob
	// orphanCopy takes our metadata off the copy, releaseCopy everything of ours out of an object that the cluster shares.
	orphanCopy
	releaseCopy
	// releaseSource takes finalizer, report and status off the object.
	releaseSource
	// warnNeverSynced says on the object that it is never synced.
	warnNeverSynced

	// What follows writes status and report to the object.

	reportCopy
	// reportTerminating: the copy is being deleted, and is created again; reportDeleting: it is being deleted, as it should be.
	reportTerminating
	reportDeleting
	reportUnmanaged
	reportFinishedJob
	reportRejection
	reportNotAccepted
	reportListDenied
)

// decide returns the one thing to do next about an object. It reads nothing but its argument.
//
// Invariants: an object has our finalizer before its copy exists; a copy is deleted only when a live read has shown in this
// pass that nobody wants it; an object downstream that is not a copy is never changed.
func decide(o observation) action {
	switch {
	case o.listDenied:
		return decideListDenied(o)
	case o.confirmed.kept:
		return waitForCache
	case o.intent != intentRun || o.source != sourceWanted:
		return decideRemoval(o)
	case !o.accepted:
		return reportNotAccepted
	case o.copy == copyAbsent:
		return decideAbsent(o)
	case o.copy == copyUnmanaged && o.finalizer && !o.confirmed.noCopy:
		return confirmNoCopy // the finalizer stands for a copy, which the cache may not show yet
	case o.copy == copyUnmanaged:
		return reportUnmanaged
	case o.copy == copyManaged && !o.finalizer:
		return addFinalizer
	case o.terminating:
		return reportTerminating
	case o.copy == copyManaged && o.earlierJob:
		return replaceJob
	case o.newerSource && !o.confirmed.source:
		return confirmSource
	case o.matches:
		return reportCopy
	}
	return decideWrite(o, applyCopy)
}

// decideAbsent decides about an object that is wanted and has no copy.
func decideAbsent(o observation) action {
	switch {
	case o.finished && o.finalizer && !o.confirmed.noCopy:
		return confirmNoCopy
	case o.finished:
		return reportFinishedJob // a Job runs once
	}
	return decideWrite(o, createCopy)
}

// decideWrite decides how an object gets the copy that it does not have.
func decideWrite(o observation, write action) action {
	switch {
	case o.outcome == outcomeDeferred:
		return waitDeferred
	case o.outcome == outcomeRejected:
		return reportRejection
	case o.copy != copyAbsent && (o.outcome == outcomeUnchanged || o.restoreWait > 0):
		return reportCopy
	case o.outcome == outcomeRejectedBefore && !o.finalizer && write == createCopy && !o.confirmed.creatable:
		return dryRunCreate // so that the finalizer is not added and removed with every attempt
	case o.copy != copyManaged && !o.confirmed.finalizer:
		return addFinalizer // also if the cache shows it: the cache may lag, and the server compares versions
	}
	return write
}

// decideRemoval decides about an object that is to have no copy.
func decideRemoval(o observation) action {
	switch {
	case o.copy != copyManaged && !o.finalizer && !o.report && o.intent == intentRun && o.mustWarnNeverSynced:
		return warnNeverSynced
	case o.copy != copyManaged && !o.finalizer && !o.report:
		return doNothing
	case !o.confirmed.removal:
		return confirmRemoval
	case o.copy == copyManaged && o.confirmed.orphan:
		return orphanCopy
	case o.copy == copyManaged && o.clusterDefault:
		return releaseCopy
	case o.copy == copyManaged && o.terminating:
		return reportDeleting
	case o.copy == copyManaged:
		return deleteCopy
	case o.finalizer && !o.confirmed.orphan && o.watchedDownstream && !o.confirmed.noCopy:
		return confirmNoCopy
	case o.finalizer || o.report:
		return releaseSource
	}
	return doNothing
}

// decideListDenied decides where the physical cluster does not let its resource be listed: whether there is a copy cannot be
// known, so nothing is written there and no finalizer goes.
func decideListDenied(o observation) action {
	switch {
	case o.source == sourceAbsent:
		return doNothing
	case o.finalizer, o.source == sourceWanted && o.intent == intentRun:
		return reportListDenied
	case o.report:
		return releaseSource
	}
	return doNothing
}
