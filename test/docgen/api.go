package main

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const (
	crdFiles   = "config/crd/bases/*.yaml"
	apiPackage = "pkg/apis/workload/v1alpha1"
)

type (
	crdSpec    = apiextensionsv1.CustomResourceDefinitionSpec
	crdVersion = apiextensionsv1.CustomResourceDefinitionVersion
)

// readAPI makes the page of the API from the CRDs, which controller-gen makes from the types, and from the constants.
func readAPI() (string, error) {
	root := os.DirFS(".")
	crds, err := readCRDs(root)
	if err != nil {
		return "", err
	}
	p, err := parsePackage(root, apiPackage)
	if err != nil {
		return "", err
	}
	constants, err := documentedConstants(p)
	if err != nil {
		return "", err
	}
	return apiPage(crds, constants), nil
}

func readCRDs(root fs.FS) ([]apiextensionsv1.CustomResourceDefinition, error) {
	names, err := fs.Glob(root, crdFiles)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no %s; run this from the root of the repository", crdFiles)
	}
	var crds []apiextensionsv1.CustomResourceDefinition
	for _, name := range names {
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return nil, err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &crd); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		crds = append(crds, crd)
	}
	return crds, nil
}

func apiPage(crds []apiextensionsv1.CustomResourceDefinition, constants []constant) string {
	parts := []string{
		"# API",
		"All kinds of the API with their fields, the condition types and reasons, and the names in metadata.\n" +
			"[Register a cluster](../register-cluster.md) explains how to use them.",
		"In the tables, `[]` in a field's name stands for an element of a list, and `.*` for a value of a map. *Required*\n" +
			"applies if the object around the field is present. A quantity is a number with a unit, such as `500m` or `2Gi`.",
	}
	for _, crd := range crds {
		for _, version := range crd.Spec.Versions {
			if version.Served {
				parts = append(parts, kindSection(crd.Spec, version))
			}
		}
	}
	return newPage(append(parts, conditionSection(constants), metadataSection(constants))...)
}

func kindSection(spec crdSpec, version crdVersion) string {
	root := *version.Schema.OpenAPIV3Schema
	parts := []string{
		"## " + spec.Names.Kind,
		text(root.Description),
		table([]string{"property", "value"}, propertyRows(spec, version)),
	}
	for _, name := range []string{"spec", "status"} {
		if s, ok := root.Properties[name]; ok {
			rows := fieldRows(fields(name, s, slices.Contains(root.Required, name)))
			parts = append(parts, fmt.Sprintf("### %s: fields of %s", spec.Names.Kind, name),
				table([]string{"field", "type", "required", "default", "validation", "description"}, rows))
		}
	}
	if len(version.AdditionalPrinterColumns) > 0 {
		parts = append(parts, fmt.Sprintf("### %s: columns of kubectl get", spec.Names.Kind),
			table([]string{"column", "shown", "value", "description"}, columnRows(version.AdditionalPrinterColumns)))
	}
	return paragraphs(parts...)
}

// propertyRows are what holds for the kind as a whole. Empty ones are left out.
func propertyRows(spec crdSpec, version crdVersion) [][]string {
	rows := [][]string{
		{"apiVersion", code(spec.Group + "/" + version.Name)},
		{"scope", string(spec.Scope)},
		{"resource", code(spec.Names.Plural)},
		{"short names", codes(spec.Names.ShortNames)},
		{"categories", codes(spec.Names.Categories)},
		{"subresources", codes(subresources(version.Subresources))},
		{"validation", strings.Join(rulesOf(*version.Schema.OpenAPIV3Schema), "; ")},
	}
	return slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" })
}

func subresources(s *apiextensionsv1.CustomResourceSubresources) []string {
	var names []string
	if s != nil && s.Status != nil {
		names = append(names, "status")
	}
	if s != nil && s.Scale != nil {
		names = append(names, "scale")
	}
	return names
}

func fieldRows(fields []field) [][]string {
	var rows [][]string
	for _, f := range fields {
		required := ""
		if f.Required {
			required = "yes"
		}
		rows = append(rows, []string{code(f.Path), f.Type, required, f.Default, f.Validation, f.Description})
	}
	return rows
}

func columnRows(columns []apiextensionsv1.CustomResourceColumnDefinition) [][]string {
	var rows [][]string
	for _, c := range columns {
		shown := "always"
		if c.Priority > 0 {
			shown = "with `-o wide`"
		}
		rows = append(rows, []string{strings.ToUpper(c.Name), shown, code(c.JSONPath), text(c.Description)})
	}
	return rows
}
