package crd

import (
	"os"
	"strings"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// Limits of an API server on what the rules of one object may cost, in units of CEL (k8s.io/apiserver/pkg/apis/cel).
const (
	maxCallCost  = 1_000_000
	maxTotalCost = 10_000_000
)

// TestIsValid: an API server accepts the definition, of which it estimates what its rules may cost at most.
func TestIsValid(t *testing.T) {
	crd := definition(t, "synctargets")
	apiextensionsv1.SetDefaults_CustomResourceDefinition(crd)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	var internal apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, &internal, nil); err != nil {
		t.Fatal(err)
	}
	internal.Status.StoredVersions = []string{crd.Spec.Versions[0].Name}
	if errs := crdvalidation.ValidateCustomResourceDefinition(t.Context(), &internal); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
}

func definition(t *testing.T, resource string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	content, err := os.ReadFile("bases/workload.kcp.io_" + resource + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(content, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

// TestLimits: what a tenant or a syncer writes has a size, so that no SyncTarget grows until it cannot be written.
func TestLimits(t *testing.T) {
	for name, test := range map[string]struct {
		object string
		want   string // a field that is refused, or ""
	}{
		"longest label value": {"spec: {syncer: {nodeSelector: {disk: " + strings.Repeat("x", 63) + "}}}", ""},
		"longer label value":  {"spec: {syncer: {nodeSelector: {disk: " + strings.Repeat("x", 64) + "}}}", "spec.syncer.nodeSelector.disk"},
		"quantities":          {"spec: {syncer: {resources: {requests: {cpu: 1, memory: 64Mi}, limits: {memory: 1Gi}}}}", ""},
		"longest quantity":    {"spec: {syncer: {resources: {requests: {cpu: '" + strings.Repeat("1", 64) + "'}}}}", ""},
		"longer request":      {"spec: {syncer: {resources: {requests: {cpu: '" + strings.Repeat("1", 65) + "'}}}}", "spec.syncer.resources.requests"},
		"longer limit":        {"spec: {syncer: {resources: {limits: {cpu: '" + strings.Repeat("1", 65) + "'}}}}", "spec.syncer.resources.limits"},
		"longest message":     {"status: {syncedResources: [{group: '', resource: pods, message: " + strings.Repeat("x", 1024) + "}]}", ""},
		"longer message":      {"status: {syncedResources: [{group: '', resource: pods, message: " + strings.Repeat("x", 1025) + "}]}", "status.syncedResources[0].message"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, strings.Join(refusedFields(t, test.object), ", ")); diff != "" {
				t.Errorf("refused fields: -want +got\n%s", diff)
			}
		})
	}
}

// TestStatusBeforeFirstPass: what the controller has yet to look at is not taken for done by tools that compare generations, as kstatus
// and so Flux does.
func TestStatusBeforeFirstPass(t *testing.T) {
	for _, resource := range []string{"synctargets", "placements"} {
		_, structural := schemas(t, resource)
		object := map[string]any{"metadata": map[string]any{"generation": int64(1)}, "spec": map[string]any{}}
		defaulting.Default(object, structural)
		if result, err := kstatus.Compute(&unstructured.Unstructured{Object: object}); err != nil || result.Status != kstatus.InProgressStatus {
			t.Errorf("%s: %+v, %v, want InProgress", resource, result, err)
		}
	}
}

// schemas returns the schema of a resource, internally and as a structural one.
func schemas(t *testing.T, resource string) (*apiextensions.JSONSchemaProps, *schema.Structural) {
	t.Helper()
	var internal apiextensions.JSONSchemaProps
	external := definition(t, resource).Spec.Versions[0].Schema.OpenAPIV3Schema
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(external, &internal, nil); err != nil {
		t.Fatal(err)
	}
	structural, err := schema.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	return &internal, structural
}

// refusedFields validates a SyncTarget as an API server does, with the rules in CEL and their limit of cost.
func refusedFields(t *testing.T, text string) (fields []string) {
	t.Helper()
	internal, structural := schemas(t, "synctargets")
	validator, _, err := validation.NewSchemaValidator(internal)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{}
	if err := json.Unmarshal(encoded, &object); err != nil { // whole numbers as int64, as in an API server
		t.Fatal(err)
	}
	refused := validation.ValidateCustomResource(nil, object, validator)
	rules, _ := cel.NewValidator(structural, true, maxCallCost).Validate(t.Context(), nil, structural, object, nil, maxTotalCost)
	for _, err := range append(refused, rules...) {
		if err.Field != "spec" && !strings.HasSuffix(err.Field, "metadata") { // required fields, which the objects above leave out
			fields = append(fields, err.Field)
		}
	}
	return fields
}
