package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/restmapper"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// maxGroups is in how many API groups a kind is searched: each of them costs a request, since kcp has no aggregated discovery.
const maxGroups = 7

// searchedKinds is discovery that knows the groups which have been asked for so far.
type searchedKinds struct {
	*discovery.DiscoveryClient
	groups []*metav1.APIGroup
	lists  []*metav1.APIResourceList
}

// ServerGroupsAndResources returns what has been asked for so far.
func (s *searchedKinds) ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return s.groups, s.lists, nil
}

// mapping resolves a kind among what has been asked for so far, nil if it is not there.
func (s *searchedKinds) mapping(kind schema.GroupResource) (*meta.RESTMapping, error) {
	groups, err := restmapper.GetAPIGroupResources(s)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewShortcutExpander(restmapper.NewDiscoveryRESTMapper(groups), s, func(string) {})
	gvk, err := mapper.KindFor(kind.WithVersion(""))
	if meta.IsNoMatchError(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
}

// findKind resolves what the user calls a kind: a resource, in the singular or plural, a kind or a short name, each with or without
// its group. Without a group it is searched in those of the synced resources; one that cannot be read does not end the search.
func findKind(client *discovery.DiscoveryClient, name string, synced []workloadv1alpha1.GroupResource) (*meta.RESTMapping, error) {
	served, complete, _, err := client.GroupsAndMaybeResources()
	if err != nil {
		return nil, fmt.Errorf("reading which APIs the workspace serves: %w", err)
	}
	kind := schema.ParseGroupResource(strings.ToLower(name))
	searched := &searchedKinds{DiscoveryClient: client}
	var errs []error
	for _, group := range groupsToSearch(served, kind.Group, synced) {
		gv := schema.GroupVersion{Group: group.Name, Version: group.PreferredVersion.Version}
		list := complete[gv]
		if list == nil {
			if list, err = client.ServerResourcesForGroupVersion(gv.String()); err != nil {
				errs = append(errs, fmt.Errorf("reading which resources the workspace serves in %s: %w", gv, err))
				continue
			}
		}
		searched.groups, searched.lists = append(searched.groups, group), append(searched.lists, list)
		if mapping, err := searched.mapping(kind); err != nil || mapping != nil {
			return mapping, err
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return nil, unknownKind(name, kind.Group, searched.groups)
}

// groupsToSearch are the group that is named, or the core group and those of the synced resources, as far as they are served.
func groupsToSearch(served *metav1.APIGroupList, named string, synced []workloadv1alpha1.GroupResource) []*metav1.APIGroup {
	wanted := []string{named}
	if named == "" {
		for _, resource := range slices.Concat(workloadv1alpha1.DefaultSyncedResources(), synced) {
			if !slices.Contains(wanted, resource.Group) {
				wanted = append(wanted, resource.Group)
			}
		}
	}
	var groups []*metav1.APIGroup
	for _, name := range wanted {
		if i := slices.IndexFunc(served.Groups, func(g metav1.APIGroup) bool { return g.Name == name }); i >= 0 && len(groups) < maxGroups {
			groups = append(groups, &served.Groups[i])
		}
	}
	return groups
}

func unknownKind(name, group string, searched []*metav1.APIGroup) error {
	const next = "bind the API that has it, for Deployments, Services and Jobs with: kubectl apply -k config/samples/compute"
	if group != "" {
		return failed(next, "the workspace does not serve %q in the API group %q", name, group)
	}
	var names []string
	for _, g := range searched {
		if g.Name != "" {
			names = append(names, g.Name)
		}
	}
	return failed(next+"; a kind of another group needs the group: KIND.GROUP/NAME", "the workspace does not serve %q, neither in the core group nor in: %s",
		name, orAbsent(strings.Join(names, ", ")))
}
