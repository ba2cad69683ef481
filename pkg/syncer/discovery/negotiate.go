package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientdiscovery "k8s.io/client-go/discovery"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// Resource is one of those that the SyncTarget is to sync, and what is known of it.
type Resource struct {
	workloadv1alpha1.GroupResource
	// State is Accepted, or why not; then Message says it in words.
	State   workloadv1alpha1.SyncedResourceState
	Message string
	// Versions that both sides serve, in the order of the workspace's preference; the first is used.
	Versions []string
	// UpstreamVersion and There are the versions in which the workspace and the physical cluster are asked where there is no common
	// one: objects are told why they do not travel, and copies that there are go when they should. Without There, there are
	// none, and the objects are let go.
	UpstreamVersion, DownstreamVersion string
	Kind                               string
	// Unknown is set where a side has never said whether it serves the resource: of that there may be copies all the same.
	Unknown bool
	// Removing is set while copies of a resource that the spec no longer names are being removed.
	Removing bool
	// HasStatus tells whether the workspace serves the status as a subresource, in the version that is used.
	HasStatus bool
}

// Upstream and downstream are the resource in the version in which a side is asked.
func (r Resource) Upstream() schema.GroupVersionResource   { return r.in(r.UpstreamVersion) }
func (r Resource) Downstream() schema.GroupVersionResource { return r.in(r.DownstreamVersion) }

func (r Resource) in(version string) schema.GroupVersionResource {
	if len(r.Versions) > 0 {
		version = r.Versions[0]
	}
	return schema.GroupVersionResource{Group: r.Group, Version: version, Resource: r.Resource}
}

// NotServedDownstream tells whether the physical cluster does not serve the resource at all, so that there is no copy either.
func (r Resource) NotServedDownstream() bool { return r.IsWatchable() && r.Downstream().Version == "" }

// IsWatchable tells whether objects of the resource are looked at: that they can be had, not that they can travel.
func (r Resource) IsWatchable() bool { return r.Upstream().Version != "" }

// SyncsLike tells whether a lane for the one does for the other.
func (r Resource) SyncsLike(other Resource) bool {
	told := r.State == workloadv1alpha1.ResourceAccepted || r.Message == other.Message // of an accepted one the objects tell nothing
	return r.Upstream() == other.Upstream() && r.Downstream() == other.Downstream() && r.State == other.State && told && r.Removing == other.Removing && r.HasStatus == other.HasStatus
}

// MarkRemoving marks what the spec no longer names.
func MarkRemoving(catalog []Resource) {
	for i := range catalog {
		catalog[i].Removing = true
		if catalog[i].State == workloadv1alpha1.ResourceAccepted {
			catalog[i].State, catalog[i].Message = workloadv1alpha1.ResourceForbidden, "spec.syncedResources no longer names it; its copies are being removed"
		}
	}
}

// Served is what one side serves.
type Served map[schema.GroupResource][]metav1.APIResource

// Discover asks one side what it serves, and adds to silent the groups that cannot be discovered, such as one whose server
// is down.
func Discover(client clientdiscovery.DiscoveryInterface, silent map[string]error) (Served, error) {
	_, lists, err := client.ServerGroupsAndResources()
	if failed := (*clientdiscovery.ErrGroupDiscoveryFailed)(nil); errors.As(err, &failed) {
		for gv, cause := range failed.Groups {
			if !apierrors.IsNotFound(cause) {
				silent[gv.Group] = cause
			}
		}
	} else if err != nil {
		return nil, fmt.Errorf("discovering the API: %w", err)
	}
	out := Served{}
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

// NegotiateAll says of each wanted resource how it fares, in the order of the spec.
func NegotiateAll(wanted []workloadv1alpha1.GroupResource, workspace, cluster Served) []Resource {
	out := make([]Resource, 0, len(wanted))
	for _, gr := range wanted {
		out = append(out, negotiate(gr, workspace[schema.GroupResource(gr)], cluster[schema.GroupResource(gr)]))
	}
	return out
}

func negotiate(gr workloadv1alpha1.GroupResource, workspace, cluster []metav1.APIResource) Resource {
	r := Resource{GroupResource: gr}
	if err := gr.Syncable(); err != nil {
		r.State, r.Message = workloadv1alpha1.ResourceForbidden, err.Error()
		return r
	}
	there := map[string]bool{}
	for _, resource := range cluster {
		if isMainResource(resource) && resource.Namespaced && isWatchable(resource) {
			there[resource.Version] = true
			r.DownstreamVersion = cmp.Or(r.DownstreamVersion, resource.Version)
		}
	}
	var clusterScoped, passing bool
	statuses := map[string]bool{}
	for _, resource := range workspace {
		switch {
		case !isMainResource(resource):
			statuses[resource.Version] = true
		case !resource.Namespaced:
			clusterScoped = true
		case !isWatchable(resource):
			passing = true
		default:
			r.Kind = resource.Kind
			r.UpstreamVersion = cmp.Or(r.UpstreamVersion, resource.Version)
			if there[resource.Version] {
				r.Versions = append(r.Versions, resource.Version)
			}
		}
	}
	r.HasStatus = statuses[r.Upstream().Version]
	switch {
	case clusterScoped:
		r.UpstreamVersion, r.Versions = "", nil
		r.State, r.Message = workloadv1alpha1.ResourceForbidden, "it is cluster-scoped; only what is in Namespaces is synced"
	case r.UpstreamVersion == "" && passing:
		r.State, r.Message = workloadv1alpha1.ResourceForbidden, "it cannot be listed and watched: its objects are answered, and not kept"
	case r.UpstreamVersion == "":
		r.State, r.Message = workloadv1alpha1.ResourceMissing, "the workspace does not serve it; bind an API that does"
	case len(cluster) == 0:
		r.State, r.Message = workloadv1alpha1.ResourceMissing, "the physical cluster does not serve it; install its CustomResourceDefinition there"
	case len(r.Versions) == 0:
		r.State, r.Message = workloadv1alpha1.ResourceMissing, fmt.Sprintf("the workspace serves it in %s and the physical cluster in %s; serve it in one version on both sides", r.UpstreamVersion, cmp.Or(r.DownstreamVersion, "none that has Namespaces and can be watched"))
	default:
		r.State = workloadv1alpha1.ResourceAccepted
	}
	return r
}

// KeepLastKnown puts what was known of the resources of a group that is silent in the place of what seems to be so. What was
// never known is not followed.
func KeepLastKnown(catalog, before []Resource, silent map[string]error) {
	for i, r := range catalog {
		cause, ok := silent[r.Group]
		if !ok || r.Syncable() != nil {
			continue
		}
		catalog[i] = Resource{GroupResource: r.GroupResource, State: workloadv1alpha1.ResourceMissing, Unknown: true,
			Message: rejection.Clip(fmt.Sprintf("a side does not say whether it serves group %q: %v", r.Group, cause))}
		if known := slices.IndexFunc(before, func(b Resource) bool { return b.GroupResource == r.GroupResource }); known >= 0 {
			catalog[i] = before[known]
		}
	}
}

// isWatchable tells a resource whose objects can be followed from one that only answers, such as a review.
func isWatchable(resource metav1.APIResource) bool {
	return slices.Contains(resource.Verbs, "list") && slices.Contains(resource.Verbs, "watch")
}

// isMainResource tells a resource from its status.
func isMainResource(resource metav1.APIResource) bool { return !strings.Contains(resource.Name, "/") }
