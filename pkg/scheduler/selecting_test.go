package scheduler

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestSelecting(t *testing.T) {
	selecting := func(name string, priority int32, age time.Duration, labels map[string]string) workloadv1alpha1.Placement {
		return workloadv1alpha1.Placement{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1000, 0).Add(-age))},
			Spec:       workloadv1alpha1.PlacementSpec{Priority: priority, NamespaceSelector: metav1.LabelSelector{MatchLabels: labels}},
		}
	}
	deleted := selecting("deleted", 99, 0, nil)
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Unix(1000, 0)}
	invalid := selecting("invalid", 99, 0, nil)
	invalid.Spec.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Resembles"}}
	var got []string
	for _, p := range Selecting([]workloadv1alpha1.Placement{
		selecting("young", 0, time.Minute, nil), selecting("old", 0, time.Hour, nil), selecting("first", 7, 0, map[string]string{"app": "shop"}),
		selecting("other", 9, 0, map[string]string{"app": "cafe"}), deleted, invalid,
	}, map[string]string{"app": "shop"}) {
		got = append(got, p.Name)
	}
	if want := []string{"first", "old", "young"}; !slices.Equal(got, want) {
		t.Errorf("%q select it, want %q", got, want)
	}
}

func TestAnnotationMessage(t *testing.T) {
	for value, want := range map[string]string{`{"placement":"all","message":"0/2 clusters: 2 cordoned"}`: "0/2 clusters: 2 cordoned", "": "", "somebody's": ""} {
		if got := AnnotationMessage(value); got != want {
			t.Errorf("%q says %q, want %q", value, got, want)
		}
	}
}
