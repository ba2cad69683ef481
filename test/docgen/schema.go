package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// quantityPattern is what controller-gen writes for a resource.Quantity. As a word it says more.
const quantityPattern = `^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$`

type schema = apiextensionsv1.JSONSchemaProps

// field is a field of an API type. All its texts but the path are Markdown.
type field struct {
	// Path from the root of the object; [] is an element of a list, and .* a value of a map.
	Path        string
	Type        string
	Required    bool
	Default     string
	Validation  string
	Description string
}

// fields returns a field and the fields within it.
func fields(path string, s schema, required bool) []field {
	found := []field{{
		Path:        path,
		Type:        typeName(s),
		Required:    required,
		Default:     defaultValue(s.Default),
		Validation:  strings.Join(validations(s), "; "),
		Description: text(s.Description),
	}}
	for {
		element, suffix := elementOf(s)
		if element == nil {
			break
		}
		s, path = *element, path+suffix
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		found = append(found, fields(path+"."+name, s.Properties[name], slices.Contains(s.Required, name))...)
	}
	return found
}

// elementOf returns the schema of the elements of a list or the values of a map, and how a path leads there.
func elementOf(s schema) (*schema, string) {
	switch {
	case s.Items != nil && s.Items.Schema != nil:
		return s.Items.Schema, "[]"
	case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return s.AdditionalProperties.Schema, ".*"
	}
	return nil, ""
}

func typeName(s schema) string {
	element, suffix := elementOf(s)
	switch {
	case element != nil && suffix == "[]":
		return "list of " + typeName(*element)
	case element != nil:
		return "map of string to " + typeName(*element)
	case isQuantity(s):
		return "quantity"
	case s.XIntOrString:
		return "integer or string"
	case s.Type == "":
		return "any"
	case s.Format != "":
		return fmt.Sprintf("%s (%s)", s.Type, s.Format)
	}
	return s.Type
}

func isQuantity(s schema) bool { return s.XIntOrString && s.Pattern == quantityPattern }

// defaultValue is a default as YAML shows it: a string has no quotes unless it is empty.
func defaultValue(value *apiextensionsv1.JSON) string {
	if value == nil {
		return ""
	}
	var plain string
	if err := json.Unmarshal(value.Raw, &plain); err == nil && plain != "" {
		return code(plain)
	}
	return code(string(value.Raw))
}

// validations are what the API server verifies of a field and of the elements in it, which are no fields of their own.
func validations(s schema) []string {
	all := slices.Concat(enumOf(s), limitsOf(s), patternOf(s), listRules(s), rulesOf(s))
	if element, suffix := elementOf(s); element != nil {
		what := map[string]string{"[]": "each element", ".*": "each value"}[suffix]
		for _, v := range validations(*element) {
			all = append(all, what+": "+v)
		}
	}
	return all
}

func enumOf(s schema) []string {
	var values []string
	for i := range s.Enum {
		values = append(values, defaultValue(&s.Enum[i]))
	}
	if len(values) == 0 {
		return nil
	}
	return []string{"one of " + strings.Join(values, ", ")}
}

func limitsOf(s schema) []string {
	limits := []struct {
		name  string
		value *int64
	}{
		{"min length", s.MinLength}, {"max length", s.MaxLength},
		{"min items", s.MinItems}, {"max items", s.MaxItems},
		{"min entries", s.MinProperties}, {"max entries", s.MaxProperties},
	}
	var found []string
	if s.Minimum != nil {
		found = append(found, fmt.Sprintf("min %g", *s.Minimum))
	}
	if s.Maximum != nil {
		found = append(found, fmt.Sprintf("max %g", *s.Maximum))
	}
	for _, l := range limits {
		if l.value != nil {
			found = append(found, fmt.Sprintf("%s %d", l.name, *l.value))
		}
	}
	return found
}

func patternOf(s schema) []string {
	if s.Pattern == "" || isQuantity(s) {
		return nil
	}
	return []string{"pattern " + code(s.Pattern)}
}

// listRules says by what the elements of a list differ.
func listRules(s schema) []string {
	switch {
	case len(s.XListMapKeys) > 0:
		return []string{"unique by " + codes(s.XListMapKeys)}
	case s.XListType != nil && *s.XListType == "set":
		return []string{"unique elements"}
	}
	return nil
}

// rulesOf are the CEL rules.
func rulesOf(s schema) []string {
	var found []string
	for _, rule := range s.XValidations {
		expression := strings.Join(strings.Fields(rule.Rule), " ")
		if rule.Message == "" {
			found = append(found, "rule "+code(expression))
			continue
		}
		found = append(found, fmt.Sprintf("rule %s (%s)", code(expression), text(rule.Message)))
	}
	return found
}
