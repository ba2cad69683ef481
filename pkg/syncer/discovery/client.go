package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientdiscovery "k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

const (
	// requestTimeout bounds each request.
	requestTimeout = 32 * time.Second
	// settleTime is how long after a change of the OpenAPI index a full answer may lag behind it: a server updates its
	// OpenAPI documents and its discovery documents one after the other.
	settleTime = 30 * time.Second
	// fullInterval is how often a side is asked in full although its documents have not changed.
	fullInterval = 10 * time.Minute
)

// Served is what one side serves.
type Served map[schema.GroupResource][]metav1.APIResource

// Answer is what one side says about what it serves. It is not changed.
type Answer struct {
	Served Served
	// Unavailable are the groups that cannot be discovered, such as one whose server is down, with the cause.
	Unavailable map[string]error
}

// Client asks one side what it serves. It is not safe for concurrent use.
type Client struct {
	client    clientdiscovery.DiscoveryInterface
	documents *documentCache
	clock     clock.PassiveClock
	// apis and openAPI are the URLs of the list of groups and of the OpenAPI index.
	apis, openAPI string
	// last is the last full answer, nil if there is none that may be used again, and askedAt is when it was asked for.
	last    *Answer
	askedAt time.Time
}

// NewClient returns a client of the side that config leads to.
func NewClient(config *rest.Config, clock clock.PassiveClock) (*Client, error) {
	config = rest.CopyConfig(config)
	if config.Timeout == 0 {
		config.Timeout = requestTimeout
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	c := &Client{clock: clock, apis: base.JoinPath("apis").String(), openAPI: base.JoinPath("openapi/v3").String()}
	// The cache is the outermost transport: the documents must not be kept with the credentials of a request.
	c.documents = newDocumentCache(httpClient.Transport, clock, base.JoinPath("api").String(), c.apis, c.openAPI)
	c.client, err = clientdiscovery.NewDiscoveryClientForConfigAndClient(config, &http.Client{Transport: c.documents, Timeout: config.Timeout})
	return c, err
}

// OpenAPI returns the client of the schemas of this side.
func (c *Client) OpenAPI() openapi.Client { return c.client.OpenAPIV3() }

// Discover returns what the side serves. It returns the last answer again, the same pointer, if the side says that
// nothing has changed. With full, the side is not asked whether it has.
func (c *Client) Discover(ctx context.Context, full bool) (*Answer, error) {
	if !full && c.isCurrent(ctx) {
		return c.last, nil
	}
	c.last = nil // the documents may be newer than the answer from here on
	askedAt := c.clock.Now()
	answer, err := discover(c.client)
	if err != nil {
		return nil, err
	}
	// Without an ETag of the list of groups, nobody would notice that a group is available again.
	if c.groupsHaveETag() || len(answer.Unavailable) == 0 {
		c.last, c.askedAt = answer, askedAt
	}
	return answer, nil
}

// isCurrent asks the side whether its documents have changed since the last full answer. The OpenAPI index contains a
// hash for each group and version, which also changes with the resources in it. The list of groups is asked for only if
// it has an ETag, as that of Kubernetes does, which contains all resources and tells which groups are unavailable.
func (c *Client) isCurrent(ctx context.Context) bool {
	index, ok := c.documents.document(c.openAPI)
	if !ok || c.last == nil || c.askedAt.Sub(index.modifiedAt) < settleTime || c.clock.Since(c.askedAt) >= fullInterval {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if c.groupsHaveETag() && !c.documents.isUnchanged(ctx, c.apis) {
		return false
	}
	return c.documents.isUnchanged(ctx, c.openAPI)
}

func (c *Client) groupsHaveETag() bool {
	list, ok := c.documents.document(c.apis)
	return ok && list.etag != ""
}

// unavailableGroups returns the groups that a discovery has failed for, such as one whose server is down. Another failure is an error.
func unavailableGroups(failure error) (map[string]error, error) {
	unavailable := map[string]error{}
	failed := (*clientdiscovery.ErrGroupDiscoveryFailed)(nil)
	if failure != nil && !errors.As(failure, &failed) {
		return nil, fmt.Errorf("discovering the API: %w", failure)
	}
	if failed == nil {
		return unavailable, nil
	}
	for gv, cause := range failed.Groups {
		if !apierrors.IsNotFound(cause) {
			unavailable[gv.Group] = cause
		}
	}
	return unavailable, nil
}

// discover asks a server in full what it serves.
func discover(client clientdiscovery.DiscoveryInterface) (*Answer, error) {
	groups, lists, err := client.ServerGroupsAndResources()
	unavailable, err := unavailableGroups(err)
	if err != nil {
		return nil, err
	}
	answer := &Answer{Served: Served{}, Unavailable: unavailable}
	for _, list := range inOrderOfPreference(groups, lists) {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for _, resource := range list.APIResources {
			resource.Version = gv.Version
			name, sub, _ := strings.Cut(resource.Name, "/")
			if sub == "" || sub == "status" {
				gr := schema.GroupResource{Group: gv.Group, Resource: name}
				answer.Served[gr] = append(answer.Served[gr], resource)
			}
		}
	}
	return answer, nil
}

// inOrderOfPreference sorts the versions of a group as the server prefers them. The client returns those of aggregated
// discovery in a random order.
func inOrderOfPreference(groups []*metav1.APIGroup, lists []*metav1.APIResourceList) []*metav1.APIResourceList {
	rank := map[string]int{}
	for _, group := range groups {
		for _, version := range group.Versions {
			rank[version.GroupVersion] = len(rank)
		}
	}
	return slices.SortedStableFunc(slices.Values(lists), func(a, b *metav1.APIResourceList) int {
		return cmp.Compare(rank[a.GroupVersion], rank[b.GroupVersion])
	})
}
