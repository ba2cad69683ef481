package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
)

const (
	refPrefix = "#/components/schemas/"
	meta      = "io.k8s.apimachinery.pkg.apis.meta.v1."

	// quantityPattern is what controller-gen gives quantities: a value that does not parse would break every typed client
	// that lists the objects.
	quantityPattern = `^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$`
)

// components are the types of an OpenAPI document by their names.
type components map[string]apiextensionsv1.JSONSchemaProps

func readComponents(file string) (components, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var document struct {
		Components struct {
			Schemas components `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("reading %q: %w", file, err)
	}
	return document.Components.Schemas, nil
}

// root is the structural schema of a whole object. Its metadata is the API server's own business.
func (c components) root(name string) (*apiextensionsv1.JSONSchemaProps, error) {
	schema, err := c.component(name, nil)
	if err != nil {
		return nil, err
	}
	schema.Properties["metadata"] = apiextensionsv1.JSONSchemaProps{Type: "object"}
	return schema, nil
}

// component is the structural schema of a type. The names of the types around it are there to find a type that contains
// itself, which no structural schema can express.
func (c components) component(name string, around []string) (*apiextensionsv1.JSONSchemaProps, error) {
	if schema := special(name); schema != nil {
		return schema, nil
	}
	if slices.Contains(around, name) {
		return nil, fmt.Errorf("%s contains itself", name)
	}
	in, ok := c[name]
	if !ok {
		return nil, fmt.Errorf("there is no %s", name)
	}
	schema, err := c.resolve(in, append(slices.Clip(around), name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	addDefaults(name, schema)
	return schema, nil
}

// special are the types that have a JSON form of their own.
func special(name string) *apiextensionsv1.JSONSchemaProps {
	switch name {
	case "io.k8s.apimachinery.pkg.api.resource.Quantity":
		return &apiextensionsv1.JSONSchemaProps{
			AnyOf:        []apiextensionsv1.JSONSchemaProps{{Type: "integer"}, {Type: "string"}},
			Pattern:      quantityPattern,
			XIntOrString: true,
		}
	case "io.k8s.apimachinery.pkg.util.intstr.IntOrString":
		return &apiextensionsv1.JSONSchemaProps{
			AnyOf:        []apiextensionsv1.JSONSchemaProps{{Type: "integer"}, {Type: "string"}},
			XIntOrString: true,
		}
	case meta + "Time", meta + "MicroTime":
		// In Go, the zero time is written as null: creationTimestamp of every pod template.
		return &apiextensionsv1.JSONSchemaProps{Type: "string", Format: "date-time", Nullable: true}
	case meta + "FieldsV1":
		return &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr.To(true)}
	}
	return nil
}

// resolve makes a schema structural: references are replaced by what they name, here and below.
func (c components) resolve(in apiextensionsv1.JSONSchemaProps, around []string) (*apiextensionsv1.JSONSchemaProps, error) {
	if name := reference(in); name != "" {
		out, err := c.component(name, around)
		if err != nil {
			return nil, err
		}
		// What stands beside a reference is about this use of the type.
		if in.Description != "" {
			out.Description = firstSentence(in.Description)
		}
		out.Default = informative(in.Default)
		return out, nil
	}
	if len(in.AllOf)+len(in.AnyOf)+len(in.OneOf) > 0 || in.Not != nil {
		return nil, fmt.Errorf("%q combines schemas in a way that is not known here", in.Description)
	}
	out := in.DeepCopy()
	out.Description = firstSentence(in.Description)
	out.Default = informative(in.Default)
	return out, c.resolveBelow(out, around)
}

// resolveBelow resolves the properties, the items and the values of a schema.
func (c components) resolveBelow(schema *apiextensionsv1.JSONSchemaProps, around []string) error {
	for name, in := range schema.Properties {
		out, err := c.resolve(in, around)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if slices.Contains(schema.Required, name) {
			out.Default = nil // Go's zero value; with it, the field would not be required
		}
		schema.Properties[name] = *out
	}
	if schema.Items != nil {
		out, err := c.resolve(*schema.Items.Schema, around)
		if err != nil {
			return fmt.Errorf("items: %w", err)
		}
		out.Default = nil // of null
		schema.Items.Schema = out
	}
	if values := schema.AdditionalProperties; values != nil && values.Schema != nil {
		out, err := c.resolve(*values.Schema, around)
		if err != nil {
			return fmt.Errorf("values: %w", err)
		}
		out.Default = nil // of null
		values.Schema = out
	}
	return nil
}

// reference is the name of the type that a schema refers to, if it does: directly, or as the only part of an allOf,
// which is how a description or a default can stand beside it.
func reference(in apiextensionsv1.JSONSchemaProps) string {
	ref := in.Ref
	if len(in.AllOf) == 1 {
		ref = in.AllOf[0].Ref
	}
	if ref == nil {
		return ""
	}
	return strings.TrimPrefix(*ref, refPrefix)
}

// informative is a default less the empty objects that stand for Go's zero values: they say nothing, and an empty status
// would lack what is required in it.
func informative(value *apiextensionsv1.JSON) *apiextensionsv1.JSON {
	if value == nil || string(value.Raw) == "{}" {
		return nil
	}
	return value
}

// firstSentence is what `kubectl explain` shows. With the whole texts, an object would come near to what etcd takes.
func firstSentence(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	for end, r := range text {
		if r != '.' || end+1 < len(text) && text[end+1] != ' ' {
			continue
		}
		if before := text[:end]; strings.HasSuffix(before, "e.g") || strings.HasSuffix(before, "i.e") {
			continue
		}
		return text[:end+1]
	}
	return text
}
