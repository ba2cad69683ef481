package rejection

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Report is the annotation on the user's object that tells how its copy fares.
type Report struct {
	// Generation of the object that was applied; absent where objects have none.
	Generation int64 `json:"generation,omitempty"`
	// Time of the last apply, by the syncer's clock, RFC 3339.
	Time string `json:"time,omitempty"`
	// Ready is the copy's status by kstatus: Current, InProgress, Failed, Terminating, Unknown.
	Ready string `json:"ready,omitempty"`
	// Message says what the copy waits for, or why it fails, where its status does not.
	Message string `json:"message,omitempty"`
	// Refused is why the physical cluster does not take the object, in its words.
	Refused string `json:"refused,omitempty"`
	// Conflict names who owns which fields of the copy that the object sets otherwise.
	Conflict string `json:"conflict,omitempty"`
}

// maxMessage bounds what a server says, in bytes: annotations of an object have 256 KiB together.
const maxMessage = 1024

// ParseReport reads an annotation; nothing of one that a user has spoilt.
func ParseReport(text string) Report {
	var r Report
	_ = json.Unmarshal([]byte(text), &r)
	return r
}

func (r Report) String() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and a number always marshal
	}
	return string(text)
}

// Rejected tells whether the object, and not the way to it, is at fault: the answer will be the same until it changes.
func (r Report) Rejected() bool { return r.Refused != "" || r.Conflict != "" }

// WithoutOutcome is a report on the same apply as this one, with nothing else said yet.
func (r Report) WithoutOutcome() Report { return Report{Time: r.Time, Generation: r.Generation} }

// WithReadiness says what a copy shows of itself. What it waits for is in its status, which comes along if there is one: words about
// that would change with every step of a rollout.
func (r Report) WithReadiness(dst *unstructured.Unstructured, hasStatus bool) Report {
	r.Generation, _ = strconv.ParseInt(dst.GetAnnotations()[workloadv1alpha1.AnnotationSourceGeneration], 10, 64)
	result, err := status.Compute(dst)
	if err != nil {
		r.Ready, r.Message = string(status.UnknownStatus), Clip(err.Error())
		return r
	}
	r.Ready = string(result.Status)
	switch {
	case result.Status == status.CurrentStatus, result.Status == status.InProgressStatus && hasStatus:
	default:
		r.Message = Clip(result.Message)
	}
	return r
}

// WithFinishedJob says how a Job has ended of which there is no copy any more.
func (r Report) WithFinishedJob(src *unstructured.Unstructured) Report {
	past := r.WithReadiness(src, true)
	past.Generation = r.Generation
	past.Message = Clip("it has run, and there is no copy of it any more; a Job runs once: to run it again, delete it and create it anew. " + past.Message)
	return past
}

// Class is what an answer to a write is worth.
type Class int

const (
	// Transient is for what says nothing about the object, and for no answer at all.
	Transient Class = iota
	// Persistent is for what another attempt may change, and is told when it has not.
	Persistent
	// Terminal is for what will be the same until the object or its copy changes.
	Terminal
)

// Classify turns what a server has answered to a write into what is to be told.
func Classify(err error) (Report, Class) {
	var answer apierrors.APIStatus
	switch {
	case !errors.As(err, &answer):
		return Report{}, Transient
	case apierrors.IsConflict(err) && isFieldManagerConflict(err):
		return Report{Conflict: Clip(err.Error()) + ". To take the fields over, annotate the object with " + workloadv1alpha1.AnnotationTakeOver + "=true"}, Terminal
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err),
		apierrors.IsMethodNotSupported(err), apierrors.IsNotAcceptable(err), apierrors.IsUnsupportedMediaType(err):
		return Report{Refused: Clip(err.Error())}, Terminal
	case apierrors.IsConflict(err), apierrors.IsUnauthorized(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err),
		apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), answer.Status().Code == http.StatusBadGateway, answer.Status().Code == http.StatusGatewayTimeout:
		return Report{}, Transient
	}
	return Report{Refused: Clip(err.Error())}, Persistent
}

// isFieldManagerConflict tells a conflict of field owners from a lost race.
func isFieldManagerConflict(err error) bool {
	_, found := apierrors.StatusCause(err, "FieldManagerConflict")
	return found
}

// IsScaleConflict tells a conflict that is about nothing but replicas that somebody has set by scaling, as an autoscaler does.
// They are the autoscaler's; most workloads name a number that is a default only.
func IsScaleConflict(err error) bool {
	var answer apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &answer) || answer.Status().Details == nil {
		return false
	}
	causes := answer.Status().Details.Causes
	return len(causes) > 0 && !slices.ContainsFunc(causes, func(c metav1.StatusCause) bool {
		return c.Type != metav1.CauseTypeFieldManagerConflict || c.Field != ".spec.replicas" || !strings.Contains(c.Message, `with subresource "scale"`)
	})
}

// ScaledElsewhere says that a copy has other replicas than its object; empty if it has not.
func ScaledElsewhere(dst, desired *unstructured.Unstructured) string {
	want, told, _ := unstructured.NestedInt64(desired.Object, "spec", "replicas")
	have, found, _ := unstructured.NestedInt64(dst.Object, "spec", "replicas")
	if !told || !found || have == want {
		return ""
	}
	return fmt.Sprintf("spec.replicas is %d in the physical cluster, where it was scaled, and stays so. To set it here, annotate the object with %s=true",
		have, workloadv1alpha1.AnnotationTakeOver)
}

const (
	// RetryAfter is when an object that was refused is tried again without a change: somebody may have mended the cluster.
	RetryAfter = 5 * time.Minute
	// ReportAfter is how many attempts fail before what lasts is told.
	ReportAfter = 3
)

// StatusUp is the status of a copy in the words of its object: generations that were observed downstream are told as the
// generation that was applied, so that `kubectl rollout status` tells the truth upstream. It is nil where there is none.
func StatusUp(dst *unstructured.Unstructured) any {
	original, found, _ := unstructured.NestedMap(dst.Object, "status")
	if !found {
		return nil
	}
	applied, err := strconv.ParseInt(dst.GetAnnotations()[workloadv1alpha1.AnnotationSourceGeneration], 10, 64)
	if err != nil {
		return original
	}
	translate := func(in map[string]any) {
		observed, ok := in["observedGeneration"].(int64)
		switch {
		case !ok:
		case observed >= dst.GetGeneration():
			in["observedGeneration"] = applied
		default:
			in["observedGeneration"] = max(applied-1, 0)
		}
	}
	out := maps.Clone(original)
	translate(out)
	if conditions, ok := out["conditions"].([]any); ok {
		for _, condition := range conditions {
			if condition, ok := condition.(map[string]any); ok {
				translate(condition)
			}
		}
	}
	return out
}

// Clip keeps a server's words to one bounded line.
func Clip(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "") + "…"
}

// IsOverload tells the answer of a server that turns requests away unseen, and says so in a line of text, from one that was
// given to this object.
func IsOverload(err error) bool {
	return apierrors.IsTooManyRequests(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
