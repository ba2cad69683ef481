package synctarget

import (
	"time"
)

// completionTime is how long a deletion that no longer waits for its steps waits all the same for what was asked for and is under
// way, such as the end of a Namespace, from when this process first tried that step; and for kcp to answer.
const completionTime = time.Minute

// urgency is how long a deletion waits for its steps.
type urgency int

const (
	// beforeDeadline: until each step is done.
	beforeDeadline urgency = iota
	// pastDeadline: no longer than it takes to try each step.
	pastDeadline
	// abandonedByUser: as pastDeadline, and not for what is under way in the physical cluster. The user has set the annotation.
	abandonedByUser
)

// deletion is the time of one deletion, by the clock of this process.
type deletion struct {
	start, deadline, now time.Time
	urgency              urgency
}

// deletionOf compares the age of a deletion with its deadline.
func (r *Reconciler) deletionOf(s *scope) deletion {
	start, now := r.deletions.start(s.target), r.Clock.Now()
	return newDeletion(start, r.DeleteDeadline, now, s.isAbandoned())
}

func newDeletion(start time.Time, limit time.Duration, now time.Time, isAbandoned bool) deletion {
	d := deletion{start: start, deadline: start.Add(limit), now: now}
	switch {
	case isAbandoned:
		d.urgency = abandonedByUser
	case !now.Before(d.deadline):
		d.urgency = pastDeadline
	}
	return d
}

func (d deletion) elapsed() time.Duration { return d.now.Sub(d.start) }

// isForced reports whether a step is abandoned that fails.
func (d deletion) isForced() bool { return d.urgency != beforeDeadline }

// progress is how far one run of a step has come.
type progress int

const (
	// done: nothing is left to do.
	done progress = iota
	// notAttempted: nothing was asked for, because the first contact with the physical cluster is under way. It ends.
	notAttempted
	// noAnswer: kcp was asked and did not answer just now, somebody else was faster, or the connection to the physical cluster
	// was replaced.
	noAnswer
	// inProgress: what was asked for was accepted, and is waited for.
	inProgress
	// completing: as inProgress, and it comes to pass by itself: it is waited for, a while, even where the user does not wait.
	completing
	// mustWait: the step makes progress, and says itself how long it is waited for.
	mustWait
	// failed: what was asked for was refused.
	failed
)

// attempt is one run of a step that is not done, with what is known of those before.
type attempt struct {
	progress progress
	// sinceFirst is the time since this process first tried the step, and sinceForced since it first tried it after the deadline
	// or the annotation.
	sinceFirst, sinceForced time.Duration
	// abandonedBefore: the step was abandoned in an earlier pass.
	abandonedBefore bool
}

// attemptOf records a run of a step and returns it.
func (r *Reconciler) attemptOf(s *scope, step step, d deletion, p progress) attempt {
	record, now := r.deletions.step(s.target, step.name), r.Clock.Now()
	if p != notAttempted {
		if record.tried.IsZero() {
			record.tried = now
		}
		if d.isForced() && record.triedForced.IsZero() {
			record.triedForced = now
		}
		r.deletions.setStep(s.target, step.name, record)
	}
	a := attempt{progress: p, abandonedBefore: record.abandoned}
	if !record.tried.IsZero() {
		a.sinceFirst = now.Sub(record.tried)
	}
	if !record.triedForced.IsZero() {
		a.sinceForced = now.Sub(record.triedForced)
	}
	return a
}

// abandonsStep decides whether a step that is not done is abandoned. A step is abandoned only after this process has tried it past
// the deadline, or after the annotation was set.
func (d deletion) abandonsStep(a attempt) bool {
	if !d.isForced() {
		return false
	}
	switch a.progress {
	case notAttempted:
		return a.abandonedBefore
	case noAnswer:
		return a.abandonedBefore || a.sinceForced >= completionTime
	case inProgress:
		return a.abandonedBefore || a.sinceFirst >= completionTime || d.urgency == abandonedByUser
	case completing:
		return a.abandonedBefore || a.sinceFirst >= completionTime
	case mustWait:
		return false
	}
	return true
}

// hasTime reports whether a step that this process first tried then, zero for not yet, can be tried once more: as long as what is
// completing has after the deadline, or after that, whichever is later.
func (d deletion) hasTime(tried, now time.Time) bool {
	due := d.deadline
	if tried.After(due) {
		due = tried
	}
	return tried.IsZero() || now.Sub(due) < completionTime
}

// nextAttempt is the time until a step is tried again of which nothing else is heard. It grows with the age of the deletion, and a
// step is tried at the deadline, and when it has had its time after that.
func (d deletion) nextAttempt(a attempt) time.Duration {
	untilDue := max(completionTime-a.sinceFirst, time.Second)
	if d.now.Before(d.deadline) {
		untilDue = d.deadline.Sub(d.now)
	}
	return min(removalBackoff(d.elapsed()), untilDue)
}

// removalBackoff is a quarter of the age of the deletion, from 1 s to a minute. It follows from the age alone, so a restart does
// not begin anew.
func removalBackoff(elapsed time.Duration) time.Duration {
	return min(max(elapsed/4, time.Second), time.Minute)
}

// deletionStart decides what a deadline counts from. The clock of kcp may differ from ours, so a process that saw the
// SyncTarget alive counts from when it saw the deletion. Another process has the timestamp alone, except for one that lies
// in the future.
func deletionStart(timestamp, seenDeleted time.Time, seenAlive bool) time.Time {
	if seenAlive || timestamp.After(seenDeleted) {
		return seenDeleted
	}
	return timestamp
}
