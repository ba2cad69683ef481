package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func TestFields(t *testing.T) {
	tests := map[string]struct {
		reason string
		schema string
		want   []field
	}{
		"Scalar": {
			schema: `{type: string, format: date-time, description: "when it\nwas"}`,
			want:   []field{{Path: "f", Type: "string (date-time)", Description: "when it was"}},
		},
		"Properties": {
			reason: "fields are sorted by name, and required is said of the field",
			schema: `{type: object, required: [b], properties: {b: {type: string}, a: {type: boolean}}}`,
			want:   []field{{Path: "f", Type: "object"}, {Path: "f.a", Type: "boolean"}, {Path: "f.b", Type: "string", Required: true}},
		},
		"ListOfObjects": {
			schema: `{type: array, items: {type: object, properties: {a: {type: string}}}}`,
			want:   []field{{Path: "f", Type: "list of object"}, {Path: "f[].a", Type: "string"}},
		},
		"ListOfScalars": {
			reason: "what holds for the elements is said of the list",
			schema: `{type: array, x-kubernetes-list-type: set, items: {type: string, maxLength: 3}}`,
			want:   []field{{Path: "f", Type: "list of string", Validation: "unique elements; each element: max length 3"}},
		},
		"MapOfObjects": {
			schema: `{type: object, additionalProperties: {type: object, properties: {a: {type: string}}}}`,
			want:   []field{{Path: "f", Type: "map of string to object"}, {Path: "f.*.a", Type: "string"}},
		},
		"Nested": {
			schema: `{type: object, additionalProperties: {type: array, items: {type: object, properties: {a: {type: string}}}}}`,
			want:   []field{{Path: "f", Type: "map of string to list of object"}, {Path: "f.*[].a", Type: "string"}},
		},
		"Quantity": {
			reason: "the long pattern of a quantity is left out",
			schema: `{x-kubernetes-int-or-string: true, pattern: '` + quantityPattern + `'}`,
			want:   []field{{Path: "f", Type: "quantity"}},
		},
		"IntOrString": {
			schema: `{x-kubernetes-int-or-string: true, pattern: '^x|y$'}`,
			want:   []field{{Path: "f", Type: "integer or string", Validation: "pattern `^x|y$`"}},
		},
		"Any": {
			schema: `{x-kubernetes-preserve-unknown-fields: true}`,
			want:   []field{{Path: "f", Type: "any"}},
		},
		"Limits": {
			schema: `{type: object, minimum: 0, maximum: 1.5, minItems: 1, maxItems: 2, minLength: 3, maxLength: 4, minProperties: 5, maxProperties: 6}`,
			want: []field{{Path: "f", Type: "object", Validation: "min 0; max 1.5; min length 3; max length 4; " +
				"min items 1; max items 2; min entries 5; max entries 6"}},
		},
		"Enum": {
			schema: `{type: string, enum: [A, ""], default: ""}`,
			want:   []field{{Path: "f", Type: "string", Default: "`\"\"`", Validation: "one of `A`, `\"\"`"}},
		},
		"Defaults": {
			schema: `{type: object, default: {a: [1]}}`,
			want:   []field{{Path: "f", Type: "object", Default: "`{\"a\":[1]}`"}},
		},
		"Rules": {
			schema: `{type: string, x-kubernetes-validations: [{rule: "a\n  || b", message: "no *"}, {rule: c}]}`,
			want:   []field{{Path: "f", Type: "string", Validation: "rule `a || b` (no \\*); rule `c`"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var s apiextensionsv1.JSONSchemaProps
			if err := yaml.UnmarshalStrict([]byte(tt.schema), &s); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, fields("f", s, false)); diff != "" {
				t.Errorf("%s\n%s", tt.reason, diff)
			}
		})
	}
}
