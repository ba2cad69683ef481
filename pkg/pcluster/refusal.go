package pcluster

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/synctarget/synctarget/pkg/sanitize"
)

// maxWords bounds what is repeated of a server's words, in characters.
const maxWords = 256

// request is what we asked of an API server, and the source of our words about its answer.
type request struct {
	verb            string // as in RBAC
	resource        schema.GroupResource
	namespace, name string
}

// String says it in a sentence: create deployments.apps "syncer" in namespace "x".
func (r request) String() string {
	var s strings.Builder
	s.WriteString(r.verb)
	s.WriteString(" ")
	s.WriteString(r.resource.String())
	if r.name != "" {
		fmt.Fprintf(&s, " %q", r.name)
	}
	if r.namespace != "" {
		fmt.Fprintf(&s, " in namespace %q", r.namespace)
	}
	return s.String()
}

// refusal is the sentence for an answer with this HTTP status code.
func (r request) refusal(code int32) string {
	status := "(" + strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(int(code)))) + ")"
	switch code {
	case http.StatusUnauthorized:
		return "the cluster does not accept the credentials in the kubeconfig " + status
	case http.StatusForbidden:
		return fmt.Sprintf("the kubeconfig's user may not %s %s", r, status)
	case http.StatusNotFound:
		return fmt.Sprintf("the cluster cannot %s: there is no such object or namespace %s", r, status)
	case http.StatusConflict:
		return fmt.Sprintf("the cluster cannot %s: it conflicts with what is there %s", r, status)
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return fmt.Sprintf("the cluster rejects the request to %s %s", r, status)
	case http.StatusTooManyRequests:
		return fmt.Sprintf("the cluster is too busy to %s %s", r, status)
	default:
		return fmt.Sprintf("the cluster failed to %s %s", r, status)
	}
}

// answered turns an API server's answer into a problem. Of the answer it keeps the code, a known reason and the known
// types of causes. It quotes the message of a Status, whatever the code.
func (r request) answered(status metav1.Status, b *answerFilter, secrets []string) *problem {
	clean := metav1.Status{
		Status: metav1.StatusFailure,
		Code:   status.Code,
		Reason: knownReason(status.Reason),
		Details: &metav1.StatusDetails{
			Group: r.resource.Group, Kind: r.resource.Resource, Name: r.name, Causes: knownCauses(status),
		},
	}
	isStatus := !apierrors.IsUnexpectedServerError(&apierrors.StatusError{ErrStatus: status})
	quote := ""
	if isStatus {
		quote = r.quote(status, secrets)
	}
	switch {
	case slices.Contains([]int32{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, status.Code):
		return unreachable("the API server at %q is not available (%d %s)%s", b.host, status.Code, http.StatusText(int(status.Code)), quote)
	case !isStatus && !slices.Contains([]int32{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests}, status.Code):
		// A 404 of some web server must never pass for the absence of an object.
		return b.notKubernetes()
	}
	clean.Message = line(r.refusal(status.Code), secrets) + quote // a resource is called as the cluster calls it
	return &problem{text: clean.Message, answer: &apierrors.StatusError{ErrStatus: clean}}
}

// knownCauses are the causes that callers tell apart, without the server's words.
func knownCauses(status metav1.Status) []metav1.StatusCause {
	if status.Details == nil {
		return nil
	}
	var known []metav1.StatusCause
	for _, cause := range status.Details.Causes {
		if cause.Type == corev1.NamespaceTerminatingCause || cause.Type == metav1.CauseTypeFieldManagerConflict {
			known = append(known, metav1.StatusCause{Type: cause.Type})
		}
	}
	return known
}

// quote is the second half of a sentence: what the server says, or "" if that adds nothing. Messages about Secrets are
// never quoted: they may repeat the content.
func (r request) quote(status metav1.Status, secrets []string) string {
	resource, _, _ := strings.Cut(r.resource.Resource, "/")
	said := words(status.Message, secrets)
	if said == "" || said == http.StatusText(int(status.Code)) || resource == "secrets" {
		return ""
	}
	return "; the cluster says: " + said
}

// words makes a server's words fit for a sentence: like line, without the source port of a connection, and cut.
func words(said string, secrets []string) string {
	return sanitize.Truncate(sanitize.WithoutSourcePort(line(said, secrets)), maxWords)
}

// line makes a server's words printable, on one line, and without our secrets.
func line(said string, secrets []string) string {
	said = sanitize.Line(said)
	for _, secret := range secrets {
		said = strings.ReplaceAll(said, secret, "[redacted]")
	}
	return said
}

func knownReason(reason metav1.StatusReason) metav1.StatusReason {
	if slices.Contains([]metav1.StatusReason{
		metav1.StatusReasonUnauthorized, metav1.StatusReasonForbidden, metav1.StatusReasonNotFound,
		metav1.StatusReasonAlreadyExists, metav1.StatusReasonConflict, metav1.StatusReasonGone,
		metav1.StatusReasonInvalid, metav1.StatusReasonServerTimeout, metav1.StatusReasonStoreReadError,
		metav1.StatusReasonTimeout, metav1.StatusReasonTooManyRequests, metav1.StatusReasonBadRequest,
		metav1.StatusReasonMethodNotAllowed, metav1.StatusReasonNotAcceptable,
		metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnsupportedMediaType,
		metav1.StatusReasonInternalError, metav1.StatusReasonExpired, metav1.StatusReasonServiceUnavailable,
	}, reason) {
		return reason
	}
	return metav1.StatusReasonUnknown
}
