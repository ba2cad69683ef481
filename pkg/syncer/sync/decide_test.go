package sync

import (
	"testing"
	"time"
)

var actionNames = map[action]string{
	doNothing: "doNothing", waitForCache: "waitForCache", waitDeferred: "waitDeferred", postponeReport: "postponeReport", confirmRemoval: "confirmRemoval", confirmSource: "confirmSource",
	confirmNoCopy: "confirmNoCopy", dryRunCreate: "dryRunCreate", addFinalizer: "addFinalizer", createCopy: "createCopy", applyCopy: "applyCopy",
	deleteCopy: "deleteCopy", replaceJob: "replaceJob", orphanCopy: "orphanCopy", releaseCopy: "releaseCopy", releaseSource: "releaseSource",
	warnNeverSynced: "warnNeverSynced",
	reportCopy:      "reportCopy", reportTerminating: "reportTerminating", reportDeleting: "reportDeleting", reportUnmanaged: "reportUnmanaged",
	reportFinishedJob: "reportFinishedJob", reportElsewhere: "reportElsewhere", reportRejection: "reportRejection", reportNotAccepted: "reportNotAccepted", reportListDenied: "reportListDenied",
}

func (a action) String() string { return actionNames[a] }

// wantedObject is an object that is wanted, of a resource that is synced, with a copy that is right.
func wantedObject(change ...func(*observation)) observation {
	o := observation{source: sourceWanted, finalizer: true, report: true, copy: copyManaged, matches: true, accepted: true, servedDownstream: true}
	for _, c := range change {
		c(&o)
	}
	return o
}

// newObject is one that has no copy yet.
func newObject(change ...func(*observation)) observation {
	return wantedObject(append([]func(*observation){func(o *observation) {
		o.finalizer, o.report, o.copy, o.matches = false, false, copyAbsent, false
	}}, change...)...)
}

// unwantedObject is one that was deleted or opted out, as the cache shows.
func unwantedObject(change ...func(*observation)) observation {
	return wantedObject(append([]func(*observation){func(o *observation) { o.source = sourceUnwanted }}, change...)...)
}

