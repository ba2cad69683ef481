package resource

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/openapi"
	"sigs.k8s.io/controller-runtime/pkg/log"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/compatibility"
)

// schemas says whether what the workspace serves and what the physical cluster serves are the same API. It asks for the
// documents of a group and version when a side says that they have changed; they are large.
type schemas struct {
	workspace, cluster openapi.Client
	// verdicts that were reached, and on what. Used by the one goroutine that looks.
	verdicts map[apischema.GroupVersionKind]verdict
}

// verdict is what is wrong with a kind, empty for nothing, and the addresses of the documents, which hold their hashes.
type verdict struct {
	workspace, cluster string
	message            string
}

// judge withdraws from the resources the versions in which objects cannot travel. A schema that cannot be had or read
// stands in nobody's way: the physical cluster has words of its own for an object that it refuses.
func (s *schemas) judge(ctx context.Context, catalog []Resource) error {
	here, err := s.workspace.Paths()
	if err != nil {
		return fmt.Errorf("asking the workspace for its schemas: %w", err)
	}
	there, err := s.cluster.Paths()
	if err != nil {
		return fmt.Errorf("asking the physical cluster for its schemas: %w", err)
	}
	documents := map[string][]byte{} // for this look
	for i := range catalog {
		r := &catalog[i]
		if r.State != workloadv1alpha1.ResourceAccepted {
			continue
		}
		var fit []string
		var message string
		for _, version := range r.Versions {
			gvk := apischema.GroupVersionKind{Group: r.Group, Version: version, Kind: r.Kind}
			path := documentOf(gvk.GroupVersion())
			wrong, err := s.verdict(gvk, here[path], there[path], documents)
			switch {
			case err != nil:
				log.FromContext(ctx).V(1).Info("no verdict on a schema", "kind", gvk.String(), "cause", err.Error())
				fit = append(fit, version)
			case wrong == "":
				fit = append(fit, version)
			case message == "":
				message = wrong
			}
		}
		if len(fit) == 0 {
			r.State, r.Message = workloadv1alpha1.ResourceIncompatible, message
			continue
		}
		r.Versions = fit
	}
	return nil
}

// verdict compares a kind on the two sides, unless neither has changed.
func (s *schemas) verdict(gvk apischema.GroupVersionKind, here, there openapi.GroupVersion, documents map[string][]byte) (string, error) {
	if here == nil || there == nil {
		return "", errors.New("it is not published")
	}
	known, ok := s.verdicts[gvk]
	if ok && known.workspace == here.ServerRelativeURL() && known.cluster == there.ServerRelativeURL() {
		return known.message, nil
	}
	var pair [2][]byte
	for i, side := range []openapi.GroupVersion{here, there} {
		id := fmt.Sprint(i, side.ServerRelativeURL())
		if documents[id] == nil {
			document, err := side.Schema(runtime.ContentTypeJSON)
			if err != nil {
				return "", err
			}
			documents[id] = document
		}
		pair[i] = documents[id]
	}
	v := verdict{workspace: here.ServerRelativeURL(), cluster: there.ServerRelativeURL()}
	found, err := compatibility.Compare(gvk, pair[0], pair[1])
	if err == nil {
		v.message = compatibility.Message(found)
	}
	s.verdicts[gvk] = v // an error would be the same again
	return v.message, err
}

// documentOf is where an API server publishes the schemas of a group and version, below /openapi/v3/.
func documentOf(gv apischema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.Group + "/" + gv.Version
}
