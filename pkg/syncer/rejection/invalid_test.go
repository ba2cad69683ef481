package rejection

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podTemplate is what a server repeats of a Job whose template was changed.
var podTemplate = map[string]any{
	"metadata": map[string]any{"labels": map[string]any{"job-name": "once"}, "annotations": map[string]any{"note": `a "quoted": value, and {brackets`}},
	"spec":     map[string]any{"containers": []any{map[string]any{"name": "run", "image": "busybox", "command": []any{strings.Repeat("x", 1500)}}}},
}

// TestInvalid: what is wrong with the fields of an object is said without the values that nobody can read.
func TestInvalid(t *testing.T) {
	path := field.NewPath("spec", "template")
	var many field.ErrorList
	for i := range 8 {
		many = append(many, field.Required(field.NewPath("spec").Index(i), ""))
	}
	tests := map[string]struct {
		reason string
		errs   field.ErrorList
		want   string
	}{
		"immutable":   {"The template of a Job.", field.ErrorList{field.Invalid(path, podTemplate, "field is immutable")}, "spec.template: field is immutable"},
		"short value": {"It helps to find the error.", field.ErrorList{field.Invalid(field.NewPath("spec", "selector"), map[string]any{"matchLabels": map[string]any{"app": "web"}}, "field is immutable")}, `spec.selector: Invalid value: {"matchLabels":{"app":"web"}}: field is immutable`},
		"several": {"", field.ErrorList{field.Invalid(path, podTemplate, "field is immutable"), field.Required(field.NewPath("spec", "selector"), "a selector is needed")},
			"spec.template: field is immutable; spec.selector: Required value: a selector is needed"},
		"unsupported":  {"The kind of the problem is not the reason.", field.ErrorList{field.NotSupported(path, strings.Repeat("x", 100), []string{"A", "B"})}, `spec.template: Unsupported value: supported values: "A", "B"`},
		"duplicate":    {"Nothing stands behind the value.", field.ErrorList{field.Duplicate(path, podTemplate)}, "spec.template: Duplicate value"},
		"no detail":    {"", field.ErrorList{field.Invalid(path, podTemplate, "")}, "spec.template: Invalid value"},
		"string":       {"A value is not taken for a detail.", field.ErrorList{field.Invalid(path, strings.Repeat(`a: "b", `, 30), "must not be long")}, "spec.template: must not be long"},
		"forbidden":    {"", field.ErrorList{field.Forbidden(field.NewPath("spec"), "updates to statefulset spec for fields other than 'replicas', 'ordinals' are forbidden")}, "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals' are forbidden"},
		"many":         {"Five are named.", many, "spec[0]: Required value; spec[1]: Required value; spec[2]: Required value; spec[3]: Required value; spec[4]: Required value; and 3 more"},
		"twice":        {"", field.ErrorList{field.Required(path, ""), field.Required(path, "")}, "spec.template: Required value"},
		"whole object": {"The path is empty, and says nothing.", field.ErrorList{field.Invalid(nil, "", "must have a size")}, `Invalid value: "": must have a size`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, "once", tc.errs)
			got, class := Classify(err)
			if got.Refused != "invalid: "+tc.want || class != Terminal || len(got.Refused) > maxMessage {
				t.Errorf("%s\nClassify() = %d bytes: %s\nwant invalid: %s", tc.reason, len(got.Refused), got.Refused, tc.want)
			}
			if strings.Contains(tc.want, "; ") {
				return // the message has brackets around several
			}
			err.ErrStatus.Details.Causes = nil
			if got, _ := Classify(err); name != "twice" && name != "whole object" && got.Refused != "invalid: "+tc.want {
				t.Errorf("from the message: %s\nwant invalid: %s", got.Refused, tc.want)
			}
		})
	}
}

// TestInvalidEndless: a field with an endless text leaves room for the others.
func TestInvalidEndless(t *testing.T) {
	endless := field.Forbidden(field.NewPath("spec"), strings.Repeat("y", 5000)+" the end")
	got, _ := Classify(apierrors.NewInvalid(schema.GroupKind{Kind: "Job"}, "once", field.ErrorList{endless, field.Required(field.NewPath("spec", "selector"), ""), field.Invalid(field.NewPath("spec", "template"), podTemplate, strings.Repeat("z", 5000))}))
	for _, want := range []string{"invalid: spec: Forbidden: y", "y the end; spec.selector: Required value; spec.template: z"} {
		if !strings.Contains(got.Refused, want) || len(got.Refused) > maxMessage {
			t.Errorf("%q is not in %d bytes: %s", want, len(got.Refused), got.Refused)
		}
	}
}

// TestInvalidBefore: older servers repeat values as Go prints them.
func TestInvalidBefore(t *testing.T) {
	value := `core.PodTemplateSpec{ObjectMeta:v1.ObjectMeta{Name:"", CreationTimestamp:time.Date(1, time.January, 1, 0, 0, 0, 0, time.UTC), DeletionGracePeriodSeconds:(*int64)(nil), Labels:map[string]string{"a: ":"}"}}}`
	err := &apierrors.StatusError{ErrStatus: metav1.Status{Code: 422, Reason: metav1.StatusReasonInvalid, Message: `Job.batch "once" is invalid: spec.template: Invalid value: ` + value + ": field is immutable"}}
	if got, _ := Classify(err); got.Refused != "invalid: spec.template: field is immutable" {
		t.Errorf("Classify() = %s", got.Refused)
	}
	err.ErrStatus.Message = fmt.Sprintf(`Job.batch "once" is invalid: [spec.template: Invalid value: %s: field is immutable, spec.a: Duplicate value: %s, spec.b: Invalid value: 1: too small, spec.c: Duplicate value: %s]`, value, value, value)
	if got, _ := Classify(err); got.Refused != "invalid: [spec.template: field is immutable, spec.a: Duplicate value, spec.b: Invalid value: 1: too small, spec.c: Duplicate value]" {
		t.Errorf("Classify() = %s", got.Refused)
	}
}

// TestTruncatedValue: a value that the server has cut off cannot be told from the rest; the text stays bounded and
// complete.
func TestTruncatedValue(t *testing.T) {
	value, err := json.Marshal(podTemplate)
	if err != nil {
		t.Fatal(err)
	}
	answer := &apierrors.StatusError{ErrStatus: metav1.Status{Code: 422, Reason: metav1.StatusReasonInvalid, Details: &metav1.StatusDetails{
		Causes: []metav1.StatusCause{{Type: metav1.CauseTypeFieldValueInvalid, Field: "spec.template", Message: "Invalid value: " + string(value[:300]) + "...: field is immutable"}}}}}
	if got, _ := Classify(answer); len(got.Refused) > maxMessage || !strings.HasPrefix(got.Refused, "invalid: spec.template: Invalid value: {") || !strings.HasSuffix(got.Refused, ": field is immutable") {
		t.Errorf("Classify() = %s", got.Refused)
	}
}
