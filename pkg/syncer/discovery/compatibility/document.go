package compatibility

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apischema "k8s.io/apimachinery/pkg/runtime/schema"
)

// The limits. The largest document of Kubernetes itself, that of core/v1, has 1.5 MB, and a comparison of its pods
// takes about 2,000 steps; a CustomResourceDefinition cannot be larger than the 1.5 MiB that etcd takes.
const (
	maxDocument = 8 << 20 // bytes of a document
	maxParsed   = 3 << 20 // bytes of the schemas that one kind consists of
	maxSteps    = 500_000 // pairs of schemas and fields looked at, on both ways together
	maxDepth    = 128     // fields in a path
)

// budget is the work that is left.
type budget int

// spend takes from the budget, and fails when it is used up.
func (b *budget) spend(steps int) error {
	if *b -= budget(steps); *b < 0 {
		return fmt.Errorf("more than %d steps: %w", maxSteps, ErrTooComplex)
	}
	return nil
}

// document is one kind in an OpenAPI document. Of the other schemas it parses those alone that are referred to.
type document struct {
	// side that published the document, in words for a user. Set by open.
	side string
	// root is the schema of the kind, resolved. Set by open.
	root *schema
	// native says that the schema was generated from Go types, not from a CustomResourceDefinition. Set by open.
	native bool

	work     *budget
	raw      map[string]json.RawMessage
	parsed   map[string]*schema
	size     int // bytes parsed
	resolved map[*schema]*schema
}

// open finds a kind in a document.
func open(side string, content []byte, gvk apischema.GroupVersionKind, work *budget) (*document, error) {
	d := &document{side: side, work: work, parsed: map[string]*schema{}, resolved: map[*schema]*schema{}}
	if err := d.load(content, gvk); err != nil {
		return nil, fmt.Errorf("reading the schema of %s in %s: %w", gvk.Kind, side, err)
	}
	return d, nil
}

func (d *document) load(content []byte, gvk apischema.GroupVersionKind) error {
	if len(content) > maxDocument {
		return fmt.Errorf("%d bytes: %w", len(content), ErrTooComplex)
	}
	var openAPI struct {
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(content, &openAPI); err != nil {
		return err
	}
	d.raw = openAPI.Components.Schemas

	name, err := d.find(gvk)
	if err != nil {
		return err
	}
	component, err := d.component(name)
	if err != nil {
		return err
	}
	if d.root, err = d.resolve(component); err != nil {
		return err
	}
	// The generator for Go types gives every struct that is no pointer the default {}, metadata too. In a
	// CustomResourceDefinition, metadata can have no default.
	metadata := d.root.Properties["metadata"]
	d.native = metadata != nil && metadata.Default != nil
	return nil
}

// find returns the name of the schema that declares a kind, and of several the first.
func (d *document) find(gvk apischema.GroupVersionKind) (string, error) {
	var names []string
	for name, raw := range d.raw {
		var declared struct {
			Kinds []struct{ Group, Version, Kind string } `json:"x-kubernetes-group-version-kind"`
		}
		if err := json.Unmarshal(raw, &declared); err != nil {
			continue // whatever it is, it does not declare this kind
		}
		if slices.Contains(declared.Kinds, struct{ Group, Version, Kind string }(gvk)) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", ErrKindNotFound
	}
	return slices.Min(names), nil
}

// component returns the schema of a name. A name that leads nowhere says nothing.
func (d *document) component(name string) (*schema, error) {
	if s, ok := d.parsed[name]; ok {
		return s, nil
	}
	s := &schema{}
	if raw, ok := d.raw[name]; ok {
		if d.size += len(raw); d.size > maxParsed {
			return nil, fmt.Errorf("more than %d bytes: %w", maxParsed, ErrTooComplex)
		}
		if err := json.Unmarshal(raw, s); err != nil {
			return nil, fmt.Errorf("parsing %q: %w", name, err)
		}
	}
	d.parsed[name] = s
	return s, nil
}

// resolve returns a schema together with everything that it refers to by $ref and allOf. The same schema gives the
// same pointer again; a circle says nothing more than what was said on the way.
func (d *document) resolve(s *schema) (*schema, error) {
	if s == nil {
		return &schema{}, nil
	}
	if r, ok := d.resolved[s]; ok {
		return r, nil
	}
	d.resolved[s] = s
	if err := s.prepare(); err != nil {
		return nil, err
	}
	parts := s.AllOf
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		component, err := d.component(name)
		if err != nil {
			return nil, err
		}
		parts = append(slices.Clip(parts), component)
	}
	if len(parts) == 0 {
		return s, nil
	}

	whole := *s
	whole.Ref, whole.AllOf = "", nil
	for _, part := range parts {
		p, err := d.resolve(part)
		if err != nil {
			return nil, err
		}
		if err := d.work.spend(1 + whole.copied(p)); err != nil {
			return nil, err
		}
		whole.and(p)
	}
	d.resolved[s] = &whole
	return &whole, nil
}
