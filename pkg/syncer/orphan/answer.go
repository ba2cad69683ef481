package orphan

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// Answer is what an answer of kcp says about the SyncTarget that a syncer acts for.
type Answer int

const (
	// Unknown is no answer, or one that does not say whether the SyncTarget exists, such as a timeout, 403 or 503.
	Unknown Answer = iota
	// Exists means that kcp accepts the token, and the SyncTarget has the expected UID.
	Exists
	// NotFound means that kcp says that there is no SyncTarget of this name.
	NotFound
	// Recreated means that the SyncTarget of this name has another UID.
	Recreated
	// Unauthorized means that kcp does not accept the token.
	Unauthorized
)

// AnswerOf is what the outcome of a request about the SyncTarget of this name says. The caller compares the UID.
func AnswerOf(err error, name string) Answer {
	switch {
	case err == nil:
		return Exists
	case apierrors.IsUnauthorized(err):
		return Unauthorized
	case rejection.IsNotFound(err, name):
		return NotFound
	}
	return Unknown
}

// String is the value of a field of the log.
func (a Answer) String() string {
	switch a {
	case Exists:
		return "Exists"
	case NotFound:
		return "NotFound"
	case Recreated:
		return "Recreated"
	case Unauthorized:
		return "Unauthorized"
	default:
		return "Unknown"
	}
}

// meaning tells an operator why the syncer is orphaned, and what to do. It is empty for an answer that is not negative.
func (a Answer) meaning() string {
	switch a {
	case NotFound:
		return "the SyncTarget does not exist any more: remove this syncer from the physical cluster"
	case Recreated:
		return "the SyncTarget was deleted and created again under the same name: " +
			"remove this syncer from the physical cluster, it does not act for the new SyncTarget"
	case Unauthorized:
		return "kcp does not accept the token of this syncer: if the SyncTarget was deleted, remove this syncer from the " +
			"physical cluster; if not, renew the Secret that holds the kubeconfig, and restart the syncer to try at once"
	default:
		return ""
	}
}
