package rejection

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestClassify(t *testing.T) {
	widgets := schema.GroupResource{Group: "example.com", Resource: "widgets"}
	ownership := apierrors.NewApplyConflict([]metav1.StatusCause{{Type: "FieldManagerConflict", Message: `conflict with "hpa"`, Field: ".spec.replicas"}}, `conflict with "hpa": .spec.replicas`)
	tests := map[string]struct {
		reason            string
		err               error
		refused, conflict string
		kind              Class
	}{
		"invalid":     {"It stays invalid until it changes.", apierrors.NewInvalid(schema.GroupKind{Kind: "Widget"}, "a", nil), "is invalid", "", Terminal},
		"ownership":   {"By field and manager, with the next step.", ownership, "", `spec.replicas is owned by "hpa"; this field is left`, Terminal},
		"forbidden":   {"An admission plugin says no, for now.", apierrors.NewForbidden(widgets, "a", errors.New("quota")), "quota", "", Persistent},
		"webhook":     {"One that does not answer.", apierrors.NewInternalError(errors.New("failed calling webhook")), "failed calling webhook", "", Persistent},
		"no schema":   {"A server-side apply of a field that is not in the schema is answered like this.", &apierrors.StatusError{ErrStatus: metav1.Status{Code: 500, Message: ".spec.new: field not declared in schema"}}, "not declared", "", Persistent},
		"no place":    {"The counterpart is gone, and is made anew.", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "kcp-1"), "kcp-1", "", Persistent},
		"lost race":   {"A conflict of versions passes.", apierrors.NewConflict(widgets, "a", errors.New("changed")), "", "", Transient},
		"outage":      {"So does no answer.", errors.New("connection refused"), "", "", Transient},
		"busy":        {"", apierrors.NewTooManyRequests("later", 1), "", "", Transient},
		"credentials": {"They are the SyncTarget's, not the object's.", apierrors.NewUnauthorized("no"), "", "", Transient},
		"gateway":     {"", apierrors.NewGenericServerResponse(http.StatusBadGateway, "PATCH", widgets, "a", "", 0, true), "", "", Transient},
		"too large":   {"The limit stays.", apierrors.NewRequestEntityTooLargeError("limit is 3145728"), "limit is 3145728", "", Terminal},
		"etcd":        {"It has the limit, and its error has the code 500.", &apierrors.StatusError{ErrStatus: metav1.Status{Code: 500, Message: "etcdserver: request is too large"}}, "too large", "", Terminal},
		"policy":      {"It answers as the validation does.", &apierrors.StatusError{ErrStatus: metav1.Status{Code: 422, Reason: metav1.StatusReasonInvalid, Message: `widgets.example.com "a" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no`}}, "by ValidatingAdmissionPolicy", "", Terminal},
		"none":        {"", nil, "", "", Transient},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, kind := Classify(tc.err)
			if kind != tc.kind || !strings.Contains(got.Refused, tc.refused) || !strings.Contains(got.Conflict, tc.conflict) || (got.Refused != "") != (tc.refused != "") || (got.Conflict != "") != (tc.conflict != "") {
				t.Errorf("%s\nClassify(%v) = %+v, %d", tc.reason, tc.err, got, kind)
			}
		})
	}
}

// TestClassifyOccasion: what the syncer was doing is said behind the reason, unless it is the apply, which the user
// expects.
func TestClassifyOccasion(t *testing.T) {
	answer := apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "deployments"}, "web", errors.New("it is protected"))
	tests := map[string]struct {
		reason string
		err    error
		want   string
	}{
		"bare":     {"", answer, "forbidden: it is protected"},
		"apply":    {"It is what the user asks for.", fmt.Errorf("writing %s in the physical cluster: %w", `Deployment "shop/web"`, answer), "forbidden: it is protected"},
		"deletion": {"Who deletes an object must know that its copy may not be deleted.", fmt.Errorf("deleting %s in the physical cluster: %w", `Deployment "shop/web"`, answer), `forbidden: it is protected (deleting Deployment "shop/web" in the physical cluster)`},
		"joined":   {"Errors that stand beside the answer are not its occasion.", errors.Join(errors.New("another"), answer), "forbidden: it is protected"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got, _ := Classify(tc.err); got.Refused != tc.want {
				t.Errorf("%s\nClassify() = %q, want %q", tc.reason, got.Refused, tc.want)
			}
		})
	}
}
