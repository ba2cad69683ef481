package rejection

import (
	"errors"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Class says what is to be done about the answer of an API server to a write.
type Class int

const (
	// Transient answers say nothing about the object, like no answer at all. The write is tried again and nothing is
	// reported.
	Transient Class = iota
	// Persistent answers may change with another attempt. They are reported after ReportAfter attempts.
	Persistent
	// Terminal answers stay the same until the object or its copy changes. They are reported at once.
	Terminal
)

const (
	// RetryAfter is the time until an object that was refused is tried again without a change: the cluster may have
	// changed.
	RetryAfter = 5 * time.Minute
	// ReportAfter is the number of failed attempts after which a Persistent answer is reported.
	ReportAfter = 3
)

// Classify returns what the user is told about the answer of an API server to a write, and its class.
func Classify(err error) (Report, Class) {
	answer, ok := answerIn(err)
	if !ok {
		return Report{}, Transient
	}
	reason, text := explain(answer)
	if occasion := occasionOf(err, answer); occasion != "" {
		text += " (" + occasion + ")"
	}
	switch {
	case apierrors.IsConflict(err) && len(FieldConflicts(err)) > 0:
		return Report{Conflict: ConflictMessage(FieldConflicts(err), "")}, Terminal
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), reason == ReasonTooLarge,
		apierrors.IsMethodNotSupported(err), apierrors.IsNotAcceptable(err), apierrors.IsUnsupportedMediaType(err):
		return Report{Refused: Clip(text)}, Terminal
	case isTransient(answer):
		return Report{}, Transient
	}
	return Report{Refused: Clip(text)}, Persistent
}

// ReasonOf returns what refuses the object; ReasonOther if the error is no answer of an API server.
func ReasonOf(err error) Reason {
	answer, ok := answerIn(err)
	if !ok {
		return ReasonOther
	}
	reason, _ := explain(answer)
	return reason
}

// IsOverload reports whether a server has rejected the request without looking at it, with a line of text and not a
// Status, because it has too many. Another 429 may be an answer about this object.
func IsOverload(err error) bool {
	return apierrors.IsTooManyRequests(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// isTransient reports whether the answer is about the server, the credentials or a concurrent write, and not about the
// object.
func isTransient(answer *apierrors.StatusError) bool {
	switch code := answer.ErrStatus.Code; {
	case apierrors.IsConflict(answer), apierrors.IsUnauthorized(answer), apierrors.IsTooManyRequests(answer),
		apierrors.IsServiceUnavailable(answer), apierrors.IsTimeout(answer), apierrors.IsServerTimeout(answer),
		code == http.StatusBadGateway, code == http.StatusGatewayTimeout:
		return true
	}
	return false
}

// answerIn returns the answer of an API server that an error wraps.
func answerIn(err error) (*apierrors.StatusError, bool) {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return nil, false
	}
	return &apierrors.StatusError{ErrStatus: answer.Status()}, true
}

// occasionOf returns what the syncer was doing when it got the answer, which is the text before the answer. It is empty
// for the apply of the object, which is the usual occasion.
func occasionOf(err error, answer *apierrors.StatusError) string {
	before, wrapped := strings.CutSuffix(err.Error(), ": "+answer.ErrStatus.Message)
	if !wrapped || strings.HasPrefix(before, "writing ") {
		return ""
	}
	return before
}
