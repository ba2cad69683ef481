package pcluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestAnswered(t *testing.T) {
	create := request{
		verb: "create", resource: schema.GroupResource{Group: "apps", Resource: "deployments"}, namespace: "n", name: "syncer",
	}
	read := request{verb: "get", resource: schema.GroupResource{Resource: "namespaces"}, name: "n"}
	list := request{verb: "list", resource: schema.GroupResource{Resource: "pods"}, namespace: "n"}
	status := func(code int32, reason metav1.StatusReason, message string, causes ...metav1.StatusCause) metav1.Status {
		return metav1.Status{
			Code: code, Reason: reason, Message: message,
			Details: &metav1.StatusDetails{Name: canary, Kind: canary, Causes: causes, RetryAfterSeconds: 99},
		}
	}
	madeUp := metav1.StatusCause{Type: metav1.CauseTypeUnexpectedServerResponse, Message: canary}

	for name, test := range map[string]struct {
		reason  string
		request request
		answer  metav1.Status
		want    string
		is      func(error) bool
	}{
		"401": {
			reason:  "words that are those of the status code add nothing",
			request: read, answer: status(401, metav1.StatusReasonUnauthorized, "Unauthorized"),
			want: "the cluster does not accept the credentials in the kubeconfig (401 Unauthorized)",
			is:   apierrors.IsUnauthorized,
		},
		"401 of a proxy": {
			reason:  "what stands before an API server refuses with a page",
			request: create, answer: status(401, metav1.StatusReasonUnauthorized, canary, madeUp),
			want: "the cluster does not accept the credentials in the kubeconfig (401 Unauthorized)",
			is:   apierrors.IsUnauthorized,
		},
		"403 of a read": {
			reason:  "an authorizer may say which permission is missing",
			request: read, answer: status(403, metav1.StatusReasonForbidden, `requires one of ["container.namespaces.get"] permission(s)`),
			want: `the kubeconfig's user may not get namespaces "n" (403 Forbidden); the cluster says: requires one of ["container.namespaces.get"] permission(s)`,
			is:   apierrors.IsForbidden,
		},
		"403 of a list": {
			reason:  "the token is taken out of the words",
			request: list, answer: status(403, metav1.StatusReasonForbidden, "unknown: "+canary),
			want: `the kubeconfig's user may not list pods in namespace "n" (403 Forbidden); the cluster says: unknown: [redacted]`,
			is:   apierrors.IsForbidden,
		},
		"403 of a write": {
			reason:  "the words say which quota or webhook it was",
			request: create, answer: status(403, metav1.StatusReasonForbidden, "exceeded quota: q"),
			want: `the kubeconfig's user may not create deployments.apps "syncer" in namespace "n" (403 Forbidden); the cluster says: exceeded quota: q`,
			is:   apierrors.IsForbidden,
		},
		"403 of the write of a Secret": {
			reason:  "the words may repeat what is in it",
			request: request{verb: "patch", resource: schema.GroupResource{Resource: "secrets"}, namespace: "n", name: "kcp"},
			answer:  status(403, metav1.StatusReasonForbidden, "denied: "+canary),
			want:    `the kubeconfig's user may not patch secrets "kcp" in namespace "n" (403 Forbidden)`,
			is:      apierrors.IsForbidden,
		},
		"403 of a write, made up": {
			reason:  "whatever was sent was no Status, so it is not repeated",
			request: create, answer: status(403, metav1.StatusReasonForbidden, canary, madeUp),
			want: `the kubeconfig's user may not create deployments.apps "syncer" in namespace "n" (403 Forbidden)`,
			is:   apierrors.IsForbidden,
		},
		"403, namespace ends": {
			reason:  "callers tell this one apart by its cause",
			request: create,
			answer: status(403, metav1.StatusReasonForbidden, "",
				metav1.StatusCause{Type: corev1.NamespaceTerminatingCause, Message: canary, Field: canary}),
			want: `the kubeconfig's user may not create deployments.apps "syncer" in namespace "n" (403 Forbidden)`,
			is: func(err error) bool {
				cause, ok := apierrors.StatusCause(err, corev1.NamespaceTerminatingCause)
				return ok && cause.Message == ""
			},
		},
		"404": {
			request: read, answer: status(404, metav1.StatusReasonNotFound, `namespaces "n" not found`),
			want: `the cluster cannot get namespaces "n": there is no such object or namespace (404 Not Found); the cluster says: namespaces "n" not found`,
			is:   apierrors.IsNotFound,
		},
		"404, made up": {
			reason:  "a web server's 404 must not pass for the absence of an object",
			request: read, answer: status(404, metav1.StatusReasonNotFound, canary, madeUp),
			want: `the server at "edge:6443" does not answer like a Kubernetes API server`,
			is:   func(err error) bool { return errors.Is(err, ErrUnreachable) && !apierrors.IsNotFound(err) },
		},
		"409": {
			reason:  "the words name who owns the field",
			request: create, answer: status(409, metav1.StatusReasonAlreadyExists, `conflict with "kubectl": .spec.replicas`),
			want: `the cluster cannot create deployments.apps "syncer" in namespace "n": it conflicts with what is there (409 Conflict); the cluster says: conflict with "kubectl": .spec.replicas`,
			is:   apierrors.IsAlreadyExists,
		},
		"422": {
			request: create, answer: status(422, metav1.StatusReasonInvalid, "spec.replicas: too many"),
			want: `the cluster rejects the request to create deployments.apps "syncer" in namespace "n" (422 Unprocessable Entity); the cluster says: spec.replicas: too many`,
			is:   apierrors.IsInvalid,
		},
		"400": {
			reason:  "how webhooks refuse",
			request: create, answer: status(400, metav1.StatusReasonBadRequest, "no"),
			want: `the cluster rejects the request to create deployments.apps "syncer" in namespace "n" (400 Bad Request); the cluster says: no`,
			is:   apierrors.IsBadRequest,
		},
		"429": {
			request: read, answer: status(429, metav1.StatusReasonTooManyRequests, canary, madeUp),
			want: `the cluster is too busy to get namespaces "n" (429 Too Many Requests)`,
			is:   apierrors.IsTooManyRequests,
		},
		"500": {
			reason:  "a webhook whose server is gone is named",
			request: create, answer: status(500, metav1.StatusReasonInternalError, `failed calling webhook "policy.example.com": no endpoints available`),
			want: `the cluster failed to create deployments.apps "syncer" in namespace "n" (500 Internal Server Error); the cluster says: failed calling webhook "policy.example.com": no endpoints available`,
			is:   apierrors.IsInternalError,
		},
		"500 of the write of a Secret": {
			reason:  "a webhook's words may repeat what is in it",
			request: request{verb: "patch", resource: schema.GroupResource{Resource: "secrets"}, namespace: "n", name: "kcp"},
			answer:  status(500, metav1.StatusReasonInternalError, "denied: content"),
			want:    `the cluster failed to patch secrets "kcp" in namespace "n" (500 Internal Server Error)`,
			is:      apierrors.IsInternalError,
		},
		"500, made up": {
			reason:  "a web server's page is not repeated",
			request: create, answer: status(500, metav1.StatusReasonInternalError, "page", madeUp),
			want: `the server at "edge:6443" does not answer like a Kubernetes API server`,
			is:   func(err error) bool { return errors.Is(err, ErrUnreachable) },
		},
		"503": {
			request: create, answer: status(503, metav1.StatusReasonServiceUnavailable, "storage is (re)initializing"),
			want: `the API server at "edge:6443" is not available (503 Service Unavailable); the cluster says: storage is (re)initializing`,
			is:   func(err error) bool { return errors.Is(err, ErrUnreachable) },
		},
		"503, made up": {
			reason:  "a load balancer without a backend",
			request: create, answer: status(503, metav1.StatusReasonServiceUnavailable, "page", madeUp),
			want: `the API server at "edge:6443" is not available (503 Service Unavailable)`,
			is:   func(err error) bool { return errors.Is(err, ErrUnreachable) },
		},
		"unknown reason": {
			reason:  "a reason is free text, too",
			request: read, answer: status(418, metav1.StatusReason(canary), ""),
			want: `the cluster failed to get namespaces "n" (418 I'm a teapot)`,
			is:   func(err error) bool { return apierrors.ReasonForError(err) == metav1.StatusReasonUnknown },
		},
		"no code": {
			request: read, answer: status(0, "", ""),
			want: `the cluster failed to get namespaces "n" (0)`,
			is:   func(err error) bool { return !errors.Is(err, ErrUnreachable) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			var err error = test.request.answered(test.answer, &answerFilter{host: "edge:6443"}, []string{canary})
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("%s: -want +got:\n%s", test.reason, diff)
			}
			if !test.is(err) || errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v is of another kind", test.reason, err)
			}
			var answer apierrors.APIStatus
			if errors.As(err, &answer) && strings.Contains(fmt.Sprintf("%+v", answer.Status()), canary) {
				t.Errorf("%s: the server's words are in the status: %+v", test.reason, answer.Status())
			}
		})
	}
}

