package placement

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/multicluster-runtime/pkg/multicluster"

	apisv1alpha2 "github.com/kcp-dev/sdk/apis/apis/v1alpha2"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/reconciler/workload/credentials"
	"github.com/synctarget/synctarget/pkg/scheduler"
)

// scope is what one pass over one workspace starts with.
type scope struct {
	clusterName multicluster.ClusterName
	workspace   *workspace
	// cached reads the workspace from the cache.
	cached client.Reader
	// upstream talks to the workspace, uncached.
	upstream client.Client
}

// level says what is read live. The more a write can end, the more of what it rests on is.
type level int

const (
	fromCache level = iota
	// liveAssignments: nothing is decided anew that is decided already.
	liveAssignments
	// liveAll: what is withdrawn rests on current facts alone.
	liveAll
)

// observation is a workspace as one reading has shown it.
type observation struct {
	scheduler.Workspace
	bindings []apisv1alpha2.APIBinding
	// recheckHidden is when Namespaces that cannot be seen are to be read again; zero for none.
	recheckHidden time.Time
	// readErr is why it is not known of some Namespaces whether they are gone.
	readErr error
}

// read reads a workspace. What is gone from it is yet to be found out.
func (r *Reconciler) read(ctx context.Context, s *scope, l level) (*observation, error) {
	var (
		targets     workloadv1alpha1.SyncTargetList
		placements  workloadv1alpha1.PlacementList
		assignments workloadv1alpha1.AssignmentList
		bindings    apisv1alpha2.APIBindingList
		namespaces  = namespaceList()
	)
	reading, listing := errgroup.WithContext(ctx)
	for list, from := range map[client.ObjectList]level{
		&assignments: liveAssignments, &targets: liveAll, &placements: liveAll, &bindings: liveAll, namespaces: liveAll,
	} {
		reader := s.cached
		if l >= from {
			reader = s.upstream
		}
		reading.Go(func() error {
			if err := reader.List(listing, list); err != nil {
				return fmt.Errorf("listing the workspace's objects as %T: %w", list, err)
			}
			return nil
		})
	}
	if err := reading.Wait(); err != nil {
		return nil, err
	}
	now := r.Clock.Now()
	return &observation{bindings: bindings.Items, Workspace: scheduler.Workspace{
		Now: now, Placements: placements.Items, Assignments: assignments.Items,
		AvailableSince: s.workspace.availableSince(assignments.Items, now),
		Clusters:       r.clustersOf(s.clusterName, targets.Items),
		Namespaces:     namespacesOf(namespaces.Items, targets.Items),
	}}, nil
}

func namespaceList() *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	return list
}

// clustersOf are the SyncTargets of a workspace, as the scheduler sees them.
func (r *Reconciler) clustersOf(clusterName multicluster.ClusterName, targets []workloadv1alpha1.SyncTarget) []scheduler.Cluster {
	clusters := make([]scheduler.Cluster, 0, len(targets))
	for i := range targets {
		target := &targets[i]
		c := scheduler.Cluster{
			Target: target, Key: workloadv1alpha1.Key(clusterName.String(), target.Name),
			EvictionPaused: r.Silence.EvictionPaused(clusterName, target.UID),
		}
		if target.DeletionTimestamp != nil {
			c.DeletionDeadline = target.DeletionTimestamp.Add(r.DeleteDeadline / 2)
		}
		clusters = append(clusters, c)
	}
	return clusters
}

// namespacesOf are the Namespaces of a workspace with these SyncTargets, as the scheduler sees them.
func namespacesOf(namespaces []metav1.PartialObjectMetadata, targets []workloadv1alpha1.SyncTarget) []scheduler.Namespace {
	seen := make([]scheduler.Namespace, 0, len(namespaces))
	for i := range namespaces {
		namespace := &namespaces[i]
		seen = append(seen, scheduler.Namespace{
			Name: namespace.Name, UID: namespace.UID, Labels: namespace.Labels,
			Terminating: namespace.DeletionTimestamp != nil,
			Refusal:     credentials.RefusalOf(namespace, targets),
			Annotation:  namespace.Annotations[workloadv1alpha1.AnnotationPlacement],
		})
	}
	return seen
}

// isBindingDeleted tells whether the APIBinding to the export is being deleted, with everything that it brought.
func (o *observation) isBindingDeleted(exportName string) bool {
	return slices.ContainsFunc(o.bindings, func(binding apisv1alpha2.APIBinding) bool {
		export := binding.Spec.Reference.Export
		return export != nil && export.Name == exportName && binding.DeletionTimestamp != nil
	})
}
