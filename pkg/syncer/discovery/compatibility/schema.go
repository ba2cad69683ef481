package compatibility

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// schema is the part of an OpenAPI v3 schema that takes part in the comparison. It decodes in linear time, whatever
// is nested: nothing within it has a decoder of its own.
type schema struct {
	Ref                  string             `json:"$ref"`
	AllOf                []*schema          `json:"allOf"`
	AnyOf                []*schema          `json:"anyOf"`
	OneOf                []*schema          `json:"oneOf"`
	Type                 string             `json:"type"`
	Format               string             `json:"format"`
	Default              json.RawMessage    `json:"default"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties json.RawMessage    `json:"additionalProperties"`
	Required             []string           `json:"required"`
	Items                *schema            `json:"items"`
	Enum                 []any              `json:"enum"`
	Pattern              string             `json:"pattern"`
	Minimum              *float64           `json:"minimum"`
	Maximum              *float64           `json:"maximum"`
	ExclusiveMinimum     bool               `json:"exclusiveMinimum"`
	ExclusiveMaximum     bool               `json:"exclusiveMaximum"`
	MinLength            *float64           `json:"minLength"`
	MaxLength            *float64           `json:"maxLength"`
	MinItems             *float64           `json:"minItems"`
	MaxItems             *float64           `json:"maxItems"`
	MinProperties        *float64           `json:"minProperties"`
	MaxProperties        *float64           `json:"maxProperties"`
	PreserveUnknown      bool               `json:"x-kubernetes-preserve-unknown-fields"`
	IntOrString          bool               `json:"x-kubernetes-int-or-string"`

	// element is what every field must be that is not among the properties. Set by prepare.
	element *schema
	// sealed says that there are no such fields. Set by prepare.
	sealed bool
	// literals are the values of the enum as JSON, sorted, without null, which stands for absence. Set by prepare.
	literals []string
}

// prepare sets what is derived from the fields that were decoded. It comes late, level by level, because
// additionalProperties is a schema or a boolean.
func (s *schema) prepare() error {
	for _, v := range s.Enum {
		if v == nil {
			continue
		}
		literal, err := json.Marshal(v)
		if err != nil {
			return err
		}
		s.literals = append(s.literals, string(literal))
	}
	slices.Sort(s.literals)
	s.Enum = nil
	switch raw := s.AdditionalProperties; string(raw) {
	case "", "null":
	case "false":
		s.sealed = true
	case "true":
		s.element = &schema{}
	default:
		s.element = &schema{}
		if err := json.Unmarshal(raw, s.element); err != nil {
			return err
		}
	}
	s.AdditionalProperties = nil
	return nil
}

// open says whether fields are kept that the schema does not know. An object that names no fields is taken for free
// form: in Go types it is, in a CustomResourceDefinition one cannot know what the author meant.
func (s *schema) open() bool {
	return s.PreserveUnknown || len(s.Properties) == 0 && s.element == nil && !s.sealed
}

// field returns the schema of a field, nil for one that is not known.
func (s *schema) field(name string) *schema {
	if f, ok := s.Properties[name]; ok && f != nil {
		return f
	} else if ok {
		return &schema{}
	}
	return s.element
}

// pick returns the schema with some of its fields alone.
func (s *schema) pick(keep func(field string) bool) *schema {
	p := *s
	p.sealed = !s.open()
	p.Properties = map[string]*schema{}
	for name, f := range s.Properties {
		if keep(name) {
			p.Properties[name] = f
		}
	}
	p.Required = slices.DeleteFunc(slices.Clone(s.Required), func(name string) bool { return !keep(name) })
	return &p
}

// types returns what JSON types a value may have, sorted; none if the schema does not tell. The two spellings of
// int-or-string, and those of a quantity, give the same.
func (s *schema) types() []string {
	intOrString := []string{"integer", "string"}
	if s.IntOrString || s.Format == "int-or-string" {
		return intOrString
	}
	if s.Type != "" {
		return []string{s.Type}
	}
	for _, alternatives := range [][]*schema{s.AnyOf, s.OneOf} {
		var types []string
		for _, a := range alternatives {
			if a == nil || a.Type == "" {
				types = nil
				break
			}
			types = append(types, a.Type)
		}
		slices.Sort(types)
		types = slices.Compact(types)
		if slices.Equal(types, []string{"number", "string"}) {
			return intOrString
		}
		if len(types) > 0 {
			return types
		}
	}
	return nil
}

// size returns how much there is to look at, without what is nested.
func (s *schema) size() int {
	return len(s.Properties) + len(s.Required) + len(s.literals) + len(s.AnyOf) + len(s.OneOf)
}

// copied returns how much the method and has to copy: nothing where one of the two alone says something.
func (s *schema) copied(t *schema) int {
	if s.size() == 0 || t.size() == 0 {
		return 0
	}
	return s.size() + t.size()
}

// and adds what another schema demands of the same value. Fields are united; of two demands of one sort the first
// counts.
func (s *schema) and(t *schema) {
	s.Properties = unite(s.Properties, t.Properties)
	if len(s.Required) == 0 {
		s.Required = t.Required
	} else {
		s.Required = append(slices.Clip(s.Required), t.Required...)
	}
	s.Items = both(s.Items, t.Items)
	s.element = both(s.element, t.element)
	s.sealed = s.sealed || t.sealed
	s.PreserveUnknown = s.PreserveUnknown || t.PreserveUnknown
	s.IntOrString = s.IntOrString || t.IntOrString
	s.Type = first(s.Type, t.Type)
	s.Format = first(s.Format, t.Format)
	s.Pattern = first(s.Pattern, t.Pattern)
	if s.Minimum == nil {
		s.Minimum, s.ExclusiveMinimum = t.Minimum, t.ExclusiveMinimum
	}
	if s.Maximum == nil {
		s.Maximum, s.ExclusiveMaximum = t.Maximum, t.ExclusiveMaximum
	}
	s.MinLength, s.MaxLength = first(s.MinLength, t.MinLength), first(s.MaxLength, t.MaxLength)
	s.MinItems, s.MaxItems = first(s.MinItems, t.MinItems), first(s.MaxItems, t.MaxItems)
	s.MinProperties, s.MaxProperties = first(s.MinProperties, t.MinProperties), first(s.MaxProperties, t.MaxProperties)
	if len(s.literals) == 0 {
		s.literals = t.literals
	}
	if len(s.AnyOf) == 0 {
		s.AnyOf = t.AnyOf
	}
	if len(s.OneOf) == 0 {
		s.OneOf = t.OneOf
	}
}

// unite returns the fields of two schemas of one object. It changes neither.
func unite(a, b map[string]*schema) map[string]*schema {
	if len(a) == 0 || len(b) == 0 {
		if len(a) == 0 {
			return b
		}
		return a
	}
	united := maps.Clone(a)
	for name, f := range b {
		united[name] = both(united[name], f)
	}
	return united
}

// both returns a schema that demands what two others demand; nil demands nothing.
func both(a, b *schema) *schema {
	if a == nil || b == nil {
		return first(a, b)
	}
	s := &schema{AllOf: []*schema{a, b}, Default: a.Default}
	if s.Default == nil {
		s.Default = b.Default
	}
	return s
}

// first returns the first of two that says anything.
func first[T comparable](a, b T) T {
	var nothing T
	if a != nothing {
		return a
	}
	return b
}

// fills says whether a server writes the field when an object lacks it. The zero value that the generator for Go
// types puts down is the absence of a value: required and default "" stand side by side at a container's name.
func (s *schema) fills(native bool) bool {
	if s == nil || s.Default == nil {
		return false
	}
	switch strings.TrimSpace(string(s.Default)) {
	case `""`, "{}", "[]", "0", "false", "null":
		return !native
	}
	return true
}
