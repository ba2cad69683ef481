package synctarget

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// verdict is what a phase says in its condition.
type verdict struct {
	status  metav1.ConditionStatus
	reason  string
	message string
	// requeueAfter is the time until the next pass if no event brings one earlier; 0 is never.
	requeueAfter time.Duration
	certainty    certainty
}

// certainty reports whether a verdict replaces a condition that exists.
type certainty int

const (
	// decided: it does.
	decided certainty = iota
	// pending: it does not, because nothing is known yet. An event brings the next pass.
	pending
	// transientFailure: kcp kept the phase from its work. It does once that has lasted for transientErrorTime.
	transientFailure
)

func (v verdict) ok() bool { return v.status == metav1.ConditionTrue }

// after requests another pass.
func (v verdict) after(d time.Duration) verdict {
	v.requeueAfter = d
	return v
}

func passed(reason, message string) verdict {
	return verdict{status: metav1.ConditionTrue, reason: reason, message: message}
}

func blocked(reason, format string, args ...any) verdict {
	return verdict{status: metav1.ConditionFalse, reason: reason, message: fmt.Sprintf(format, args...)}
}

func unknown(reason, format string, args ...any) verdict {
	return verdict{status: metav1.ConditionUnknown, reason: reason, message: fmt.Sprintf(format, args...)}
}

// nextPass is when the first of the verdicts requests another pass; 0 is never.
func nextPass(verdicts map[string]verdict) time.Duration {
	var next time.Duration
	for _, v := range verdicts {
		if v.requeueAfter > 0 && (next == 0 || v.requeueAfter < next) {
			next = v.requeueAfter
		}
	}
	return next
}

// failing is the verdict of a phase that kcp kept from its work. The condition says what kcp has answered. A transient error
// says nothing of the SyncTarget: the earlier condition stands while kcp is asked again, unless that lasts.
func failing(reason string, err error) verdict {
	if !isTransient(err) {
		return blocked(reason, "%s", err)
	}
	v := blocked(reason, "kcp does not answer just now; it is asked again")
	if isAnswer(err) {
		v.message = fmt.Sprintf("kcp failed; the controller tries again: %s", err)
	}
	v.certainty = transientFailure
	return v
}
