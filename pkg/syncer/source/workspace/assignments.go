package workspace

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/source"
)

// syncerNamespace is the Namespace of the workspace that has the Assignments.
func (s *Source) syncerNamespace() string {
	return workloadv1alpha1.SyncerNamespace(s.Owner.Name, s.Owner.Key)
}

// assignmentClient reads and writes the Assignments.
func (s *Source) assignmentClient() dynamic.ResourceInterface {
	return s.Client.Resource(workloadv1alpha1.SchemeGroupVersion.WithResource("assignments")).Namespace(s.syncerNamespace())
}

// assignmentSelector selects the Assignments of this SyncTarget, and not those of an earlier one of the same name.
func (s *Source) assignmentSelector() string {
	return labels.Set{workloadv1alpha1.LabelUID: s.Owner.UID}.String()
}

// newAssignmentInformer watches the Assignments. It stores them as *workloadv1alpha1.Assignment.
func (s *Source) newAssignmentInformer() toolscache.SharedIndexInformer {
	informer := toolscache.NewSharedIndexInformerWithOptions(toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = s.assignmentSelector()
			return s.assignmentClient().List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = s.assignmentSelector()
			return s.assignmentClient().Watch(ctx, options)
		},
	}, s.Client), &unstructured.Unstructured{}, toolscache.SharedIndexInformerOptions{ObjectDescription: "Assignments"})
	_ = informer.SetTransform(decodeStored) // it fails only after the start
	return informer
}

// decodeStored is a toolscache.TransformFunc.
func decodeStored(object any) (any, error) {
	if o, ok := object.(*unstructured.Unstructured); ok {
		return decodeAssignment(o)
	}
	return object, nil // decoded already, or a tombstone
}

func decodeAssignment(object *unstructured.Unstructured) (*workloadv1alpha1.Assignment, error) {
	object.SetManagedFields(nil)
	var assignment workloadv1alpha1.Assignment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &assignment); err != nil {
		return nil, fmt.Errorf("decoding Assignment %q: %w", object.GetName(), err)
	}
	return &assignment, nil
}

// storedAssignments are those that the informer has stored. They are not changed.
func (s *Source) storedAssignments() []*workloadv1alpha1.Assignment {
	var assignments []*workloadv1alpha1.Assignment
	for _, object := range s.assignments.GetStore().List() {
		if a, ok := object.(*workloadv1alpha1.Assignment); ok {
			assignments = append(assignments, a)
		}
	}
	return assignments
}

// listAssignments lists all Assignments live, page by page. All pages show the state at the time of the first.
func (s *Source) listAssignments(ctx context.Context) ([]*workloadv1alpha1.Assignment, error) {
	var assignments []*workloadv1alpha1.Assignment
	list := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return s.assignmentClient().List(ctx, options)
	})
	err := list.EachListItem(ctx, metav1.ListOptions{LabelSelector: s.assignmentSelector()}, func(object runtime.Object) error {
		o, ok := object.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("the list has a %T", object)
		}
		a, err := decodeAssignment(o)
		assignments = append(assignments, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the Assignments in Namespace %q: %w", s.syncerNamespace(), err)
	}
	return assignments, nil
}

// WriteReport replaces what the syncer has reported of an Assignment, by a server-side apply to its status. It is written only
// to the version of the Assignment that the Plan has shown: so not to another one of the same name, whose UID a server does not
// compare where the status is written, and not at another epoch.
func (s *Source) WriteReport(ctx context.Context, assignment source.Assignment, report source.Report) error {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&workloadv1alpha1.AssignmentStatus{
		ObservedEpoch: report.Epoch, DownstreamNamespace: report.DownstreamNamespace,
		Objects: &report.Objects, Conditions: report.Conditions,
	})
	if err != nil {
		return fmt.Errorf("encoding the report on Namespace %q: %w", assignment.Namespace.Name, err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	object.SetGroupVersionKind(workloadv1alpha1.SchemeGroupVersion.WithKind("Assignment"))
	object.SetNamespace(s.syncerNamespace())
	object.SetName(assignment.Record.Name)
	object.SetUID(assignment.Record.UID)
	object.SetResourceVersion(assignment.Record.Version)
	_, err = s.assignmentClient().ApplyStatus(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: workloadv1alpha1.FieldOwnerSyncer, Force: true})
	if err != nil {
		return fmt.Errorf("reporting on Namespace %q in Assignment %q: %w", assignment.Namespace.Name, object.GetName(), err)
	}
	return nil
}
