package heartbeat

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/synctarget/synctarget/pkg/syncer/orphan"
)

// The failures that an API server's error alone does not tell.
var (
	errOwnCluster    = errors.New("the API of the syncer's own cluster cannot be reached")
	errRecreated     = errors.New("the SyncTarget was deleted and created again")
	errUninitialized = errors.New("the SyncTarget has no status yet")
)

// isRefusal tells an answer of kcp that will be the same next time from none, and from one that it is busy.
func isRefusal(err error) bool {
	return errors.Is(err, errRecreated) || apierrors.IsNotFound(err) || apierrors.IsUnauthorized(err) ||
		apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
}

// answerOf is what the outcome of a leader's attempt says about the SyncTarget of this name.
func answerOf(err error, name string) orphan.Answer {
	switch {
	case errors.Is(err, errOwnCluster):
		return orphan.Unknown // kcp was not asked
	case errors.Is(err, errRecreated):
		return orphan.Recreated
	case apierrors.IsInvalid(err):
		return orphan.Exists // explain has compared the UID
	}
	return orphan.AnswerOf(err, name)
}

// diagnose sorts the outcome of an attempt: a state, so that only changes are logged, and a sentence that tells
// an operator what it means and what to do.
func diagnose(err error, leading bool) (state, meaning string) {
	switch {
	case err == nil && !leading:
		return "standby", "own cluster answers; waiting to be elected"
	case err == nil:
		return "accepted", "heartbeats are accepted"
	case errors.Is(err, errOwnCluster):
		return "ownCluster", "no heartbeats while the own cluster's API cannot be reached; " +
			"see that the syncer's ServiceAccount may get Namespace kube-system, and the network of this pod"
	case errors.Is(err, errRecreated):
		return "recreated", "this SyncTarget was deleted and created again under the same name: " +
			"this syncer does not act for the new one and can be removed"
	case errors.Is(err, errUninitialized):
		return "uninitialized", "the SyncTarget has no status yet; see that the synctarget-controller runs"
	case apierrors.IsNotFound(err):
		return "notFound", "the SyncTarget was not found: if it was deleted, remove this syncer; " +
			"if not, see that its workspace still binds the API workload.kcp.io"
	case apierrors.IsUnauthorized(err):
		return "unauthorized", "kcp refuses the syncer's token; it is read again before each attempt: " +
			"if this lasts, renew the Secret that holds the kubeconfig"
	case apierrors.IsForbidden(err):
		return "forbidden", "the syncer's account may not send heartbeats: in the workspace it needs the verb get " +
			"on this SyncTarget and the verb patch on its status"
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return "refused", "kcp refuses what this syncer reports; see that its version matches the API's"
	default:
		return "unreachable", "kcp cannot be reached; see the server's address in the kubeconfig, and the network of this pod"
	}
}
