package v1alpha1

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// DefaultSyncedResources are synced where the spec names none, as far as both sides serve them.
func DefaultSyncedResources() []GroupResource {
	return []GroupResource{
		{Resource: "configmaps"},
		{Resource: "persistentvolumeclaims"},
		{Resource: "secrets"},
		{Resource: "serviceaccounts"},
		{Resource: "services"},
		{Group: "apps", Resource: "daemonsets"},
		{Group: "apps", Resource: "deployments"},
		{Group: "apps", Resource: "statefulsets"},
		{Group: "batch", Resource: "cronjobs"},
		{Group: "batch", Resource: "jobs"},
		{Group: "networking.k8s.io", Resource: "ingresses"},
		{Group: "networking.k8s.io", Resource: "networkpolicies"},
	}
}

// Synced are the resources that the target is to sync; which of them it may, Syncable says.
func (s *SyncTargetSpec) Synced() []GroupResource {
	if len(s.SyncedResources) == 0 {
		return DefaultSyncedResources()
	}
	return s.SyncedResources
}

// Leaving are the resources that the syncer reports on although the spec no longer names them: it is removing its copies
// of them, and still needs its rights.
func (t *SyncTarget) Leaving() []GroupResource {
	var leaving []GroupResource
	for _, r := range t.Status.SyncedResources {
		if gr := (GroupResource{Group: r.Group, Resource: r.Resource}); gr.Syncable() == nil && !slices.Contains(t.Spec.Synced(), gr) {
			leaving = append(leaving, gr)
		}
	}
	return leaving
}

var (
	resourceName = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)
	groupName    = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$`)
)

// Syncable returns an error, in words for the user, for a resource that is never synced whatever the sides serve.
// What passes can stand in an RBAC rule: it has no wildcard and no subresource.
func (r GroupResource) Syncable() error {
	switch {
	case !resourceName.MatchString(r.Resource) || !groupName.MatchString(r.Group):
		return fmt.Errorf("%q in group %q is no name of a resource: write it in the plural, without wildcard or subresource", r.Resource, r.Group)
	case r.Group == "rbac.authorization.k8s.io":
		return fmt.Errorf("resources of %s are never synced: rights in the workspace are not rights in the physical cluster", r.Group)
	case r.Group == "kcp.io" || strings.HasSuffix(r.Group, ".kcp.io"):
		return fmt.Errorf("resources of %s are kcp's own and never synced", r.Group)
	case slices.Contains(unsyncable, r):
		return fmt.Errorf("%s are never synced", r)
	}
	return nil
}

// unsyncable belong to one side, or tell what happened there.
var unsyncable = []GroupResource{
	{Resource: "namespaces"}, {Resource: "nodes"}, {Resource: "persistentvolumes"}, {Resource: "events"}, {Resource: "bindings"},
	{Group: "events.k8s.io", Resource: "events"},
	{Group: "coordination.k8s.io", Resource: "leases"},
}

// String is <resource>.<group>, and the resource alone in the core group.
func (r GroupResource) String() string {
	if r.Group == "" {
		return r.Resource
	}
	return r.Resource + "." + r.Group
}
