package sync

import "time"

// sourceState is what the cache of the workspace shows of an object.
type sourceState int

const (
	// sourceAbsent: it shows no object.
	sourceAbsent sourceState = iota
	// sourceUnwanted: the object is being deleted, is opted out, or is one of those that are never synced.
	sourceUnwanted
	// sourceWanted: the object is to have a copy.
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
	// Namespace. It is applied to, and is copyManaged from then on.
	copyAdoptable
)

// intent is what is to become of the copy for reasons that lie outside the object. Two of them end the copy: what they differ in
// is what confirmRemoval reads.
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
	// outcomeSettled: the same write would change nothing. The last one had no effect, or left differences that are recorded.
	outcomeSettled
	// outcomeRejected: the physical cluster refused the content, and is not asked again for a while.
	outcomeRejected
	// outcomeRejectionExpired: it refused the content some time ago, and may be asked again.
	outcomeRejectionExpired
	// outcomeDeferred: it said nothing about the content, but asked to try again later.
	outcomeDeferred
)

// observation is what is known of one object on both sides. It is a value: deciding reads nothing else.
type observation struct {
	source sourceState
	// finalizer and report tell whether ours are on the object, by the cache.
	finalizer, report bool
	// finished: the object is a Job, and its status says that it has ended.
	finished bool
	// mustWarnNeverSynced: the user has labelled an object to be synced that never is, and has not been told yet.
	mustWarnNeverSynced bool

	copy copyState
	// terminating: the copy is being deleted.
	terminating bool
	// matches: the copy is what the object says.
	matches bool
	// earlierJob: the copy is that of an earlier Job of the name.
	earlierJob bool
	// laterGeneration: the copy was made from a later generation of the object than the cache of the workspace shows.
	laterGeneration bool
	// elsewhere: the object is of a kind that has copies on the first of the clusters of its Namespace alone, and this is another.
	elsewhere bool
	// clusterDefault: the name is that of an object which the cluster itself puts into every Namespace.
	clusterDefault bool

	intent intent
	// accepted: the state of the resource is Accepted, so that its objects can be synced.
	accepted bool
	// servedDownstream: the physical cluster serves the resource.
	servedDownstream bool
	// listDenied: the physical cluster refuses to list the resource.
	listDenied bool

	outcome outcomeState
	// restoreWait is how long from now a copy that somebody changes again and again is left as it is.
	restoreWait time.Duration
	// reportCanWait: the copy is new and has no status, in a burst of creations in its Namespace.
	reportCanWait bool

	confirmed confirmations
}

// confirmations are what live reads and writes of this pass have shown.
type confirmations struct {
	// removal is what the workspace says about the end of the copy.
	removal removal
	// noCopy: the physical cluster has no copy.
	noCopy bool
	// finalizerWritten: our finalizer was written to the latest version of the object.
	finalizerWritten bool
	// creatable: a dry run of the creation was accepted.
	creatable bool
	// sourceRead: the object was read live.
	sourceRead bool
}

// removal is what a live read has shown about the end of a copy.
type removal int

const (
	// removalUnconfirmed: nothing was read yet.
	removalUnconfirmed removal = iota
	// removalRefuted: the copy is not to end after all.
	removalRefuted
	// removalDelete: the copy is to be deleted.
	removalDelete
	// removalOrphan: the copy is to stay, without our metadata.
	removalOrphan
)

// action is the one thing to do next about an object.
type action int

