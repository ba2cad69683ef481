package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// PodGrace is how long a heartbeat may still come from a Pod of the version before, which is being terminated.
const PodGrace = 15 * time.Second

// State says how far a target is.
type State int

const (
	// Unknown means that what is installed has not been read yet.
	Unknown State = iota
	// Pending means that it has an earlier version.
	Pending
	// Updating means that it has got the version in a rollout, and is not Ready with it yet.
	Updating
	// Failed means that it has got the version in a rollout, and has not become Ready with it in time.
	Failed
	// Updated means that it has the version.
	Updated
)

// Condition is a condition of a target.
type Condition struct {
	// True is false also if the status is Unknown.
	True bool
	// Unknown is set if the status is Unknown, or there is no such condition.
	Unknown bool
	// Changed is when the status last changed.
	Changed time.Time
}

// Target is what is known of a target.
type Target struct {
	// ID names the target. Targets begin in the order of their IDs, those that could not be installed when it was their turn last.
	ID string
	// Ready and Deployed are conditions of the target.
	Ready, Deployed Condition
	// RollingOut is set if Deployed says that a rollout is under way.
	RollingOut bool
	// Heartbeat is when this process last saw a heartbeat; zero for never.
	Heartbeat time.Time

	// Examined is set when what is installed has been read.
	Examined bool
	// Outdated is set if what is installed is an earlier version.
	Outdated bool
	// Granted is when Decide let the target begin; zero for never. It counts until the version is installed.
	Granted time.Time
	// RolledOut is when what is installed was installed in a rollout; zero if it was installed otherwise, as in a first installation.
	RolledOut time.Time
	// Complete is since when this process has seen all Pods run the version; zero if they do not.
	Complete time.Time
	// Stuck is set if the physical cluster says that the rollout of the Pods makes no progress.
	Stuck bool

	// WasUpdated and HasFailed are set when State has returned Updated or Failed for the version.
	WasUpdated, HasFailed bool
}

// State says how far the target is. deadline is how long it may take to become Ready.
func (t *Target) State(now time.Time, deadline time.Duration) State {
	switch {
	case !t.Examined && t.RollingOut && now.Sub(t.Deployed.Changed) < longest(deadline):
		return Updating
	case !t.Examined:
		return Unknown
	case t.Outdated && now.Sub(t.Granted) < deadline:
		return Updating
	case t.Outdated:
		return Pending
	case t.RolledOut.IsZero() || t.WasUpdated || t.isConfirmed():
		return Updated
	case t.Stuck && t.IsUnfinished(deadline):
		return Failed
	case now.Sub(t.RolledOut) < deadline:
		return Updating
	case t.Ready.True && t.Deployed.True:
		return Updating // its next heartbeat confirms it
	case t.HasFailed || t.IsUnfinished(deadline):
		return Failed
	}
	return Updated // it became Ready with the version, and something else has happened since; or it was not before its turn
}

// longest is how long after its rollout a target may become not Ready because of it: a syncer that stops is not Ready half a
// deadline later.
func longest(deadline time.Duration) time.Duration { return deadline * 3 / 2 }

// isConfirmed tells whether the syncer of the version has sent a heartbeat.
func (t *Target) isConfirmed() bool {
	return t.Ready.True && !t.Complete.IsZero() && t.Heartbeat.After(t.Complete.Add(PodGrace))
}

// IsUnfinished tells whether the last rollout may be why the target is not Ready or not Deployed: it became so after the rollout,
// and before the syncer could be missed. What was not so before the rollout proves nothing about the version.
func (t *Target) IsUnfinished(deadline time.Duration) bool {
	if t.RolledOut.IsZero() {
		return false
	}
	for _, condition := range []Condition{t.Ready, t.Deployed} {
		after := condition.Changed.Sub(t.RolledOut.Truncate(time.Second)) // conditions change at full seconds
		if !condition.True && after >= 0 && after <= longest(deadline) {
			return true
		}
	}
	return false
}

