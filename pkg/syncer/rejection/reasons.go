package rejection

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reason names what refuses an object.
type Reason string

const (
	// ReasonInvalid is for an object that the validation of the API server does not accept.
	ReasonInvalid Reason = "Invalid"
	// ReasonTooLarge is for an object that exceeds a limit of the API server, of etcd or of its kind.
	ReasonTooLarge Reason = "TooLarge"
	// ReasonPolicy is for an admission policy in the cluster.
	ReasonPolicy Reason = "Policy"
	// ReasonPodSecurity is for a Pod Security Standard that the Namespace enforces.
	ReasonPodSecurity Reason = "PodSecurity"
	// ReasonWebhook is for an admission webhook that denies the object, or that the API server cannot call.
	ReasonWebhook Reason = "Webhook"
	// ReasonQuota is for a ResourceQuota.
	ReasonQuota Reason = "Quota"
	// ReasonLimitRange is for a LimitRange.
	ReasonLimitRange Reason = "LimitRange"
	// ReasonForbidden is for RBAC, which does not give the syncer the right, and for other admission plugins.
	ReasonForbidden Reason = "Forbidden"
	// ReasonNamespaceMissing is for a Namespace that does not exist.
	ReasonNamespaceMissing Reason = "NamespaceMissing"
	// ReasonNamespaceTerminating is for a Namespace that is being deleted.
	ReasonNamespaceTerminating Reason = "NamespaceTerminating"
	// ReasonOther is for every other answer.
	ReasonOther Reason = "Other"
)

// rules are tried in this order, and the first one that matches the answer gives the reason and the text for the user.
// The text begins with what refuses the object. $1 is the first group of the expression, $0 all that it matches.
var rules = []struct {
	reason Reason
	match  matcher
}{
	{ReasonNamespaceTerminating, hasCause(corev1.NamespaceTerminatingCause, "Namespace is terminating: ")},
	{ReasonNamespaceTerminating, rewrites(`^.* is being terminated$`, "Namespace is terminating: $0")},
	{ReasonNamespaceMissing, rewrites(`^namespaces "[^"]+" not found$`, "Namespace is missing: $0")},

	{ReasonWebhook, rewrites(`^admission webhook ("[^"]+") denied the request(.*)$`, "refused by admission webhook $1$2")},
	{ReasonWebhook, rewrites(`^(?:failed calling|admission) webhook ".*$`, "$0")},
	{ReasonPolicy, rewrites(`^((?:ValidatingAdmissionPolicy|policy) (?:'[^']+'|"[^"]+")(?: with binding '[^']+')?) denied request: (.*)$`, "refused by $1: $2")},
	{ReasonPodSecurity, rewrites(`^violates (PodSecurity "[^"]+"): (.*)$`, "refused by $1: $2")},
	{ReasonQuota, rewrites(`^exceeded quota: (.+?), (requested: .*)$`, `refused by quota "$1": $2`)},
	{ReasonQuota, rewrites(`^failed quota: (.+?): (.*)$`, `refused by quota "$1": $2`)},
	{ReasonQuota, rewrites(`^(?:insufficient quota to|status unknown for quota:) .*$`, "refused by quota: $0")},
	{ReasonLimitRange, rewrites(`^\[?((?:(?:minimum|maximum) \S+ usage|\S+ max limit to request ratio) per .*?)\]?$`, "refused by LimitRange: $1")},
	// The name of the user is left out: it is the syncer's, and has hashes in it.
	{ReasonForbidden, rewrites(`^User "[^"]*" (cannot .*)$`, "the syncer lacks a right: it $1")},

	{ReasonTooLarge, rewrites(`^Request entity too large: (.*)$`, "too large: $1")},
	{ReasonTooLarge, rewrites(`^etcdserver: request is too large$|^.*trying to send message larger than max.*$`, "too large: $0")},
	{ReasonTooLarge, is(apierrors.IsRequestEntityTooLargeError, "too large: ")},
	{ReasonTooLarge, is(isTooLong, "too large: ")},
	{ReasonInvalid, rewrites(`^failed to create typed patch object \([^)]*\): (.*)$`, "invalid: $1")},
	{ReasonInvalid, is(apierrors.IsInvalid, "invalid: ")},
	{ReasonInvalid, is(apierrors.IsBadRequest, "invalid: ")},
	{ReasonForbidden, is(apierrors.IsForbidden, "forbidden: ")},
}

// explain returns what refuses the object, and the text for the user.
func explain(answer *apierrors.StatusError) (Reason, string) {
	for _, rule := range rules {
		if text, ok := rule.match(answer); ok {
			return rule.reason, text
		}
	}
	return ReasonOther, cmp.Or(answer.ErrStatus.Message, fmt.Sprintf("the server answers with status code %d and no message", answer.ErrStatus.Code))
}

// matcher returns the text for the user, and whether the answer is one of those that it is for.
type matcher func(answer *apierrors.StatusError) (text string, ok bool)

// rewrites matches answers whose message, without what the user knows, matches an expression, and fills the template
// with it. The expression is compiled when it is first needed: the kubectl plugin starts with this table, and reads no answers.
func rewrites(expression, template string) matcher {
	compiled := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
	return func(answer *apierrors.StatusError) (string, bool) {
		pattern, message := compiled(), messageOf(answer)
		groups := pattern.FindStringSubmatchIndex(message)
		if groups == nil {
			return "", false
		}
		return string(pattern.ExpandString(nil, template, message, groups)), true
	}
}

// hasCause matches answers that give a cause of this type.
func hasCause(cause metav1.CauseType, prefix string) matcher {
	return func(answer *apierrors.StatusError) (string, bool) {
		return prefix + messageOf(answer), apierrors.HasStatusCause(answer, cause)
	}
}

// is matches answers of a kind.
func is(kind func(error) bool, prefix string) matcher {
	return func(answer *apierrors.StatusError) (string, bool) {
		return prefix + detailsOf(answer), kind(answer)
	}
}

// knownPrefix is the beginning of messages that the user knows already: Deployment.apps "web" is invalid
var knownPrefix = regexp.MustCompile(`^(?:[^\s"]+(?: "(?:[^"\\]|\\.)*")? is (?:forbidden|invalid)|forbidden|Internal error occurred): `)

// messageOf returns the message of an answer as one line, without what the user knows already.
func messageOf(answer *apierrors.StatusError) string {
	message := strings.Join(strings.Fields(answer.ErrStatus.Message), " ")
	return strings.TrimPrefix(message, knownPrefix.FindString(message))
}