// TestDecide is the specification of the sync of one object.
func TestDecide(t *testing.T) {
	tests := map[string]struct {
		reason string
		o      observation
		want   action
	}{
		// An object that is to have a copy.
		"new":                             {"The finalizer comes before the copy.", newObject(), addFinalizer},
		"new, finalizer shown by a cache": {"The cache may show one that has gone: the server compares versions.", newObject(func(o *observation) { o.finalizer = true }), addFinalizer},
		"new, finalizer confirmed":        {"", newObject(func(o *observation) { o.finalizer, o.confirmed.finalizerWritten = true, true }), createCopy},
		"at rest":                         {"Nothing but the report is compared.", wantedObject(), reportCopy},
		"new copy in a burst":             {"Copies that users wait for come first.", wantedObject(func(o *observation) { o.report, o.reportCanWait = false, true }), postponeReport},
		"new copy in a burst, changed":    {"Only the report waits.", wantedObject(func(o *observation) { o.report, o.matches, o.reportCanWait = false, false, true }), applyCopy},
		"new copy in a burst, deleted":    {"", unwantedObject(func(o *observation) { o.report, o.reportCanWait = false, true }), confirmRemoval},
		"changed":                         {"", wantedObject(func(o *observation) { o.matches = false }), applyCopy},
		"changed, finalizer taken off":    {"A copy without a finalizer above it is not touched.", wantedObject(func(o *observation) { o.matches, o.finalizer = false, false }), addFinalizer},
		"at rest, finalizer taken off":    {"", wantedObject(func(o *observation) { o.finalizer = false }), addFinalizer},
		"copy is being deleted":           {"It is created again when it is gone.", wantedObject(func(o *observation) { o.terminating = true }), reportTerminating},
		"cache behind the copy":           {"A server that lags behind has answered the list: the copy is not rolled back.", wantedObject(func(o *observation) { o.matches, o.laterGeneration = false, true }), confirmSource},
		"cache behind the copy, live":     {"The annotation on the copy was changed by hand.", wantedObject(func(o *observation) { o.matches, o.laterGeneration, o.confirmed.sourceRead = false, true, true }), applyCopy},
		"earlier Job, as the caches show": {"The cache may lag, and the copy be that of the new Job.", wantedObject(func(o *observation) { o.earlierJob = true }), confirmSource},
		"earlier Job":                     {"The next Job has not run because the last one has.", wantedObject(func(o *observation) { o.earlierJob, o.confirmed.sourceRead = true, true }), replaceJob},
		"finished Job without a copy":     {"A Job runs once.", newObject(func(o *observation) { o.finished = true }), reportFinishedJob},
		"finished Job, copy not shown":    {"The finalizer stands for a copy.", newObject(func(o *observation) { o.finished, o.finalizer = true, true }), confirmNoCopy},
		"finished Job, no copy":           {"", newObject(func(o *observation) { o.finished, o.finalizer, o.confirmed.noCopy = true, true, true }), reportFinishedJob},

		// An object of a kind that has copies on the first of the clusters alone, and this is another.
		"elsewhere, new":                   {"A Job runs once, and a claim has one volume.", newObject(func(o *observation) { o.elsewhere = true }), reportElsewhere},
		"elsewhere, finished":              {"It has not run here.", newObject(func(o *observation) { o.elsewhere, o.finished = true, true }), reportElsewhere},
		"elsewhere, copy not shown":        {"The finalizer stands for one.", newObject(func(o *observation) { o.elsewhere, o.finalizer = true, true }), confirmNoCopy},
		"elsewhere, no copy":               {"", newObject(func(o *observation) { o.elsewhere, o.finalizer, o.confirmed.noCopy = true, true, true }), reportElsewhere},
		"elsewhere, with a copy":           {"It is of a time when this cluster was the first.", wantedObject(func(o *observation) { o.elsewhere = true }), reportCopy},
		"elsewhere, with a copy, changed":  {"", wantedObject(func(o *observation) { o.elsewhere, o.matches = true, false }), applyCopy},
		"elsewhere, deleted":               {"", unwantedObject(func(o *observation) { o.elsewhere, o.confirmed.removal = true, removalDelete }), deleteCopy},
		"elsewhere, somebody else's":       {"It is in nobody's way.", newObject(func(o *observation) { o.elsewhere, o.copy = true, copyUnmanaged }), reportElsewhere},
		"elsewhere, handed over":           {"A copy is not made of it.", newObject(func(o *observation) { o.elsewhere, o.copy = true, copyAdoptable }), reportElsewhere},
		"elsewhere, drain":                 {"", wantedObject(func(o *observation) { o.elsewhere, o.intent, o.confirmed.removal = true, intentDrain, removalDelete }), deleteCopy},
		"elsewhere, of a resource refused": {"", newObject(func(o *observation) { o.elsewhere, o.accepted = true, false }), reportNotAccepted},

		// What has the name of the copy is not a copy.
		"somebody else's":                      {"It is never changed.", newObject(func(o *observation) { o.copy = copyUnmanaged }), reportUnmanaged},
		"somebody else's, with a finalizer":    {"The finalizer stands for a copy that the cache does not show yet.", newObject(func(o *observation) { o.copy, o.finalizer = copyUnmanaged, true }), confirmNoCopy},
		"somebody else's, confirmed":           {"", newObject(func(o *observation) { o.copy, o.finalizer, o.confirmed.noCopy = copyUnmanaged, true, true }), reportUnmanaged},
		"handed over":                          {"", newObject(func(o *observation) { o.copy = copyAdoptable }), addFinalizer},
		"handed over, finalizer confirmed":     {"", newObject(func(o *observation) { o.copy, o.finalizer, o.confirmed.finalizerWritten = copyAdoptable, true, true }), applyCopy},
		"of the cluster itself, being deleted": {"", newObject(func(o *observation) { o.copy, o.terminating = copyAdoptable, true }), reportTerminating},

		// The last write of the same content had an outcome that still holds.
		"refused":                      {"It is not asked again before its time.", newObject(func(o *observation) { o.outcome = outcomeRejected }), reportRejection},
		"refused, with an older copy":  {"", wantedObject(func(o *observation) { o.matches, o.outcome = false, outcomeRejected }), reportRejection},
		"refused some time ago":        {"The finalizer is not added and removed with every attempt.", newObject(func(o *observation) { o.outcome = outcomeRejectionExpired }), dryRunCreate},
		"refused some time ago, taken": {"", newObject(func(o *observation) { o.outcome, o.confirmed.creatable = outcomeRejectionExpired, true }), addFinalizer},
		"failed, and perhaps written":  {"After a server error there may be a copy, so the finalizer is there.", newObject(func(o *observation) { o.outcome, o.finalizer = outcomeRejectionExpired, true }), addFinalizer},
		"deferred by the server":       {"", newObject(func(o *observation) { o.outcome = outcomeDeferred }), waitDeferred},
		"applied in vain":              {"What somebody else owns, or a webhook sets, is reported and not applied again.", wantedObject(func(o *observation) { o.matches, o.outcome = false, outcomeSettled }), reportCopy},
		"changed again and again":      {"Who changes it back is not raced.", wantedObject(func(o *observation) { o.matches, o.restoreWait = false, time.Second }), reportCopy},

		// An object that is to have no copy.
		"never synced": {"", unwantedObject(func(o *observation) { o.finalizer, o.report, o.copy = false, false, copyAbsent }), doNothing},
		"never synced, and asked for": {"Its user asks in vain.", unwantedObject(func(o *observation) {
			o.finalizer, o.report, o.copy, o.mustWarnNeverSynced = false, false, copyAbsent, true
		}), warnNeverSynced},
		"never synced, draining": {"Nothing is synced any more.", unwantedObject(func(o *observation) {
			o.finalizer, o.report, o.copy, o.mustWarnNeverSynced, o.intent = false, false, copyAbsent, true, intentDrain
		}), doNothing},
		"never synced, with a copy":    {"The copy goes first.", unwantedObject(func(o *observation) { o.mustWarnNeverSynced = true }), confirmRemoval},
		"deleted, as the cache shows":  {"The workspace itself is asked.", unwantedObject(), confirmRemoval},
		"deleted":                      {"", unwantedObject(func(o *observation) { o.confirmed.removal = removalDelete }), deleteCopy},
		"deleted, being deleted below": {"", unwantedObject(func(o *observation) { o.confirmed.removal, o.terminating = removalDelete, true }), reportDeleting},
		"not deleted after all":        {"The cache will follow.", unwantedObject(func(o *observation) { o.confirmed.removal = removalRefuted }), waitForCache},
		"deleted, no copy shown":       {"The finalizer stands for one.", unwantedObject(func(o *observation) { o.copy, o.confirmed.removal = copyAbsent, removalDelete }), confirmNoCopy},
		"deleted, no copy": {"", unwantedObject(func(o *observation) {
			o.copy, o.confirmed.removal, o.confirmed.noCopy = copyAbsent, removalDelete, true
		}), releaseSource},
		"deleted, of the cluster": {"What the cluster made is not deleted.", unwantedObject(func(o *observation) { o.clusterDefault, o.confirmed.removal = true, removalDelete }), releaseCopy},
		"deleted, not served below": {"With its definition the copy is gone.", unwantedObject(func(o *observation) {
			o.copy, o.servedDownstream, o.confirmed.removal = copyAbsent, false, removalDelete
		}), releaseSource},
		"gone, with a copy":     {"A lost watch or an empty list says nothing.", observation{copy: copyManaged, accepted: true, servedDownstream: true}, confirmRemoval},
		"only a report is left": {"", unwantedObject(func(o *observation) { o.copy, o.finalizer, o.confirmed.removal = copyAbsent, false, removalDelete }), releaseSource},

		// Reasons that lie outside the object.
		"drain":            {"The SyncTarget is read live.", wantedObject(func(o *observation) { o.intent = intentDrain }), confirmRemoval},
		"drain, confirmed": {"", wantedObject(func(o *observation) { o.intent, o.confirmed.removal = intentDrain, removalDelete }), deleteCopy},
		"drain, orphan":    {"", wantedObject(func(o *observation) { o.intent, o.confirmed.removal = intentDrain, removalOrphan }), orphanCopy},
		"drain, orphaned": {"", wantedObject(func(o *observation) {
			o.intent, o.copy, o.confirmed.removal, o.confirmed.noCopy = intentDrain, copyUnmanaged, removalOrphan, true
		}), releaseSource},
		"drain, orphan, no copy shown": {"The finalizer stands for one, which would keep our metadata.", wantedObject(func(o *observation) {
			o.intent, o.copy, o.confirmed.removal = intentDrain, copyAbsent, removalOrphan
		}), confirmNoCopy},
		"resource no longer named": {"", wantedObject(func(o *observation) { o.intent, o.confirmed.removal = intentRemove, removalDelete }), deleteCopy},
		"resource not accepted":    {"A copy that is there stays.", wantedObject(func(o *observation) { o.accepted = false }), reportNotAccepted},

		// The physical cluster does not let the resource be listed.
		"list denied, new":          {"", newObject(func(o *observation) { o.listDenied = true }), reportListDenied},
		"list denied, deleted":      {"Whether there is a copy cannot be known.", unwantedObject(func(o *observation) { o.listDenied, o.copy = true, copyAbsent }), reportListDenied},
		"list denied, report alone": {"", unwantedObject(func(o *observation) { o.listDenied, o.copy, o.finalizer = true, copyAbsent, false }), releaseSource},
		"list denied, drain":        {"A report does not hold up the end of a Namespace.", newObject(func(o *observation) { o.listDenied, o.report, o.intent = true, true, intentDrain }), releaseSource},
		"list denied, no object":    {"", observation{listDenied: true}, doNothing},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := decide(tc.o); got != tc.want {
				t.Errorf("decide() = %s, want %s. %s", got, tc.want, tc.reason)
			}
		})
	}
}

