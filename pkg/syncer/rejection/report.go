package rejection

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Report is the annotation on the user's object that describes its copy in the physical cluster.
type Report struct {
	// Generation of the object that was applied; absent if the kind has no generations.
	Generation int64 `json:"generation,omitempty"`
	// Time of the last apply, by the syncer's clock, RFC 3339.
	Time string `json:"time,omitempty"`
	// Ready is the copy's status by kstatus: Current, InProgress, Failed, Terminating, Unknown; or ReadyDiffers.
	Ready string `json:"ready,omitempty"`
	// Message says what the copy waits for, or why it fails, unless its status says so.
	Message string `json:"message,omitempty"`
	// Refused says what refuses the object in the physical cluster, and why.
	Refused string `json:"refused,omitempty"`
	// Conflict names the field managers in the physical cluster that own fields which the object sets to other values.
	Conflict string `json:"conflict,omitempty"`
	// Differs lists the fields that the object sets and the copy does not have. WithDiffers sets it.
	Differs []string `json:"differs,omitempty"`
	// Allocated holds what the physical cluster has allocated to the copy, by field.
	Allocated map[string]string `json:"allocated,omitempty"`
}

// ReadyDiffers is the value of Ready for a copy that is up and running but is not what the object says.
const ReadyDiffers = "Differs"

const (
	// maxDiffers bounds the entries of Report.Differs.
	maxDiffers = 20
	// maxDiffersText bounds the text of all entries of Report.Differs, in bytes.
	maxDiffersText = 2048
	// maxField bounds the text of one field, in bytes.
	maxField = 256
)

// ParseReport reads the annotation. A report that is not valid JSON, because a user has changed it, is empty.
func ParseReport(text string) Report {
	var r Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return Report{}
	}
	return r
}

// String returns the annotation.
func (r Report) String() string {
	r.Differs = boundFields(r.Differs)
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and a number always marshal
	}
	return string(text)
}

// Equal reports whether two reports are the same annotation.
func (r Report) Equal(o Report) bool { return r.String() == o.String() }

// IsZero reports whether nothing is reported.
func (r Report) IsZero() bool { return r.Equal(Report{}) }

// Rejected reports whether the physical cluster rejects the object itself, so that the answer stays the same until the
// object or the cluster changes.
func (r Report) Rejected() bool { return r.Refused != "" || r.Conflict != "" }

// Deviates reports whether the copy is not what the object says.
func (r Report) Deviates() bool { return r.Conflict != "" || len(r.Differs) > 0 }

// Settled returns the report as it is written. A copy that differs from its object is never reported as Current.
func (r Report) Settled() Report {
	if r.Deviates() && r.Ready == string(status.CurrentStatus) {
		r.Ready = ReadyDiffers
	}
	return r
}

// WithDiffers reports the fields that the object sets and the copy does not have, in a fixed order. If there are too
// many, the last entry says how many are left out.
func (r Report) WithDiffers(fields []string) Report {
	r.Differs = boundFields(slices.Compact(slices.Sorted(slices.Values(fields))))
	return r
}

// boundFields returns at most maxDiffers entries of at most maxDiffersText bytes. What it returns it does not shorten
// again.
func boundFields(fields []string) []string {
	const marker = len("and 1000000 more")
	var bounded []string
	size := 0
	for i, field := range fields {
		field = clip(field, maxField)
		size += len(field)
		isLast := i == len(fields)-1
		if !isLast && (i == maxDiffers-1 || size+marker > maxDiffersText) || size > maxDiffersText {
			return append(bounded, andMore(len(fields)-i))
		}
		bounded = append(bounded, field)
	}
	return bounded
}

// WithoutOutcome returns a report on the same apply that says nothing yet about its outcome.
func (r Report) WithoutOutcome() Report { return Report{Time: r.Time, Generation: r.Generation} }

// WithReadiness reports the readiness of a copy. If the status is copied to the object, it says itself what a copy in
// progress waits for, and the report does not repeat it: that text would change with every step of a rollout.
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

// WithFinishedJob reports how a Job has ended whose copy does not exist any more.
func (r Report) WithFinishedJob(src *unstructured.Unstructured) Report {
	past := r.WithReadiness(src, true)
	past.Generation = r.Generation
	past.Message = Clip("it has run, and there is no copy of it any more; a Job runs once: to run it again, delete it and create it anew. " + past.Message)
	return past
}
