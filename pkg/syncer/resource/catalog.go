package resource

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Resource is one of those that the SyncTarget is to sync, and what is known of it.
type Resource struct {
	workloadv1alpha1.GroupResource
	// State is Accepted, or why not; then Message says it in words.
	State   workloadv1alpha1.SyncedResourceState
	Message string
	// Versions that both sides serve, in the order of the workspace's preference; the first is used.
	Versions []string
	// Stranded is the version of a resource that the workspace alone serves. Its objects are told why they have no copy,
	// and let go.
	Stranded string
	Kind     string
	// Leaving is set while copies of a resource that the spec no longer names are being removed.
	Leaving bool
	// HasStatus tells whether the workspace serves the status as a subresource.
	HasStatus bool
}

// GVR is the resource in the version that is used.
func (r Resource) GVR() schema.GroupVersionResource {
	if r.stranded() {
		return schema.GroupVersionResource{Group: r.Group, Version: r.Stranded, Resource: r.Resource}
	}
	return schema.GroupVersionResource{Group: r.Group, Version: r.Versions[0], Resource: r.Resource}
}

// stranded tells whether the physical cluster does not serve the resource at all, so that there is no copy either.
func (r Resource) stranded() bool { return r.Stranded != "" }

// followed tells whether objects of the resource are looked at: that they can be had, not that they can travel.
func (r Resource) followed() bool { return r.stranded() || len(r.Versions) > 0 }

// sameWay tells whether a lane for the one does for the other.
func (r Resource) sameWay(other Resource) bool {
	return r.GVR() == other.GVR() && r.State == other.State && r.Message == other.Message && r.Leaving == other.Leaving && r.HasStatus == other.HasStatus
}

// leaves marks what the spec no longer names.
func leaves(catalog []Resource) []Resource {
	for i := range catalog {
		catalog[i].Leaving = true
		if catalog[i].State == workloadv1alpha1.ResourceAccepted {
			catalog[i].State, catalog[i].Message = workloadv1alpha1.ResourceForbidden, "spec.syncedResources no longer names it; its copies are being removed"
		}
	}
	return catalog
}

// served is what one side serves.
type served map[schema.GroupResource][]metav1.APIResource

// discover asks one side what it serves. A group that cannot be discovered, such as one whose server is down, is an error:
// that it is not known is no reason to take it for gone.
func discover(client discovery.DiscoveryInterface, wanted []workloadv1alpha1.GroupResource) (served, error) {
	_, lists, err := client.ServerGroupsAndResources()
	if failed := (*discovery.ErrGroupDiscoveryFailed)(nil); errors.As(err, &failed) {
		for gv, cause := range failed.Groups {
			if slices.ContainsFunc(wanted, func(r workloadv1alpha1.GroupResource) bool { return r.Group == gv.Group }) && !apierrors.IsNotFound(cause) {
				return nil, fmt.Errorf("discovering %s: %w", gv, cause)
			}
		}
	} else if err != nil {
		return nil, fmt.Errorf("discovering the API: %w", err)
	}
	out := served{}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for _, resource := range list.APIResources {
			resource.Version = gv.Version
			name, sub, _ := strings.Cut(resource.Name, "/")
			if sub == "" || sub == "status" {
				gr := schema.GroupResource{Group: gv.Group, Resource: name}
				out[gr] = append(out[gr], resource)
			}
		}
	}
	return out, nil
}

// compile says of each wanted resource how it fares, in the order of the spec.
func compile(wanted []workloadv1alpha1.GroupResource, workspace, cluster served) []Resource {
	out := make([]Resource, 0, len(wanted))
	for _, gr := range wanted {
		out = append(out, judge(gr, workspace[schema.GroupResource(gr)], cluster[schema.GroupResource(gr)]))
	}
	return out
}

func judge(gr workloadv1alpha1.GroupResource, workspace, cluster []metav1.APIResource) Resource {
	r := Resource{GroupResource: gr}
	if err := gr.Syncable(); err != nil {
		r.State, r.Message = workloadv1alpha1.ResourceForbidden, err.Error()
		return r
	}
	there := map[string]bool{}
	for _, resource := range cluster {
		if isWhole(resource) && resource.Namespaced {
			there[resource.Version] = true
		}
	}
	clusterScoped, here := false, ""
	for _, resource := range workspace {
		switch {
		case !isWhole(resource):
			r.HasStatus = true
		case !resource.Namespaced:
			clusterScoped = true
		default:
			r.Kind = resource.Kind
			here = cmp.Or(here, resource.Version)
			if there[resource.Version] {
				r.Versions = append(r.Versions, resource.Version)
			}
		}
	}
	switch {
	case clusterScoped:
		r.State, r.Message = workloadv1alpha1.ResourceForbidden, "it is cluster-scoped; only what is in Namespaces is synced"
	case here == "":
		r.State, r.Message = workloadv1alpha1.ResourceMissing, "the workspace does not serve it; bind an API that does"
	case len(cluster) == 0:
		r.State, r.Message = workloadv1alpha1.ResourceMissing, "the physical cluster does not serve it; install its CustomResourceDefinition there"
		r.Stranded = here
	case len(r.Versions) == 0:
		r.State, r.Message = workloadv1alpha1.ResourceMissing, "there is no version of it that the workspace and the physical cluster both serve"
	default:
		r.State = workloadv1alpha1.ResourceAccepted
	}
	return r
}

// isWhole tells a resource from its status.
func isWhole(resource metav1.APIResource) bool { return !strings.Contains(resource.Name, "/") }