// TestDecideCrossProduct: every combination of finalizer, copy, wanted and drain, as the caches show it, before anything is confirmed.
func TestDecideCrossProduct(t *testing.T) {
	type row struct {
		finalizer bool
		copy      string
		wanted    bool
		drain     bool
	}
	expected := map[row]action{
		{false, "none", true, false}:        addFinalizer,
		{true, "none", true, false}:         addFinalizer, // confirmed before the copy is created
		{false, "managed", true, false}:     addFinalizer,
		{true, "managed", true, false}:      applyCopy,
		{false, "unmanaged", true, false}:   reportUnmanaged,
		{true, "unmanaged", true, false}:    confirmNoCopy,
		{false, "terminating", true, false}: addFinalizer,
		{true, "terminating", true, false}:  reportTerminating,

		{false, "none", false, false}:        doNothing,
		{true, "none", false, false}:         confirmRemoval,
		{false, "managed", false, false}:     confirmRemoval,
		{true, "managed", false, false}:      confirmRemoval,
		{false, "unmanaged", false, false}:   doNothing,
		{true, "unmanaged", false, false}:    confirmRemoval,
		{false, "terminating", false, false}: confirmRemoval,
		{true, "terminating", false, false}:  confirmRemoval,

		{false, "none", true, true}:        doNothing,
		{true, "none", true, true}:         confirmRemoval,
		{false, "managed", true, true}:     confirmRemoval,
		{true, "managed", true, true}:      confirmRemoval,
		{false, "unmanaged", true, true}:   doNothing,
		{true, "unmanaged", true, true}:    confirmRemoval,
		{false, "terminating", true, true}: confirmRemoval,
		{true, "terminating", true, true}:  confirmRemoval,

		{false, "none", false, true}:        doNothing,
		{true, "none", false, true}:         confirmRemoval,
		{false, "managed", false, true}:     confirmRemoval,
		{true, "managed", false, true}:      confirmRemoval,
		{false, "unmanaged", false, true}:   doNothing,
		{true, "unmanaged", false, true}:    confirmRemoval,
		{false, "terminating", false, true}: confirmRemoval,
		{true, "terminating", false, true}:  confirmRemoval,
	}
	copies := map[string]copyState{"none": copyAbsent, "managed": copyManaged, "unmanaged": copyUnmanaged, "terminating": copyManaged}
	for r, want := range expected {
		o := observation{source: sourceUnwanted, finalizer: r.finalizer, copy: copies[r.copy], terminating: r.copy == "terminating", accepted: true, servedDownstream: true}
		if r.wanted {
			o.source = sourceWanted
		}
		if r.drain {
			o.intent = intentDrain
		}
		if got := decide(o); got != want {
			t.Errorf("%+v: decide() = %s, want %s", r, got, want)
		}
	}
	if len(expected) != 2*len(copies)*2*2 {
		t.Errorf("%d combinations have an expectation", len(expected))
	}
}

