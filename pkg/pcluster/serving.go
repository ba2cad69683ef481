package pcluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Serving asks the cluster which of these resources, beyond the kinds that Client knows, it serves in Namespaces, and
// returns their kinds and a Client that knows them too. Its errors are those of Client.
func (c *Cluster) Serving(ctx context.Context, resources []schema.GroupResource) (client.Client, []schema.GroupVersionKind, error) {
	mapper := meta.NewDefaultRESTMapper(nil)
	var kinds []schema.GroupVersionKind
	for _, resource := range resources {
		if known, err := c.owner.mapper.ResourceFor(resource.WithVersion("")); err == nil && known.GroupResource() == resource {
			continue
		}
		gvk, err := c.kindOf(ctx, resource)
		if err != nil {
			return nil, nil, err
		}
		if gvk.Empty() {
			continue
		}
		mapper.AddSpecific(gvk, gvk.GroupVersion().WithResource(resource.Resource), gvk.GroupVersion().WithResource(resource.Resource), meta.RESTScopeNamespace)
		kinds = append(kinds, gvk)
	}
	if len(kinds) == 0 {
		return c.live, nil, nil
	}
	inner, err := client.New(c.config, client.Options{
		HTTPClient: c.http, Scheme: c.owner.scheme, Mapper: meta.FirstHitRESTMapper{MultiRESTMapper: meta.MultiRESTMapper{c.owner.mapper, mapper}},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("making a client that knows %v: %w", kinds, err)
	}
	return &liveClient{Client: inner, cluster: c}, kinds, nil
}

// kindOf is the kind of a resource in the version that the cluster prefers, empty if it serves none. Of a group that is not
// there an API server answers in words that any web server might use, so the groups are listed.
func (c *Cluster) kindOf(ctx context.Context, resource schema.GroupResource) (schema.GroupVersionKind, error) {
	root, versions := "/api", []string{"v1"}
	if resource.Group != "" {
		var groups metav1.APIGroupList
		if err := c.discover(ctx, resource, "/apis", &groups); err != nil {
			return schema.GroupVersionKind{}, err
		}
		root, versions = "/apis/"+url.PathEscape(resource.Group), versionsOf(groups, resource.Group)
	}
	for _, version := range versions {
		var served metav1.APIResourceList
		if err := c.discover(ctx, resource, root+"/"+url.PathEscape(version), &served); err != nil {
			return schema.GroupVersionKind{}, err
		}
		for _, r := range served.APIResources {
			if r.Name == resource.Resource && r.Namespaced {
				return schema.GroupVersionKind{Group: resource.Group, Version: version, Kind: r.Kind}, nil
			}
		}
	}
	return schema.GroupVersionKind{}, nil
}

// versionsOf are the versions of a group, the preferred one first.
func versionsOf(groups metav1.APIGroupList, name string) []string {
	var versions []string
	for _, group := range groups.Groups {
		if group.Name != name {
			continue
		}
		versions = append(versions, group.PreferredVersion.Version)
		for _, version := range group.Versions {
			if !slices.Contains(versions, version.Version) {
				versions = append(versions, version.Version)
			}
		}
	}
	return versions
}

// discover reads what the cluster says of its APIs. That one of them does not answer does not make the cluster dead.
func (c *Cluster) discover(ctx context.Context, resource schema.GroupResource, path string, into any) error {
	if err := c.remembered(); err != nil {
		return err
	}
	return c.call(ctx, Budget, request{verb: "discover", resource: resource}, func(ctx context.Context) error {
		config := rest.CopyConfig(c.config)
		config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
		reader, err := rest.UnversionedRESTClientForConfigAndClient(config, c.http)
		if err != nil {
			return err
		}
		body, err := reader.Get().AbsPath(path).DoRaw(ctx)
		if err != nil {
			return err
		}
		if json.Unmarshal(body, into) != nil {
			return c.border.notKubernetes()
		}
		return nil
	})
}
