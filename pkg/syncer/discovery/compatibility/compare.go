package compatibility

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	apischema "k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// ErrKindNotFound says that a document does not describe the kind. The error around it names the side.
	ErrKindNotFound = errors.New("kind not found")
	// ErrTooComplex says that a document is too large, too deep or too intertwined to be judged.
	ErrTooComplex = errors.New("schema too complex")
)

// upstream is what the workspace is called.
const upstream = "the workspace"

// Incompatibility is a place at which objects cannot travel.
type Incompatibility struct {
	// Path of the field, as in spec.containers[].ports[].hostPort; the values of a map are called *.
	// It is never empty.
	Path string
	// Reason is a short sentence that names both sides.
	Reason string
	// Partial tells that the others travel: of a built-in kind one side is of a release that does not know the field.
	Partial bool
}

// Compare tells at which fields objects of a kind cannot travel between a workspace and a physical cluster: spec and
// everything else from the workspace to the cluster, status from the cluster to the workspace. Both documents are
// OpenAPI v3 in JSON, as served under /openapi/v3/apis/<group>/<version>, of up to 8 MiB. Without incompatibilities
// the result is empty. It is sorted by path and ends after 100, and after 100 partial ones; of a schema that both sides use at several paths one
// path is told.
//
// An error tells that there is no verdict: ErrKindNotFound, ErrTooComplex, or no JSON of this form. With the same
// documents it stays the same.
func Compare(gvk apischema.GroupVersionKind, workspace, cluster []byte) ([]Incompatibility, error) {
	work := budget(maxSteps)
	here, err := open(upstream, workspace, gvk, &work)
	if err != nil {
		return nil, err
	}
	there, err := open("the physical cluster", cluster, gvk, &work)
	if err != nil {
		return nil, err
	}

	found := &findings{}
	for _, trip := range []struct {
		from, to *document
		carries  func(field string) bool
	}{
		{here, there, travelsDown},
		{there, here, travelsUp},
	} {
		w := &walk{from: trip.from, to: trip.to, work: &work, found: found, met: map[pair]bool{}}
		if err := w.fields(nil, trip.from.root.pick(trip.carries), trip.to.root.pick(trip.carries)); err != nil {
			return nil, fmt.Errorf("comparing %s: %w", gvk.Kind, err)
		}
	}
	all := slices.Concat(found.list, found.partial)
	slices.SortFunc(all, func(a, b Incompatibility) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(all), nil
}

// travelsDown names the top-level fields of an object that the physical cluster gets from the workspace.
func travelsDown(field string) bool {
	switch field {
	case "apiVersion", "kind", "metadata", "status":
		return false
	}
	return true
}

// travelsUp names the top-level fields of an object that the workspace gets from the physical cluster.
func travelsUp(field string) bool { return field == "status" }
