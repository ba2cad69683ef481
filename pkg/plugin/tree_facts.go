package plugin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

const (
	// treePage is how many objects a request returns at most.
	treePage = 500
	// maxTreePages bounds the requests for the objects of all resources.
	maxTreePages = 100
)

// treeFacts are what a tree is made of.
type treeFacts struct {
	targets     []workloadv1alpha1.SyncTarget
	placements  []workloadv1alpha1.Placement
	assignments []workloadv1alpha1.Assignment
	objects     []treeObject
	// omitted are the resources of which not all objects were read, with the reason.
	omitted []string
}

// treeObject is an object of the workspace that syncers report on.
type treeObject struct {
	resource        workloadv1alpha1.GroupResource
	namespace, name string
	// reports are what the syncers say, by the keys of their SyncTargets.
	reports map[string]rejection.Report
}

// read reads them: of all SyncTargets, or of the one that is named.
func (t *tree) read(ctx context.Context, workspace *connection) (*treeFacts, error) {
	f := &treeFacts{}
	if t.name != "" {
		target, err := readTarget(ctx, workspace, t.name)
		if err != nil {
			return nil, err
		}
		f.targets = []workloadv1alpha1.SyncTarget{*target}
	} else {
		var targets workloadv1alpha1.SyncTargetList
		if err := workspace.List(ctx, &targets); err != nil {
			return nil, fmt.Errorf("listing the SyncTargets of %s: %w", workspace.name, err)
		}
		f.targets = targets.Items
	}
	var placements workloadv1alpha1.PlacementList
	if err := workspace.List(ctx, &placements); err != nil {
		return nil, fmt.Errorf("listing the Placements of %s: %w", workspace.name, err)
	}
	f.placements = placements.Items
	var err error
	if f.assignments, err = t.readAssignments(ctx, workspace, f.targets); err != nil {
		return nil, err
	}
	if t.objects && len(f.assignments) > 0 {
		err = f.readObjects(ctx, workspace)
	}
	return f, err
}

func (t *tree) readAssignments(ctx context.Context, workspace *connection, targets []workloadv1alpha1.SyncTarget) ([]workloadv1alpha1.Assignment, error) {
	if t.name != "" {
		return assignmentsOf(ctx, workspace, &targets[0])
	}
	var list workloadv1alpha1.AssignmentList
	if err := workspace.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing the Assignments of %s: %w", workspace.name, err)
	}
	return list.Items, nil
}

// readObjects lists the metadata of the objects of each resource that is synced.
func (f *treeFacts) readObjects(ctx context.Context, workspace *connection) error {
	c, err := metadata.NewForConfig(workspace.config)
	if err != nil {
		return err
	}
	pages := maxTreePages
	for _, resource := range acceptedResources(f.targets) {
		omitted, err := f.readResource(ctx, c, resource, &pages)
		if err != nil {
			return fmt.Errorf("listing the %s of %s: %w", resource.GroupResource(), workspace.name, err)
		}
		if omitted != "" {
			f.omitted = append(f.omitted, fmt.Sprintf("%s: %s", resource.GroupResource(), omitted))
		}
	}
	return nil
}

// readResource lists the objects of a resource, as far as there are pages left. It returns why some, or all, are left out.
func (f *treeFacts) readResource(ctx context.Context, c metadata.Interface, resource schema.GroupVersionResource, pages *int) (omitted string, err error) {
	options := metav1.ListOptions{Limit: treePage}
	for ; *pages > 0; *pages-- {
		list, err := c.Resource(resource).List(ctx, options)
		switch {
		case apierrors.IsForbidden(err), apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err):
			return err.Error(), nil
		case err != nil:
			return "", err
		}
		for i := range list.Items {
			if reports := syncReports(&list.Items[i]); len(reports) > 0 {
				f.objects = append(f.objects, treeObject{
					resource:  workloadv1alpha1.GroupResource{Group: resource.Group, Resource: resource.Resource},
					namespace: list.Items[i].Namespace, name: list.Items[i].Name, reports: reports,
				})
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			*pages--
			return "", nil
		}
	}
	return fmt.Sprintf("the workspace has too many objects, and those after the first %d requests are left out", maxTreePages), nil
}

// syncReports are the reports of all syncers on an object, by the keys of their SyncTargets.
func syncReports(object metav1.Object) map[string]rejection.Report {
	reports := map[string]rejection.Report{}
	for name, text := range object.GetAnnotations() {
		if key, ok := strings.CutPrefix(name, workloadv1alpha1.AnnotationSyncPrefix); ok {
			reports[key] = rejection.ParseReport(text)
		}
	}
	return reports
}

// acceptedResources are those that one of the SyncTargets syncs, each in a version that both sides serve, in a stable order.
func acceptedResources(targets []workloadv1alpha1.SyncTarget) []schema.GroupVersionResource {
	var accepted []schema.GroupVersionResource
	for i := range targets {
		for _, r := range targets[i].Status.SyncedResources {
			if r.State == workloadv1alpha1.ResourceAccepted && len(r.Versions) > 0 {
				accepted = append(accepted, schema.GroupVersionResource{Group: r.Group, Version: r.Versions[0], Resource: r.Resource})
			}
		}
	}
	slices.SortFunc(accepted, func(a, b schema.GroupVersionResource) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Resource, b.Resource), strings.Compare(a.Version, b.Version))
	})
	return slices.CompactFunc(accepted, func(a, b schema.GroupVersionResource) bool { return a.GroupResource() == b.GroupResource() })
}
