package rejection

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// applyConflict is what Kubernetes 1.34 answers to an apply in whose way are these fields, each with a message.
func applyConflict(fieldsAndMessages ...string) error {
	var causes []metav1.StatusCause
	for i := 0; i < len(fieldsAndMessages); i += 2 {
		causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Field: fieldsAndMessages[i], Message: fieldsAndMessages[i+1]})
	}
	return apierrors.NewApplyConflict(causes, fmt.Sprintf("Apply failed with %d conflicts: ...", len(causes)))
}

func TestFieldConflicts(t *testing.T) {
	const restartedAt = ".spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt"
	const image = `.spec.template.spec.containers[name="web"].image`
	tests := map[string]struct {
		reason string
		err    error
		want   []FieldConflict
	}{
		"update":      {"", applyConflict(restartedAt, `conflict with "kubectl-rollout" using apps/v1`), []FieldConflict{{"kubectl-rollout", restartedAt, `conflict with "kubectl-rollout" using apps/v1`}}},
		"apply":       {"An applier has no version.", applyConflict(image, `conflict with "argocd"`), []FieldConflict{{"argocd", image, `conflict with "argocd"`}}},
		"subresource": {"", applyConflict(".spec.replicas", `conflict with "x" with subresource "scale" using autoscaling/v1`), []FieldConflict{{"x", ".spec.replicas", `conflict with "x" with subresource "scale" using autoscaling/v1`}}},
		"quotes":      {"A manager may have any name.", applyConflict(".a", `conflict with "a \"b\"" using v1`), []FieldConflict{{`a "b"`, ".a", `conflict with "a \"b\"" using v1`}}},
		"unknown":     {"Another server may say it in another way.", applyConflict(".a", "somebody has it"), []FieldConflict{{"", ".a", "somebody has it"}}},
		"wrapped":     {"", fmt.Errorf("applying: %w", applyConflict(".a", `conflict with "b"`)), []FieldConflict{{"b", ".a", `conflict with "b"`}}},
		"lost race":   {"It is about no field.", apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("changed")), nil},
		"invalid":     {"Its causes are of another type.", apierrors.NewInvalid(schema.GroupKind{}, "a", field.ErrorList{field.Required(field.NewPath("spec"), "")}), nil},
		"no answer":   {"", errors.New("connection refused"), nil},
		"none":        {"", nil, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, FieldConflicts(tc.err)); diff != "" {
				t.Errorf("%s\nFieldConflicts(): -want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestConflictMessage(t *testing.T) {
	replicas := FieldConflict{Manager: "kube-controller-manager", Field: ".spec.replicas"}
	restartedAt := FieldConflict{Manager: "kubectl-rollout", Field: ".spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt"}
	image := FieldConflict{Manager: "kubectl-rollout", Field: `.spec.template.spec.containers[name="web"].image`}
	var many []FieldConflict
	for i := range 13 {
		many = append(many, FieldConflict{Manager: "many", Field: fmt.Sprintf(".data.k%02d", i)})
	}
	const left = "; these fields are left as they are in the physical cluster. To set them from here, annotate the "
	const end = " with workload.kcp.io/take-over=true"
	tests := map[string]struct {
		reason    string
		conflicts []FieldConflict
		kind      string
		want      string
	}{
		"none": {"", nil, "", ""},
		"one":  {"", []FieldConflict{replicas}, "Deployment", `spec.replicas is owned by "kube-controller-manager"; this field is left as it is in the physical cluster. To set it from here, annotate the Deployment` + end},
		"two managers": {"Sorted, so that the report does not change with the server's order.", []FieldConflict{restartedAt, replicas}, "",
			`spec.replicas is owned by "kube-controller-manager", spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt by "kubectl-rollout"` + left + "object" + end},
		"two fields": {"The manager is named once.", []FieldConflict{image, restartedAt}, "Deployment",
			`spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt and spec.template.spec.containers[name="web"].image are owned by "kubectl-rollout"` + left + "Deployment" + end},
		"twice":      {"A manager that has written through two subresources.", []FieldConflict{{"a", ".b", "x"}, {"a", ".b", "y"}}, "", `b is owned by "a"; this field is left as it is in the physical cluster. To set it from here, annotate the object` + end},
		"no manager": {"", []FieldConflict{{"", ".b", ""}, {"", ".c", ""}}, "", "b and c are owned by another manager" + left + "object" + end},
		"many": {"No more than ten are named.", many, "ConfigMap",
			`data.k00, data.k01, data.k02, data.k03, data.k04, data.k05, data.k06, data.k07, data.k08 and data.k09 are owned by "many", and 3 more` + left + "ConfigMap" + end},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			before := append([]FieldConflict(nil), tc.conflicts...)
			if diff := cmp.Diff(tc.want, ConflictMessage(tc.conflicts, tc.kind)); diff != "" {
				t.Errorf("%s\nConflictMessage(): -want +got\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(before, tc.conflicts); diff != "" {
				t.Errorf("the argument was changed:\n%s", diff)
			}
		})
	}
	for i := range many {
		many[i].Field += strings.Repeat("x", 5000)
	}
	if got := ConflictMessage(many, ""); len(got) > maxMessage || !strings.HasPrefix(got, "data.k00x") || !strings.HasSuffix(got, `xx are owned by "many", and 3 more`+left+"object"+end) {
		t.Errorf("ConflictMessage() of long names = %d bytes: %s", len(got), got)
	}
}
