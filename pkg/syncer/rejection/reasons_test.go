package rejection

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	deployments = schema.GroupResource{Group: "apps", Resource: "deployments"}
	pods        = schema.GroupResource{Resource: "pods"}
)

// TestReasons: what refuses the object comes first, for answers as Kubernetes 1.34 gives them.
func TestReasons(t *testing.T) {
	forbidden := func(gr schema.GroupResource, message string) *apierrors.StatusError {
		return apierrors.NewForbidden(gr, "web", errors.New(message))
	}
	status := func(code int32, message string) *apierrors.StatusError {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Message: message}}
	}
	invalid := func(kind string, errs ...*field.Error) *apierrors.StatusError {
		return apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: kind}, "web", errs)
	}
	terminating := forbidden(deployments, "unable to create new content in namespace kcp-1 because it is being terminated")
	terminatingWithCause := forbidden(deployments, "unable to create new content in namespace kcp-1 because it is being terminated")
	terminatingWithCause.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause, Message: "namespace kcp-1 is being terminated", Field: "metadata.namespace"}}
	policy := func(message string) *apierrors.StatusError {
		err := forbidden(deployments, message)
		err.ErrStatus.Reason, err.ErrStatus.Code = metav1.StatusReasonInvalid, http.StatusUnprocessableEntity
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Message: message}}
		return err
	}
	const user = "system:serviceaccount:kcp-syncer-2gpz4kfj8x9qh1b7:syncer-2gpz4kfj8x9qh1b7-7c9d8f"

	tests := map[string]struct {
		about  string
		err    *apierrors.StatusError
		reason Reason
		want   string
	}{
		"namespace terminating": {"The plugin NamespaceLifecycle.", terminatingWithCause, ReasonNamespaceTerminating, "Namespace is terminating: unable to create new content in namespace kcp-1 because it is being terminated"},
		"terminating, no cause": {"As a webhook or an older server says it.", terminating, ReasonNamespaceTerminating, "Namespace is terminating: unable to create new content in namespace kcp-1 because it is being terminated"},
		"namespace missing":     {"", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "kcp-1"), ReasonNamespaceMissing, `Namespace is missing: namespaces "kcp-1" not found`},
		"webhook": {"", status(403, `admission webhook "cost.example.com" denied the request: images must come from registry.example.com`), ReasonWebhook,
			`refused by admission webhook "cost.example.com": images must come from registry.example.com`},
		"webhook, lines": {"Kyverno answers in several lines.", status(400, "admission webhook \"validate.kyverno.svc-fail\" denied the request: \n\nresource Deployment/shop/web was blocked due to the following policies \n\nrequire-labels:\n  check: 'validation error'\n"), ReasonWebhook,
			`refused by admission webhook "validate.kyverno.svc-fail": resource Deployment/shop/web was blocked due to the following policies require-labels: check: 'validation error'`},
		"webhook, silent":   {"", status(400, `admission webhook "a.example.com" denied the request without explanation`), ReasonWebhook, `refused by admission webhook "a.example.com" without explanation`},
		"webhook, no dry":   {"", apierrors.NewBadRequest(`admission webhook "a.example.com" does not support dry run`), ReasonWebhook, `admission webhook "a.example.com" does not support dry run`},
		"webhook, unheard":  {"It is in the server's words, which name the webhook first.", apierrors.NewInternalError(errors.New(`failed calling webhook "cost.example.com": failed to call webhook: Post "https://cost.cost.svc:443/validate?timeout=10s": dial tcp 10.96.7.1:443: connect: connection refused`)), ReasonWebhook, `failed calling webhook "cost.example.com": failed to call webhook: Post "https://cost.cost.svc:443/validate?timeout=10s": dial tcp 10.96.7.1:443: connect: connection refused`},
		"webhook, of quota": {"A webhook may quote another answer.", status(403, `admission webhook "a.example.com" denied the request: exceeded quota: team, requested: pods=1, used: pods=1, limited: pods=1`), ReasonWebhook, `refused by admission webhook "a.example.com": exceeded quota: team, requested: pods=1, used: pods=1, limited: pods=1`},
		"policy": {"", policy("ValidatingAdmissionPolicy 'demo-policy.example.com' with binding 'demo-binding' denied request: replicas must be 5 at most"), ReasonPolicy,
			"refused by ValidatingAdmissionPolicy 'demo-policy.example.com' with binding 'demo-binding': replicas must be 5 at most"},
		"policy, no binding": {"", policy("ValidatingAdmissionPolicy 'p' denied request: failed expression: object.spec.replicas <= 5"), ReasonPolicy, "refused by ValidatingAdmissionPolicy 'p': failed expression: object.spec.replicas <= 5"},
		"mutating policy":    {"", policy("policy 'p' with binding 'b' denied request: no params found"), ReasonPolicy, "refused by policy 'p' with binding 'b': no params found"},
		"PodSecurity": {"", forbidden(pods, `violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "web" must set securityContext.allowPrivilegeEscalation=false)`), ReasonPodSecurity,
			`refused by PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "web" must set securityContext.allowPrivilegeEscalation=false)`},
		"quota":              {"", forbidden(pods, "exceeded quota: team, requested: pods=1, used: pods=10, limited: pods=10"), ReasonQuota, `refused by quota "team": requested: pods=1, used: pods=10, limited: pods=10`},
		"quota, unset":       {"", forbidden(pods, "failed quota: team: must specify limits.cpu for: web; limits.memory for: web"), ReasonQuota, `refused by quota "team": must specify limits.cpu for: web; limits.memory for: web`},
		"quota, no covering": {"", forbidden(pods, "insufficient quota to consume: pods"), ReasonQuota, "refused by quota: insufficient quota to consume: pods"},
		"quota, new":         {"", forbidden(pods, "status unknown for quota: team, resources: pods"), ReasonQuota, "refused by quota: status unknown for quota: team, resources: pods"},
		"LimitRange":         {"", forbidden(pods, "maximum cpu usage per Container is 1, but limit is 2"), ReasonLimitRange, "refused by LimitRange: maximum cpu usage per Container is 1, but limit is 2"},
		"LimitRange, two":    {"", forbidden(pods, "[maximum cpu usage per Container is 1, but limit is 2, minimum memory usage per Pod is 1Gi.  No request is specified]"), ReasonLimitRange, "refused by LimitRange: maximum cpu usage per Container is 1, but limit is 2, minimum memory usage per Pod is 1Gi. No request is specified"},
		"LimitRange, ratio":  {"", forbidden(pods, "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000"), ReasonLimitRange, "refused by LimitRange: cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000"},
		"RBAC": {"The name of the syncer's ServiceAccount means nothing to the user.", forbidden(deployments, `User "`+user+`" cannot patch resource "deployments" in API group "apps" in the namespace "kcp-1"`), ReasonForbidden,
			`the syncer lacks a right: it cannot patch resource "deployments" in API group "apps" in the namespace "kcp-1"`},
		"forbidden":          {"Another admission plugin.", forbidden(deployments, "no such right"), ReasonForbidden, "forbidden: no such right"},
		"forbidden, no name": {"", apierrors.NewForbidden(deployments, "", errors.New("no such right")), ReasonForbidden, "forbidden: no such right"},

		"request too large":   {"", apierrors.NewRequestEntityTooLargeError("limit is 3145728"), ReasonTooLarge, "too large: limit is 3145728"},
		"proxy":               {"A proxy before the API server has its own limit.", apierrors.NewGenericServerResponse(413, "PATCH", deployments, "web", "<html>", 0, true), ReasonTooLarge, "too large: the server responded with the status code 413 but did not return more information (patch deployments.apps web)"},
		"etcd":                {"", status(500, "etcdserver: request is too large"), ReasonTooLarge, "too large: etcdserver: request is too large"},
		"gRPC":                {"The client of etcd has a limit too.", status(500, "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2097200 vs. 2097152)"), ReasonTooLarge, "too large: rpc error: code = ResourceExhausted desc = trying to send message larger than max (2097200 vs. 2097152)"},
		"ConfigMap":           {"The path of the whole object is an empty name.", invalid("ConfigMap", field.TooLong(field.NewPath(""), "", 1048576)), ReasonTooLarge, "too large: Too long: may not be more than 1048576 bytes"},
		"ConfigMap, before":   {"An older server.", status(422, `ConfigMap "web" is invalid: []: Too long: must have at most 1048576 bytes`), ReasonTooLarge, "too large: []: Too long: must have at most 1048576 bytes"},
		"annotations":         {"", invalid("ConfigMap", field.TooLong(field.NewPath("metadata", "annotations"), "", 262144)), ReasonTooLarge, "too large: metadata.annotations: Too long: may not be more than 262144 bytes"},
		"too long, and wrong": {"It is not only too large.", invalid("Secret", field.TooLong(field.NewPath("data"), "", 1048576), field.Required(field.NewPath("data").Key("a"), "")), ReasonInvalid, "invalid: data: Too long: may not be more than 1048576 bytes; data[a]: Required value"},

		"invalid":          {"", invalid("Deployment", field.Invalid(field.NewPath("spec", "replicas"), int64(-1), "must be greater than or equal to 0")), ReasonInvalid, "invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"},
		"invalid, unsaid":  {"There is nothing but the object's name.", invalid("Deployment"), ReasonInvalid, `invalid: Deployment.apps "web" is invalid`},
		"invalid by CEL":   {"", invalid("Widget", field.Invalid(field.NewPath("spec"), "object", "size must be 10 at most here")), ReasonInvalid, `invalid: spec: Invalid value: "object": size must be 10 at most here`},
		"apply, no schema": {"", status(500, "failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): .spec.new: field not declared in schema"), ReasonInvalid, "invalid: .spec.new: field not declared in schema"},
		"bad request":      {"", apierrors.NewBadRequest(`Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`), ReasonInvalid, `invalid: Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`},
		"other":            {"In the server's words.", apierrors.NewInternalError(errors.New("resource quota evaluation timed out")), ReasonOther, "Internal error occurred: resource quota evaluation timed out"},
		"other, not found": {"", apierrors.NewNotFound(deployments, "web"), ReasonOther, `deployments.apps "web" not found`},
		"nothing":          {"An aggregated API server may say nothing.", status(501, ""), ReasonOther, "the server answers with status code 501 and no message"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, _ := Classify(tc.err)
			if reason := ReasonOf(tc.err); got.Refused != tc.want || reason != tc.reason {
				t.Errorf("%s\nClassify() = %s: %s\nwant           %s: %s", tc.about, reason, got.Refused, tc.reason, tc.want)
			}
			if strings.Contains(got.Refused, user) {
				t.Errorf("the name of the user is in %q", got.Refused)
			}
		})
	}
	if got := ReasonOf(errors.New("connection refused")); got != ReasonOther {
		t.Errorf("ReasonOf() = %s without an answer", got)
	}
	for _, gateway := range []int{http.StatusBadGateway, http.StatusGatewayTimeout} {
		if got, class := Classify(status(int32(gateway), "x")); class != Transient || !got.IsZero() {
			t.Errorf("Classify() = %s, %d of a gateway's answer", got, class)
		}
	}
}
