package pcluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// maxVersions bounds the requests to a server that does not tell of all its APIs in two answers, as Kubernetes does since
	// v1.27: one for each version of a group. A cluster without anything of its own has about 40.
	maxVersions = 128
	// maxDiscoveryBytes bounds all answers of one discovery together: each resource takes about 500 bytes. Asked for are at
	// most maxAsked at the same time.
	maxDiscoveryBytes = 8 << 20
	maxAsked          = 4
	// maxSilent is how many groups are named that do not say what they serve.
	maxSilent = 3
)

// Serving asks the cluster what may be stored in its Namespaces: the resources that can be listed and deleted, and so go with
// their Namespace, each in one version. The client knows their kinds; that it fails on one of them does not make the cluster
// dead, since another server may stand behind it. An error says why these may not be all, in the words of NewClient: that the
// cluster does not answer, or that a group of its APIs does not; the others are returned all the same. The client is nil if none
// can be made.
func (c *Cluster) Serving(ctx context.Context) (client.Client, []metav1.APIResource, error) {
	lists, silent := c.discover(ctx)
	resources, mapper, err := deletable(lists)
	if err != nil || silent == nil && !isKubernetes(resources) {
		silent = c.answerFilter.notKubernetes()
	}
	inner, err := c.newClient(meta.FirstHitRESTMapper{MultiRESTMapper: meta.MultiRESTMapper{c.owner.mapper, mapper}})
	if err != nil {
		return nil, nil, err
	}
	return &liveClient{Client: inner, cluster: c, lenient: true}, resources, silent
}

// deletable are the resources that can be listed and deleted, with a mapper that knows their kinds. An error means that one of the
// lists is of no API.
func deletable(lists []*metav1.APIResourceList) (resources []metav1.APIResource, mapper *meta.DefaultRESTMapper, err error) {
	mapper = meta.NewDefaultRESTMapper(nil)
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}, lists) {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, mapper, err
		}
		for _, r := range list.APIResources {
			r.Group, r.Version = version.Group, version.Version
			mapper.AddSpecific(version.WithKind(r.Kind), version.WithResource(r.Name), version.WithResource(r.Name), meta.RESTScopeNamespace)
			resources = append(resources, r)
		}
	}
	slices.SortFunc(resources, func(a, b metav1.APIResource) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Name, b.Name))
	})
	return resources, mapper, nil
}

// isKubernetes tells whether what is found has what every cluster serves in which a syncer can be installed: for client-go, a
// server that knows nothing of an API has none.
func isKubernetes(found []metav1.APIResource) bool {
	for _, resource := range []schema.GroupResource{
		{Resource: "configmaps"}, {Resource: "persistentvolumeclaims"}, {Resource: "pods"}, {Resource: "secrets"}, {Resource: "serviceaccounts"}, {Resource: "services"},
		{Group: "apps", Resource: "deployments"}, {Group: "rbac.authorization.k8s.io", Resource: "rolebindings"},
	} {
		if !slices.ContainsFunc(found, func(r metav1.APIResource) bool { return r.Group == resource.Group && r.Name == resource.Resource }) {
			return false
		}
	}
	return true
}

// discover reads what the cluster serves in Namespaces, as far as it says.
func (c *Cluster) discover(ctx context.Context) ([]*metav1.APIResourceList, error) {
	if err := c.remembered(); err != nil {
		return nil, err
	}
	var lists []*metav1.APIResourceList
	var silent map[schema.GroupVersion]error
	err := c.call(ctx, Budget, request{verb: "discover", resource: schema.GroupResource{Resource: "resources"}}, func(ctx context.Context) error {
		within := &discoveryTransport{ctx: ctx, next: c.http.Transport, asked: make(chan struct{}, maxAsked)}
		asker, err := discovery.NewDiscoveryClientForConfigAndClient(c.restConfig(), &http.Client{Transport: within})
		if err != nil {
			return err
		}
		lists, err = discovery.ServerPreferredNamespacedResources(boundedDiscovery{asker})
		if failure := within.failure(); failure != nil {
			return failure
		}
		failed, partly := discovery.GroupDiscoveryFailedErrorGroups(err)
		if !partly {
			return err
		}
		silent = failed
		return ctx.Err()
	})
	if err != nil || len(silent) == 0 {
		return lists, err
	}
	return lists, c.silence(silent)
}

func tooMuch() error {
	return &problem{text: fmt.Sprintf("the cluster needs more than %d MiB to say what it serves", maxDiscoveryBytes>>20)}
}

// silence names the groups that do not say what they serve.
func (c *Cluster) silence(silent map[schema.GroupVersion]error) error {
	var names []string
	for version := range silent {
		names = append(names, words(version.String(), c.secrets))
	}
	slices.Sort(names)
	if more := len(names) - maxSilent; more > 0 {
		names = append(names[:maxSilent], fmt.Sprintf("and %d more", more))
	}
	return &problem{text: fmt.Sprintf("the cluster does not say what it serves of %s; an APIService whose server is away may be the cause", strings.Join(names, ", "))}
}

// boundedDiscovery is client-go's, which asks for all versions at the same time, for servers that may make up any number.
type boundedDiscovery struct{ *discovery.DiscoveryClient }

// GroupsAndMaybeResources is called first.
func (d boundedDiscovery) GroupsAndMaybeResources() (*metav1.APIGroupList, map[schema.GroupVersion]*metav1.APIResourceList, map[schema.GroupVersion]error, error) {
	groups, resources, failed, err := d.DiscoveryClient.GroupsAndMaybeResources()
	if err != nil || resources != nil {
		return groups, resources, failed, err
	}
	versions := 0
	for _, group := range groups.Groups {
		versions += len(group.Versions)
	}
	if versions > maxVersions {
		return nil, nil, nil, &problem{text: fmt.Sprintf("the cluster has more than %d versions of APIs, and does not tell of all in one answer, as Kubernetes v1.27 and later do", maxVersions)}
	}
	return groups, resources, failed, nil
}

// discoveryTransport bounds what one discovery reads, and ends it when there is no place for one of its large answers.
type discoveryTransport struct {
	ctx   context.Context // the library's calls take none
	next  http.RoundTripper
	asked chan struct{}
	read  atomic.Int64
	busy  atomic.Bool
}

// RoundTrip implements http.RoundTripper. Each answer is read when this returns, and gives its place back.
func (t *discoveryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.asked <- struct{}{}
	defer func() { <-t.asked }()
	if err := t.failure(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	response, err := t.next.RoundTrip(r.WithContext(ctx))
	switch {
	case err == nil:
		t.read.Add(response.ContentLength)
	case errors.Is(err, errBusy):
		t.busy.Store(true)
	}
	return response, err
}

// failure is why the discovery fails as a whole, or nil.
func (t *discoveryTransport) failure() error {
	switch {
	case t.busy.Load():
		return errBusy
	case t.read.Load() > maxDiscoveryBytes:
		return tooMuch()
	}
	return nil
}