const (
	// doNothing ends the pass.
	doNothing action = iota
	// waitForCache ends the pass, and looks again soon: a cache lags behind.
	waitForCache
	// waitDeferred ends the pass until the physical cluster may be asked again.
	waitDeferred
	// postponeReport ends the pass, and looks again soon: copies that users wait for come before the report on one that is there.
	postponeReport

	// confirmRemoval reads live whether the copy is really to end, and how.
	confirmRemoval
	// confirmSource reads the object live.
	confirmSource
	// confirmNoCopy asks the physical cluster whether there is a copy.
	confirmNoCopy
	// dryRunCreate asks the physical cluster whether it would take the copy now.
	dryRunCreate

	// addFinalizer writes our finalizer to the object, also if the cache shows it there. The workspace refuses the write if the
	// object has changed since it was read.
	addFinalizer
	createCopy
	applyCopy
	deleteCopy
	// replaceJob deletes the copy of an earlier Job. The next pass creates that of the new one.
	replaceJob
	// orphanCopy leaves the copy where it is, and takes our metadata off it.
	orphanCopy
	// releaseCopy leaves an object that the cluster itself has made, and takes our metadata and content out of it.
	releaseCopy
	// releaseSource takes finalizer, report and status off the object.
	releaseSource
	// warnNeverSynced writes an Event on the object: it is never synced.
	warnNeverSynced

	// What follows writes status and report to the object. Where there is no copy and is to be none for now, the report takes the
	// finalizer off with it: reportUnmanaged, reportFinishedJob, reportElsewhere and reportRejection.

	reportCopy
	// reportTerminating: the copy is being deleted although it is wanted, and will be created again.
	reportTerminating
	// reportDeleting: the copy is being deleted, as it should be.
	reportDeleting
	reportUnmanaged
	reportFinishedJob
	reportElsewhere
	reportRejection
	reportNotAccepted
	reportListDenied
)

// decide returns the one thing to do next about an object. It reads nothing but its argument.
//
// Invariants: an object has our finalizer before its copy exists; a copy is deleted only when a live read in this pass has shown
// that it is not wanted, or belongs to an earlier Job; an object of somebody else is never changed unless it was handed over.
func decide(o observation) action {
	switch {
	case o.listDenied:
		return decideListDenied(o)
	case o.confirmed.removal == removalRefuted:
		return waitForCache
	case o.intent != intentRun || o.source != sourceWanted:
		return decideRemoval(o)
	case !o.accepted:
		return reportNotAccepted
	case o.elsewhere && o.copy != copyManaged:
		return decideElsewhere(o)
	case o.copy == copyAbsent:
		return decideAbsent(o)
	case o.copy == copyUnmanaged && o.finalizer && !o.confirmed.noCopy:
		return confirmNoCopy // the finalizer stands for a copy, which the cache may not show yet
	case o.copy == copyUnmanaged:
		return reportUnmanaged
	case o.copy == copyManaged && !o.finalizer:
		return addFinalizer // somebody has taken it off; the cache shows our own write at once
	case o.terminating:
		return reportTerminating
	case o.laterGeneration && !o.confirmed.sourceRead:
		return confirmSource
	case o.copy == copyManaged && o.earlierJob && !o.confirmed.sourceRead:
		return confirmSource // the cache may lag, and the copy be that of the new Job
	case o.copy == copyManaged && o.earlierJob:
		return replaceJob
	case o.matches && o.reportCanWait:
		return postponeReport
	case o.matches:
		return reportCopy
	}
	return decideWrite(o, applyCopy)
}

// decideElsewhere decides about an object that is wanted and gets no copy here. A copy that there is, as of a time when this
// cluster was the first, is left alone.
func decideElsewhere(o observation) action {
	if o.finalizer && !o.confirmed.noCopy {
		return confirmNoCopy
	}
	return reportElsewhere
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

// decideWrite decides whether the copy is created or applied now, which write says, or what is done instead.
func decideWrite(o observation, write action) action {
	switch {
	case o.outcome == outcomeDeferred:
		return waitDeferred
	case o.outcome == outcomeRejected:
		return reportRejection
	case o.copy != copyAbsent && (o.outcome == outcomeSettled || o.restoreWait > 0):
		return reportCopy
	case o.outcome == outcomeRejectionExpired && !o.finalizer && write == createCopy && !o.confirmed.creatable:
		return dryRunCreate // otherwise each attempt would add the finalizer, and reportRejection take it off
	case o.copy != copyManaged && !o.confirmed.finalizerWritten:
		return addFinalizer
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
	case o.confirmed.removal == removalUnconfirmed:
		return confirmRemoval
	case o.copy == copyManaged && o.confirmed.removal == removalOrphan:
		return orphanCopy
	case o.copy == copyManaged && o.clusterDefault:
		return releaseCopy
	case o.copy == copyManaged && o.terminating:
		return reportDeleting
	case o.copy == copyManaged:
		return deleteCopy
	case o.finalizer && o.servedDownstream && !o.confirmed.noCopy:
		return confirmNoCopy // the finalizer stands for a copy, which the cache may not show yet
	}
	return releaseSource
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
