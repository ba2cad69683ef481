package discovery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/rejection"
)

// Resource is one of those that the SyncTarget is to sync, and what is known of it.
type Resource struct {
	workloadv1alpha1.GroupResource
	// State is Accepted, or says why not; then Message explains it.
	State   workloadv1alpha1.SyncedResourceState
	Message string
	// Versions that both sides serve, in the order of the workspace's preference; the first is used.
	Versions []string
	// UpstreamVersion and DownstreamVersion are used if there is no common version: each object reports why it is not
	// synced, and existing copies are still deleted when they should be. Without a DownstreamVersion there are no
	// copies.
	UpstreamVersion, DownstreamVersion string
	Kind                               string
	// Unknown is set if a side has never said whether it serves the resource. There may be copies all the same.
	Unknown bool
	// Removing is set while copies of a resource that the spec no longer names are being removed.
	Removing bool
	// HasStatus tells whether the workspace serves the status as a subresource, in the version that is used.
	HasStatus bool
}

// Upstream is the resource in the version in which the workspace is asked.
func (r Resource) Upstream() schema.GroupVersionResource { return r.in(r.UpstreamVersion) }

// Downstream is the resource in the version in which the physical cluster is asked.
func (r Resource) Downstream() schema.GroupVersionResource { return r.in(r.DownstreamVersion) }

func (r Resource) in(version string) schema.GroupVersionResource {
	if len(r.Versions) > 0 {
		version = r.Versions[0]
	}
	return schema.GroupVersionResource{Group: r.Group, Version: version, Resource: r.Resource}
}

// NotServedDownstream tells whether the physical cluster does not serve the resource at all, so that there is no copy
// either.
func (r Resource) NotServedDownstream() bool { return r.IsWatchable() && r.Downstream().Version == "" }

// IsWatchable tells whether the workspace serves the resource so that its objects can be watched. They need not be
// accepted.
func (r Resource) IsWatchable() bool { return r.Upstream().Version != "" }

// SyncsLike tells whether objects are synced in the same way under both.
func (r Resource) SyncsLike(other Resource) bool {
	// The objects of an accepted resource do not report its message.
	sameReport := r.State == workloadv1alpha1.ResourceAccepted || r.Message == other.Message
	return r.Upstream() == other.Upstream() && r.Downstream() == other.Downstream() && r.State == other.State && sameReport &&
		r.Removing == other.Removing && r.HasStatus == other.HasStatus
}

// MarkRemoving marks the resources that the spec no longer names.
func MarkRemoving(catalog []Resource) {
	for i := range catalog {
		catalog[i].Removing = true
		if catalog[i].State == workloadv1alpha1.ResourceAccepted {
			catalog[i].State, catalog[i].Message = workloadv1alpha1.ResourceForbidden, "spec.syncedResources no longer names it; its copies are being removed"
		}
	}
}

// NegotiateAll returns the state of each wanted resource, in the order of the spec.
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
	downstreamVersions := map[string]bool{}
	for _, resource := range cluster {
		if isMainResource(resource) && resource.Namespaced && isWatchable(resource) {
			downstreamVersions[resource.Version] = true
			r.DownstreamVersion = cmp.Or(r.DownstreamVersion, resource.Version)
		}
	}
	var clusterScoped, notStored bool
	statuses := map[string]bool{}
	for _, resource := range workspace {
		switch {
		case !isMainResource(resource):
			statuses[resource.Version] = true
		case !resource.Namespaced:
			clusterScoped = true
		case !isWatchable(resource):
			notStored = true
		default:
			r.Kind = resource.Kind
			r.UpstreamVersion = cmp.Or(r.UpstreamVersion, resource.Version)
			if downstreamVersions[resource.Version] {
				r.Versions = append(r.Versions, resource.Version)
			}
		}
	}
	r.HasStatus = statuses[r.Upstream().Version]
	switch {
	case clusterScoped:
		r.UpstreamVersion, r.Versions = "", nil
		r.State, r.Message = workloadv1alpha1.ResourceForbidden, "it is cluster-scoped; only what is in Namespaces is synced"
	case r.UpstreamVersion == "" && notStored:
		r.State, r.Message = workloadv1alpha1.ResourceForbidden, "it cannot be listed and watched: its objects are answered, and not kept"
	case r.UpstreamVersion == "":
		r.State, r.Message = workloadv1alpha1.ResourceMissing, "the workspace does not serve it; bind an API that does"
	case len(cluster) == 0:
		r.State, r.Message = workloadv1alpha1.ResourceMissing, "the physical cluster does not serve it; install its CustomResourceDefinition there"
	case len(r.Versions) == 0:
		r.State, r.Message = workloadv1alpha1.ResourceMissing, fmt.Sprintf("the workspace serves it in %s and the physical cluster in %s; serve it in one version on both sides",
			r.UpstreamVersion, cmp.Or(r.DownstreamVersion, "none that has Namespaces and can be watched"))
	default:
		r.State = workloadv1alpha1.ResourceAccepted
	}
	return r
}

// KeepLastKnown replaces the resources of an unavailable group by what was known of them before. A resource of which
// nothing was known is not synced.
func KeepLastKnown(catalog, before []Resource, unavailable map[string]error) {
	for i, r := range catalog {
		cause, ok := unavailable[r.Group]
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

// isWatchable tells a resource with stored objects from one that only answers requests, such as a review.
func isWatchable(resource metav1.APIResource) bool {
	return slices.Contains(resource.Verbs, "list") && slices.Contains(resource.Verbs, "watch")
}

// isMainResource tells a resource from its status.
func isMainResource(resource metav1.APIResource) bool { return !strings.Contains(resource.Name, "/") }
