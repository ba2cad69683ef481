package conditions

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSetProgress: what stalls comes before what is under way, wherever it stands; nothing is left over from before.
func TestSetProgress(t *testing.T) {
	earlier, now := metav1.NewTime(time.Unix(1000, 0)), metav1.NewTime(time.Unix(2000, 0))
	condition := func(conditionType string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: reason + "!", ObservedGeneration: 2, LastTransitionTime: earlier}
	}
	stalls := func(c metav1.Condition) bool { return c.Reason == "Broken" }
	progress := func(conditionType, reason string, since metav1.Time) []metav1.Condition {
		c := condition(conditionType, metav1.ConditionTrue, reason)
		c.LastTransitionTime = since
		return []metav1.Condition{c}
	}
	outdated := condition("B", metav1.ConditionTrue, "Done")
	outdated.ObservedGeneration = 1
	undecided := progress("Reconciling", "Done", now)
	undecided[0].Message = "The condition B has yet to be decided for the present spec"
	stalledBefore := condition("Stalled", metav1.ConditionTrue, "Broken")
	for name, tc := range map[string]struct {
		conditions, want []metav1.Condition
	}{
		"nothing known": {nil, nil},
		"all True": {[]metav1.Condition{
			condition("A", metav1.ConditionTrue, "Done"), condition("B", metav1.ConditionTrue, "Broken"), stalledBefore,
		}, nil},
		"under way": {[]metav1.Condition{
			condition("B", metav1.ConditionUnknown, "Waits"), condition("A", metav1.ConditionFalse, "Works"), stalledBefore,
		}, progress("Reconciling", "Works", now)},
		"broken": {[]metav1.Condition{
			condition("A", metav1.ConditionFalse, "Works"), condition("B", metav1.ConditionFalse, "Broken"),
			condition("Reconciling", metav1.ConditionTrue, "Works"),
		}, progress("Stalled", "Broken", now)},
		"still broken": {[]metav1.Condition{condition("A", metav1.ConditionUnknown, "Broken"), stalledBefore},
			progress("Stalled", "Broken", earlier)},
		"of an earlier spec":                {[]metav1.Condition{condition("A", metav1.ConditionTrue, "Done"), outdated}, undecided},
		"of an earlier spec, one is broken": {[]metav1.Condition{outdated, condition("A", metav1.ConditionFalse, "Broken")}, progress("Stalled", "Broken", now)},
		"another condition":                 {[]metav1.Condition{condition("A", metav1.ConditionTrue, "Done"), condition("C", metav1.ConditionFalse, "Broken")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			conditions := tc.conditions
			SetProgress(&conditions, 2, now, []string{"A", "B"}, stalls)
			var got []metav1.Condition
			for _, c := range conditions {
				if IsProgress(c.Type) {
					got = append(got, c)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
