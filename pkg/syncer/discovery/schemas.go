package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/openapi"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/discovery/compatibility"
)

// Schemas compares the schemas of the workspace with those of the physical cluster. The documents are large: that of a
// group and version is read again only if a side says that it has changed. It is not safe for concurrent use.
type Schemas struct {
	workspace, cluster openapi.Client
	results            map[apischema.GroupVersionKind]result
}

// NewSchemas compares what these two publish.
func NewSchemas(workspace, cluster openapi.Client) Schemas {
	return Schemas{workspace: workspace, cluster: cluster, results: map[apischema.GroupVersionKind]result{}}
}

// result is how the schemas of a kind compare.
type result struct {
	// workspace and cluster are the URLs of the documents that were compared. They contain hashes of the documents.
	workspace, cluster string
	// wrong says why no object of the kind can be synced, and partial which fields some objects must not use. Both are
	// empty if the schemas are compatible.
	wrong, partial string
}

// CheckCompatibility removes from the resources the versions whose schemas are incompatible. If a schema cannot be
// read, the last result is used. If it could never be read, the version is used: the physical cluster itself rejects an
// object that does not fit. It returns false if a schema could not be read now and should be tried again.
func (s *Schemas) CheckCompatibility(ctx context.Context, catalog []Resource) (complete bool) {
	l := log.FromContext(ctx).V(1)
	complete = true
	here, err := s.workspace.Paths()
	if err != nil {
		complete = false
		l.Info("The OpenAPI index of the workspace cannot be read", "cause", err.Error())
	}
	there, err := s.cluster.Paths()
	if err != nil {
		complete = false
		l.Info("The OpenAPI index of the physical cluster cannot be read", "cause", err.Error())
	}
	check := schemaCheck{schemas: s, here: here, there: there, documents: map[string][]byte{}, log: l}
	for i := range catalog {
		if r := &catalog[i]; r.State == workloadv1alpha1.ResourceAccepted && !check.resource(r) {
			complete = false
		}
	}
	return complete
}

// schemaCheck is one call of CheckCompatibility.
type schemaCheck struct {
	schemas *Schemas
	// here and there are the indices of the two sides, and documents those that were read.
	here, there map[string]openapi.GroupVersion
	documents   map[string][]byte
	log         logr.Logger
}

// resource removes from a resource the versions whose schemas are incompatible, and tells whether all could be read.
func (c schemaCheck) resource(r *Resource) (complete bool) {
	complete = true
	var fit []string
	var wrong, partial string
	for _, version := range r.Versions {
		gvk := apischema.GroupVersionKind{Group: r.Group, Version: version, Kind: r.Kind}
		path := documentPath(gvk.GroupVersion())
		v, err := c.schemas.comparison(gvk, c.here[path], c.there[path], c.documents)
		if err != nil {
			complete = complete && !errors.Is(err, errNotRead)
			c.log.Info("A schema cannot be compared", "kind", gvk.String(), "cause", err.Error())
		}
		if v.wrong == "" {
			if len(fit) == 0 {
				partial = v.partial // of the version that is used
			}
			fit = append(fit, version)
		}
		wrong = cmp.Or(wrong, v.wrong)
	}
	if len(fit) == 0 {
		r.State, r.Message = workloadv1alpha1.ResourceIncompatible, wrong
	} else {
		r.Versions, r.Message = fit, partial
	}
	return complete
}

// errNotRead says that a document could not be read, but may be the next time.
var errNotRead = errors.New("the document cannot be read")

// comparison compares a kind on the two sides, unless neither document has changed. With an error it returns the last
// result.
func (s *Schemas) comparison(gvk apischema.GroupVersionKind, here, there openapi.GroupVersion, documents map[string][]byte) (result, error) {
	known := s.results[gvk]
	if here == nil || there == nil {
		return known, errors.New("a side does not publish it")
	}
	v := result{workspace: here.ServerRelativeURL(), cluster: there.ServerRelativeURL()}
	if known.workspace == v.workspace && known.cluster == v.cluster {
		return known, nil
	}
	var pair [2][]byte
	for i, side := range []openapi.GroupVersion{here, there} {
		id := fmt.Sprint(i, side.ServerRelativeURL())
		if documents[id] == nil {
			document, err := side.Schema(runtime.ContentTypeJSON)
			if err != nil {
				return known, fmt.Errorf("%w: %w", errNotRead, err)
			}
			documents[id] = document
		}
		pair[i] = documents[id]
	}
	found, err := compatibility.Compare(gvk, pair[0], pair[1])
	if err != nil {
		s.results[gvk] = v // the error stays the same until a document changes
		return v, err
	}
	isPartial := func(i compatibility.Incompatibility) bool { return i.Partial }
	v.wrong = compatibility.Message(slices.DeleteFunc(slices.Clone(found), isPartial))
	v.partial = compatibility.Message(slices.DeleteFunc(found, func(i compatibility.Incompatibility) bool { return !isPartial(i) }))
	s.results[gvk] = v
	return v, nil
}

// documentPath is where an API server publishes the schemas of a group and version, below /openapi/v3/.
func documentPath(gv apischema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.Group + "/" + gv.Version
}
