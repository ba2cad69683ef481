package synctarget

import (
	"time"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// deletion is how far the time of a deletion has gone.
type deletion struct {
	// start is when it began, by our clock.
	start   time.Time
	elapsed time.Duration
	// abandoned: the user does not wait for the end.
	abandoned bool
	// letGo: the deadline has passed, or the user does not wait for it.
	letGo bool
}

// deletionOf compares the age of a deletion with its deadline.
func (r *Reconciler) deletionOf(s *scope) deletion {
	start, abandoned := r.deletions.start(s.target), s.abandoned()
	elapsed := r.Clock.Since(start)
	return deletion{start: start, elapsed: elapsed, abandoned: abandoned, letGo: abandoned || elapsed >= r.DeleteDeadline}
}

// outcome is what came of running a step that is not done.
type outcome int

const (
	// notTried: nothing was asked for, because the first contact with the physical cluster is under way. It ends.
	notTried outcome = iota
	// noAnswer: kcp was asked and did not answer just now, or somebody else was faster.
	noAnswer
	// underWay: what was asked for was accepted and is waited for.
	underWay
	// mustWait: the step makes progress, and says itself how long it is waited for.
	mustWait
	// failed: what was asked for was refused.
	failed
)

// outcomeOf classifies the verdict of a step that is not done.
func outcomeOf(v verdict, err error) outcome {
	switch {
	case v.begun:
		return mustWait
	case v.undecided && err != nil:
		return noAnswer
	case v.undecided:
		return notTried
	case err == nil && v.reason == workloadv1alpha1.ReasonRemoving:
		return underWay
	}
	return failed
}

// attempt is one run of a step that is not done, with what came of those before.
type attempt struct {
	outcome outcome
	// settles: what is under way comes to pass by itself; see step.
	settles bool
	// waited is the time since this process first tried the step, and waitedLate since it first tried it after the deadline or
	// the annotation.
	waited, waitedLate time.Duration
	// again: the step was given up before.
	again bool
}

// attemptOf records a run of a step and returns it.
func (r *Reconciler) attemptOf(s *scope, step step, d deletion, o outcome) attempt {
	record, now := r.deletions.step(s.target, step.name), r.Clock.Now()
	if o != notTried {
		if record.tried.IsZero() {
			record.tried = now
		}
		if d.letGo && record.triedLate.IsZero() {
			record.triedLate = now
		}
		r.deletions.setStep(s.target, step.name, record)
	}
	a := attempt{outcome: o, settles: step.settles, again: record.abandoned}
	if !record.tried.IsZero() {
		a.waited = now.Sub(record.tried)
	}
	if !record.triedLate.IsZero() {
		a.waitedLate = now.Sub(record.triedLate)
	}
	return a
}

// givesUp decides whether a step that is not done is given up. A step is given up only after this process has tried it past
// the deadline, or after the annotation was set.
func (d deletion) givesUp(a attempt) bool {
	if !d.letGo {
		return false
	}
	switch a.outcome {
	case notTried:
		return a.again
	case noAnswer:
		return a.again || a.waitedLate >= settling
	case underWay:
		return a.again || a.waited >= settling || d.abandoned && !a.settles
	case mustWait:
		return false
	}
	return true
}

// untilDue is the time until a step is given up that is not done by then and of which nothing else is heard.
func (d deletion) untilDue(deadline, waited time.Duration) time.Duration {
	if d.elapsed < deadline {
		return deadline - d.elapsed
	}
	return max(settling-waited, time.Second)
}

// removalRecheck backs off with the age of the deletion: a quarter of it, from 1 s to a minute. It needs no memory,
// so a restart does not begin anew.
func removalRecheck(elapsed time.Duration) time.Duration {
	return min(max(elapsed/4, time.Second), time.Minute)
}
