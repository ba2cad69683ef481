package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/openapi"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/compatibility"
)

// Schemas says whether what the workspace serves and what the physical cluster serves are the same API. It asks for the
// documents of a group and version when a side says that they have changed; they are large.
type Schemas struct {
	workspace, cluster openapi.Client
	// results that were reached, and on what. Used by the one goroutine that looks.
	results map[apischema.GroupVersionKind]result
}

// NewSchemas compares what these two publish.
func NewSchemas(workspace, cluster openapi.Client) Schemas {
	return Schemas{workspace: workspace, cluster: cluster, results: map[apischema.GroupVersionKind]result{}}
}

// result is what is wrong with a kind, empty for nothing, and the addresses of the documents, which hold their hashes.
type result struct {
	workspace, cluster string
	// wrong says why its objects cannot travel, and partial which fields some of them must not use.
	wrong, partial string
}

// CheckCompatibility withdraws from the resources the versions in which objects cannot travel. Where a schema cannot be had, what was
// known stands; where it never could, it stands in nobody's way: the physical cluster has words of its own for an object
// that it refuses.
func (s *Schemas) CheckCompatibility(ctx context.Context, catalog []Resource) {
	l := log.FromContext(ctx).V(1)
	here, err := s.workspace.Paths()
	if err != nil {
		l.Info("the workspace does not tell its schemas", "cause", err.Error())
	}
	there, err := s.cluster.Paths()
	if err != nil {
		l.Info("the physical cluster does not tell its schemas", "cause", err.Error())
	}
	documents := map[string][]byte{} // for this look
	for i := range catalog {
		r := &catalog[i]
		if r.State != workloadv1alpha1.ResourceAccepted {
			continue
		}
		var fit []string
		var wrong, partial string
		for _, version := range r.Versions {
			gvk := apischema.GroupVersionKind{Group: r.Group, Version: version, Kind: r.Kind}
			path := documentPath(gvk.GroupVersion())
			v, err := s.comparison(gvk, here[path], there[path], documents)
			if err != nil {
				l.Info("no new verdict on a schema", "kind", gvk.String(), "cause", err.Error())
			}
			if v.wrong == "" {
				if len(fit) == 0 {
					partial = v.partial // of the version in which it travels
				}
				fit = append(fit, version)
			}
			wrong = cmp.Or(wrong, v.wrong)
		}
		if len(fit) == 0 {
			r.State, r.Message = workloadv1alpha1.ResourceIncompatible, wrong
			continue
		}
		r.Versions, r.Message = fit, partial
	}
}

// comparison compares a kind on the two sides, unless neither has changed. With an error it is what was known before.
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
				return known, err
			}
			documents[id] = document
		}
		pair[i] = documents[id]
	}
	found, err := compatibility.Compare(gvk, pair[0], pair[1])
	if err != nil {
		s.results[gvk] = v // it would be the same again, until a document changes
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