// sendsHeartbeats tells whether the syncer lives, so that it is known whether the version stops it. A heartbeat is due within half of the
// time after which a syncer counts as silent, which is half of the deadline.
func (t *Target) sendsHeartbeats(now time.Time, deadline time.Duration) bool {
	return t.Ready.True && !t.Heartbeat.IsZero() && now.Sub(t.Heartbeat) < deadline/4
}

// mayBegin tells whether a pending target can be judged after it has got the version: by its heartbeats and by Deployed, which is
// waited for, or by its heartbeats alone if it has not been Deployed for long.
func (t *Target) mayBegin(now time.Time, deadline time.Duration) bool {
	isDeployed := t.Deployed.True || !t.Deployed.Unknown && now.Sub(t.Deployed.Changed) >= deadline
	return isDeployed && t.sendsHeartbeats(now, deadline)
}

// Decision is what Decide has decided.
type Decision struct {
	// Begin are the indexes of the targets that may begin now.
	Begin []int
	// Halted is set while the rollout does not go on since targets have failed.
	Halted bool
	// States are those of all targets.
	States []State
	// Counts are how many targets are in each State.
	Counts map[State]int
}

// Decide decides which targets may begin. At most maxUnavailable of the targets that are Ready, or were before they began, are
// Updating or Failed, and at least one may be. None begins while one is Failed, or while waitForUnknown is set and it is not
// known of each Ready target what is installed. A target that an earlier rollout has broken waits for nothing but a heartbeat: the
// version may be what mends it.
func Decide(targets []Target, maxUnavailable intstr.IntOrString, now time.Time, deadline time.Duration, waitForUnknown bool) Decision {
	d := Decision{States: make([]State, len(targets)), Counts: map[State]int{}}
	var candidates, broken []int
	ready, unknown := 0, false
	for i := range targets {
		t, state := &targets[i], targets[i].State(now, deadline)
		d.States[i] = state
		d.Counts[state]++
		if t.Ready.True || state == Updating || state == Failed {
			ready++
		}
		unknown = unknown || state == Unknown && t.Ready.True
		switch {
		case state != Pending:
		case t.sendsHeartbeats(now, deadline) && t.IsUnfinished(deadline):
			broken = append(broken, i)
		case t.mayBegin(now, deadline):
			candidates = append(candidates, i)
		}
	}
	d.Begin = broken
	d.Halted = d.Counts[Failed] > 0 && d.Counts[Pending] > 0
	free := limit(maxUnavailable, ready) - d.Counts[Updating] - d.Counts[Failed] - len(broken)
	if free <= 0 || d.Counts[Failed] > 0 || unknown && waitForUnknown {
		return d
	}
	slices.SortFunc(candidates, func(a, b int) int {
		return cmp.Or(targets[a].Granted.Compare(targets[b].Granted), strings.Compare(targets[a].ID, targets[b].ID))
	})
	d.Begin = append(d.Begin, candidates[:min(free, len(candidates))]...)
	return d
}

// limit is how many of so many targets may be unavailable.
func limit(maxUnavailable intstr.IntOrString, targets int) int {
	scaled, err := intstr.GetScaledValueFromIntOrPercent(&maxUnavailable, targets, false)
	if err != nil {
		return 1 // Parse accepts nothing else than it does
	}
	return max(scaled, 1)
}

// Parse parses a number of targets, which is at least 1, or a percentage from 1% to 100%.
func Parse(value string) (intstr.IntOrString, error) {
	parsed := intstr.Parse(value)
	scaled, err := intstr.GetScaledValueFromIntOrPercent(&parsed, 100, false)
	if err != nil || scaled < 1 || parsed.Type == intstr.String && scaled > 100 {
		return intstr.IntOrString{}, fmt.Errorf("it must be a number of at least 1, or a percentage from 1%% to 100%%, not %q", value)
	}
	return parsed, nil
}