// forAllObservations calls with every observation that there is, but for what no rule below depends on.
func forAllObservations(with func(observation)) {
	for source := sourceAbsent; source <= sourceWanted; source++ {
		for state := copyAbsent; state <= copyAdoptable; state++ {
			for reason := intentRun; reason <= intentDrain; reason++ {
				for last := outcomeNone; last <= outcomeDeferred; last++ {
					for bits := range 1 << 16 {
						bit := func(i int) bool { return bits>>i&1 == 1 }
						with(observation{
							source: source, copy: state, intent: reason, outcome: last,
							finalizer: bit(0) && source != sourceAbsent, terminating: bit(1), matches: bit(2), earlierJob: bit(3), laterGeneration: bit(4),
							clusterDefault: bit(5), accepted: bit(6), servedDownstream: bit(7), listDenied: bit(8), finished: bit(9), elsewhere: bit(15),
							confirmed: confirmations{removal: removal(bits >> 10 & 3), noCopy: bit(12), finalizerWritten: bit(13), sourceRead: bit(14)},
						})
					}
				}
			}
		}
	}
}

// TestDecideInvariants: whatever is observed, no copy is created without a finalizer, none ends without a live read, and nothing is
// done to what is not a copy.
func TestDecideInvariants(t *testing.T) {
	forAllObservations(func(o observation) {
		next, broken := decide(o), ""
		switch next {
		case createCopy:
			if !o.confirmed.finalizerWritten || o.copy != copyAbsent || o.source != sourceWanted {
				broken = "a copy is created without the finalizer, or where there is something"
			}
			if o.elsewhere {
				broken = "a copy is created of what runs elsewhere"
			}
		case applyCopy:
			if o.copy != copyManaged && (o.copy != copyAdoptable || !o.confirmed.finalizerWritten) || o.copy == copyManaged && !o.finalizer {
				broken = "something is applied to that is not a copy, or has no finalizer"
			}
			if o.elsewhere && o.copy != copyManaged {
				broken = "what runs elsewhere is made a copy"
			}
		case reportElsewhere:
			if !o.elsewhere || o.copy == copyManaged || o.finalizer && !o.confirmed.noCopy {
				broken = "a finalizer goes while there may be a copy, or what runs here is said to run elsewhere"
			}
		case deleteCopy, orphanCopy, releaseCopy:
			if o.copy != copyManaged || o.confirmed.removal != removalDelete && o.confirmed.removal != removalOrphan {
				broken = "a copy ends without a live read, or what ends is no copy"
			}
		case releaseSource:
			if o.finalizer && (o.copy == copyManaged || o.listDenied || o.servedDownstream && !o.confirmed.noCopy) {
				broken = "a finalizer goes while there may be a copy"
			}
		case replaceJob:
			if o.copy != copyManaged || !o.earlierJob || !o.confirmed.sourceRead {
				broken = "what is replaced is not the copy of an earlier Job"
			}
		}
		if broken != "" {
			t.Fatalf("%s: %s for %+v", broken, next, o)
		}
	})
}
