package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	"github.com/kcp-dev/sdk/apis/apis/v1alpha2"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// exportName is the APIExport's name, by which an APIBinding refers to it.
const exportName = "compute"

// generate makes the APIResourceSchema of a resource.
func generate(source module, r resource) (*v1alpha1.APIResourceSchema, error) {
	types, err := readComponents(source.document(r.Group))
	if err != nil {
		return nil, err
	}
	schema, err := types.root(r.component())
	if err != nil {
		return nil, err
	}
	crd := definition(r, schema)
	if strings.HasSuffix(r.Group, ".k8s.io") {
		// Such a group is reserved for Kubernetes, and wants to know where the API was approved.
		crd.Annotations = map[string]string{
			apiextensionsv1.KubeAPIApprovedAnnotation: "https://github.com/kubernetes/kubernetes/tree/" + source.Version + "/api/openapi-spec/v3",
		}
	}
	if err := validate(crd); err != nil {
		return nil, err
	}
	return convert(crd, source.Version)
}

// definition is the resource as a CRD.
func definition(r resource, schema *apiextensionsv1.JSONSchemaProps) *apiextensionsv1.CustomResourceDefinition {
	version := apiextensionsv1.CustomResourceDefinitionVersion{
		Name: "v1", Served: true, Storage: true,
		Schema:                   &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: schema},
		Subresources:             &apiextensionsv1.CustomResourceSubresources{},
		AdditionalPrinterColumns: r.Columns,
	}
	if _, ok := schema.Properties["status"]; ok {
		version.Subresources.Status = &apiextensionsv1.CustomResourceSubresourceStatus{}
	}
	if r.Scale {
		version.Subresources.Scale = &apiextensionsv1.CustomResourceSubresourceScale{
			SpecReplicasPath: ".spec.replicas", StatusReplicasPath: ".status.replicas",
		}
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: r.Plural + "." + cmp.Or(r.Group, "core")}, // as kcp names it
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: r.Group, Names: r.names(), Scope: apiextensionsv1.NamespaceScoped,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version},
		},
	}
}

// validate holds a CRD to what an API server asks of one. A group without a dot, which kcp accepts but Kubernetes does not,
// gets one for that.
func validate(crd *apiextensionsv1.CustomResourceDefinition) error {
	crd = crd.DeepCopy()
	if !strings.Contains(crd.Spec.Group, ".") {
		crd.Spec.Group = cmp.Or(crd.Spec.Group, "core") + ".example.com"
		crd.Name = crd.Spec.Names.Plural + "." + crd.Spec.Group
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	crd.Status.StoredVersions = []string{"v1"}
	var internal apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, &internal, nil); err != nil {
		return err
	}
	return validation.ValidateCustomResourceDefinition(context.Background(), &internal).ToAggregate()
}

// convert makes the APIResourceSchema of a CRD. It cannot be changed once it is in use, so its name tells its content.
func convert(crd *apiextensionsv1.CustomResourceDefinition, version string) (*v1alpha1.APIResourceSchema, error) {
	content, err := json.Marshal(crd.Spec)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	prefix := strings.ReplaceAll(version, ".", "-") + "-" + hex.EncodeToString(sum[:])[:8]
	schema, err := v1alpha1.CRDToAPIResourceSchema(crd, prefix)
	if err != nil {
		return nil, err
	}
	schema.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "APIResourceSchema"}
	schema.Annotations = crd.Annotations
	return schema, nil
}

// export makes the APIExport of the schemas.
func export(schemas []*v1alpha1.APIResourceSchema) *v1alpha2.APIExport {
	e := &v1alpha2.APIExport{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha2.SchemeGroupVersion.String(), Kind: "APIExport"},
		ObjectMeta: metav1.ObjectMeta{Name: exportName},
	}
	for _, s := range schemas {
		e.Spec.Resources = append(e.Spec.Resources, v1alpha2.ResourceSchema{
			Group: s.Spec.Group, Name: s.Spec.Names.Plural, Schema: s.Name,
			Storage: v1alpha2.ResourceSchemaStorage{CRD: &v1alpha2.ResourceSchemaStorageCRD{}},
		})
	}
	return e
}

// write replaces the generated files in dir. Their names are like those of apigen in config/kcp.
func write(dir string, schemas []*v1alpha1.APIResourceSchema) error {
	const schemaFile, exportFile = "apiresourceschema-%s.%s.yaml", "apiexport-%s.yaml"
	old, err := filepath.Glob(filepath.Join(dir, "apiresourceschema-*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	for _, s := range schemas {
		name := fmt.Sprintf(schemaFile, s.Spec.Names.Plural, cmp.Or(s.Spec.Group, "core"))
		if err := writeYAML(filepath.Join(dir, name), s); err != nil {
			return err
		}
	}
	return writeYAML(filepath.Join(dir, fmt.Sprintf(exportFile, exportName)), export(schemas))
}

func writeYAML(file string, object any) error {
	data, err := yaml.Marshal(object)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
