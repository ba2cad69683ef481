package plugin

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// facts are what is known of an object and of its way to the clusters. Of an object that is not there no more than that is read.
type facts struct {
	now time.Time
	// kind is what the workspace calls the object, and resource the name in status.syncedResources.
	kind      *meta.RESTMapping
	resource  workloadv1alpha1.GroupResource
	namespace string
	name      string

	// object is nil if it does not exist, and in is the Namespace that it is in, or is.
	object *unstructured.Unstructured
	in     *corev1.Namespace
	// binding is what is wrong with the APIBinding, and what is right; empty if the user may not read it.
	binding    []finding
	placements []workloadv1alpha1.Placement
	targets    []workloadv1alpha1.SyncTarget
	// assignments are those of the Namespace.
	assignments []workloadv1alpha1.Assignment
}

// isNamespace tells whether the object is a Namespace, whose way ends with its Assignments.
func (f *facts) isNamespace() bool {
	return f.resource == workloadv1alpha1.GroupResource{Resource: "namespaces"}
}

// describe names the object: Deployment "shop/web".
func (f *facts) describe() string {
	name := f.name
	if f.namespace != "" {
		name = f.namespace + "/" + f.name
	}
	return fmt.Sprintf("%s %q", f.kind.GroupVersionKind.Kind, name)
}

// argument names the object as commands do: deployments.apps/web -n shop.
func (f *facts) argument() string {
	text := f.resource.String() + "/" + f.name
	if f.namespace != "" {
		text += " -n " + f.namespace
	}
	return text
}

// readFacts reads them, with 6 requests and those of findKind.
func readFacts(ctx context.Context, workspace *connection, kind, namespace, name string, now time.Time) (*facts, error) {
	f := &facts{now: now, namespace: namespace, name: name}
	var targets workloadv1alpha1.SyncTargetList
	if err := workspace.List(ctx, &targets); err != nil {
		return nil, fmt.Errorf("listing the SyncTargets of %s: %w", workspace.name, err)
	}
	f.targets = targets.Items
	served, err := discovery.NewDiscoveryClientForConfig(workspace.config)
	if err != nil {
		return nil, err
	}
	if f.kind, err = findKind(served, kind, syncedBy(f.targets)); err != nil {
		return nil, err
	}
	f.resource = workloadv1alpha1.GroupResource{Group: f.kind.Resource.Group, Resource: f.kind.Resource.Resource}
	if f.kind.Scope.Name() != meta.RESTScopeNameNamespace {
		f.namespace = ""
	}
	if f.object, err = readObject(ctx, workspace, f); err != nil {
		return nil, fmt.Errorf("reading %s in %s: %w", f.describe(), workspace.name, err)
	}
	if f.object == nil || f.namespace == "" && !f.isNamespace() {
		return f, nil // there is no way that could be followed
	}
	return f, f.readPlacing(ctx, workspace)
}

// readObject reads the object, nil if it does not exist.
func readObject(ctx context.Context, workspace *connection, f *facts) (*unstructured.Unstructured, error) {
	objects, err := dynamic.NewForConfig(workspace.config)
	if err != nil {
		return nil, err
	}
	object, err := objects.Resource(f.kind.Resource).Namespace(f.namespace).Get(ctx, f.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && !isAPIAbsent(err) {
		return nil, nil
	}
	return object, err
}

// readPlacing reads what decides where the Namespace of the object runs.
func (f *facts) readPlacing(ctx context.Context, workspace *connection) error {
	name := f.namespace
	if f.isNamespace() {
		name = f.name
	}
	var in corev1.Namespace
	if err := workspace.Get(ctx, client.ObjectKey{Name: name}, &in); err != nil {
		return fmt.Errorf("reading Namespace %q in %s: %w", name, workspace.name, err)
	}
	f.in = &in
	var err error
	if f.binding, err = readBindingFindings(ctx, workspace); err != nil {
		return err
	}
	var placements workloadv1alpha1.PlacementList
	if err := workspace.List(ctx, &placements); err != nil {
		return fmt.Errorf("listing the Placements of %s: %w", workspace.name, err)
	}
	f.placements = placements.Items
	// All Assignments of a Namespace have one name, each in the Namespace of its syncer.
	var assignments workloadv1alpha1.AssignmentList
	if err := workspace.List(ctx, &assignments, client.MatchingFields{metav1.ObjectNameField: workloadv1alpha1.AssignmentName(in.UID)}); err != nil {
		return fmt.Errorf("listing the Assignments of Namespace %q in %s: %w", name, workspace.name, err)
	}
	f.assignments = assignments.Items
	return nil
}

// readBindingFindings looks at the APIBinding; it returns none if the user may not read it.
func readBindingFindings(ctx context.Context, workspace *connection) ([]finding, error) {
	binding, err := findBinding(ctx, workspace)
	if apierrors.IsForbidden(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return bindingFindings(binding, false), nil
}

// syncedBy are the resources that the SyncTargets sync.
func syncedBy(targets []workloadv1alpha1.SyncTarget) []workloadv1alpha1.GroupResource {
	var resources []workloadv1alpha1.GroupResource
	for i := range targets {
		resources = append(resources, targets[i].Spec.SyncedResources...)
	}
	return resources
}
