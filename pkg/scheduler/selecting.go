package scheduler

import workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"

// Selecting returns the Placements that select a Namespace with these labels, in the order of precedence: the first one counts for
// it. A Placement that is being deleted, or that cannot be used, selects nothing.
func Selecting(placements []workloadv1alpha1.Placement, namespaceLabels map[string]string) []*workloadv1alpha1.Placement {
	var selecting []*workloadv1alpha1.Placement
	for _, p := range newPolicies(placements) {
		if p.selects(&Namespace{Labels: namespaceLabels}) {
			selecting = append(selecting, p.placement)
		}
	}
	return selecting
}

// AnnotationMessage returns what a value of AnnotationPlacement says is awaited, or in the way; empty for nothing.
func AnnotationMessage(value string) string { return parseAnnotation(value).Message }