func TestWords(t *testing.T) {
	for name, test := range map[string]struct{ said, want string }{
		"plain":          {`exceeded quota: "q", used: 3`, `exceeded quota: "q", used: 3`},
		"lines":          {" a\n\tb\r\n c ", "a b c"},
		"control":        {"a\x1b[31mb\x00c", "a [31mb c"},
		"bidi":           {"a\u202eb", "a b"},
		"not UTF-8":      {"a\xff\xfeb", "a b"},
		"long":           {strings.Repeat("é", 300), strings.Repeat("é", 255) + "…"},
		"secret":         {"token " + canary + " and " + canary, "token [redacted] and [redacted]"},
		"secret, cut":    {strings.Repeat("x", 250) + canary, strings.Repeat("x", 250) + "[reda…"},
		"secret, broken": {"c4n4ry\n-s3cret", "c4n4ry -s3cret"},
		"source port": {
			"dial tcp: lookup hook on 10.96.0.10:53: read udp 10.244.0.5:41234->10.96.0.10:53: i/o timeout",
			"dial tcp: lookup hook on 10.96.0.10:53: read udp 10.96.0.10:53: i/o timeout",
		},
		"nothing":      {"", ""},
		"only control": {"\x00\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, words(test.said, []string{canary})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	resource := schema.GroupResource{Group: "apps", Resource: "deployments"}
	for name, test := range map[string]struct {
		reason string
		err    error
		want   string
	}{
		"none":      {err: nil, want: ""},
		"ours":      {err: invalid("a sentence"), want: "a sentence"},
		"wrapped":   {reason: "the sentence alone is for the user", err: fmt.Errorf("applying: %w", unreachable("a sentence")), want: "a sentence"},
		"of a fake": {reason: "as in tests of callers", err: apierrors.NewForbidden(resource, "d", errors.New(canary)), want: `the kubeconfig's user may not access deployments.apps "d" (403 Forbidden)`},
		"bare":      {err: &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusUnauthorized}}, want: "the cluster does not accept the credentials in the kubeconfig (401 Unauthorized)"},
		"no time":   {err: fmt.Errorf("x: %w", context.DeadlineExceeded), want: "the cluster answers too slowly for all that has to be done in 10 s; it is tried again"},
		"unknown":   {reason: "it may carry anything", err: errors.New(canary), want: "the call to the cluster failed"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Describe(test.err)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", test.reason, diff)
			}
		})
	}
}
