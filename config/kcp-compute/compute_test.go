// Package kcpcompute only tests the generated files beside it: what kcp's API server makes of objects with them.
package kcpcompute

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kcp-dev/sdk/apis/apis/v1alpha1"
	"github.com/kcp-dev/sdk/apis/apis/v1alpha2"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// maxSize is far below what etcd takes, 1.5 MiB, and what an annotation takes, so that kubectl's client-side apply, which
// keeps the whole object in one, works too.
const maxSize = 250 << 10

func TestExportAndSchemasMatch(t *testing.T) {
	var export v1alpha2.APIExport
	read(t, "apiexport-compute.yaml", &export)
	exported := map[string]string{}
	for _, r := range export.Spec.Resources {
		exported[r.Schema] = r.Name + "/" + r.Group
	}
	found := map[string]string{}
	var listed struct {
		Resources []string `json:"resources"`
	}
	read(t, "kustomization.yaml", &listed)
	for file, s := range schemas(t) {
		found[s.Name] = s.Spec.Names.Plural + "/" + s.Spec.Group
		if !slices.Contains(listed.Resources, file) {
			t.Errorf("%s is not in kustomization.yaml", file)
		}
		whole, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if len(whole) > maxSize {
			t.Errorf("%s is larger than %d bytes: %d", file, maxSize, len(whole))
		}
	}
	if diff := cmp.Diff(found, exported); diff != "" {
		t.Errorf("the export (+) does not have the schemas (-):\n%s", diff)
	}
}

func TestSchemasAreStructural(t *testing.T) {
	for file, s := range schemas(t) {
		structural, err := schema.NewStructural(props(t, s))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if err := schema.ValidateStructural(nil, structural).ToAggregate(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestTypicalObjects: what a user writes is accepted, nothing of it is lost, and only what is listed here is added.
func TestTypicalObjects(t *testing.T) {
	all := schemas(t)
	const container = ".spec.template.spec.containers[0]"
	for file, defaults := range map[string][]string{
		"deployment.yaml":            {".spec.replicas=1", container + ".ports[0].protocol=TCP", container + ".startupProbe.grpc.service="},
		"statefulset.yaml":           {".spec.replicas=1", ".spec.updateStrategy=map[type:RollingUpdate]"},
		"daemonset.yaml":             {".spec.updateStrategy=map[type:RollingUpdate]"},
		"job.yaml":                   {".spec.podFailurePolicy.rules[1].onPodConditions[0].status=True"},
		"cronjob.yaml":               nil,
		"ingress.yaml":               nil,
		"networkpolicy.yaml":         nil,
		"service.yaml":               {".spec.ports[0].protocol=TCP", ".spec.ports[1].protocol=TCP", ".spec.type=ClusterIP"},
		"persistentvolumeclaim.yaml": nil,
	} {
		t.Run(file, func(t *testing.T) {
			var given, object map[string]any
			read(t, filepath.Join("testdata", file), &given)
			read(t, filepath.Join("testdata", file), &object)
			if unknown, err := admit(t, all, object); err != nil || len(unknown) > 0 {
				t.Fatalf("unknown fields %q, error: %v", unknown, err)
			}
			lost, added := compare("", given, object)
			if diff := cmp.Diff([]string(nil), lost); diff != "" {
				t.Errorf("lost (+):\n%s", diff)
			}
			if diff := cmp.Diff(defaults, added); diff != "" {
				t.Errorf("defaults wanted (-) and found (+):\n%s", diff)
			}
		})
	}
}

func TestWrongObjects(t *testing.T) {
	all := schemas(t)
	const deployment = `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"selector":{},"template":{"spec":{"containers":[%s]}}}}`
	for name, c := range map[string]struct{ object, want, unknown string }{
		"no selector":      {object: `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{}}}`, want: "spec.selector: Required"},
		"no name":          {object: fmt.Sprintf(deployment, `{"image":"a"}`), want: "containers[0].name: Required"},
		"the same twice":   {object: fmt.Sprintf(deployment, `{"name":"a"},{"name":"a"}`), want: "containers[1]: Duplicate value"},
		"no quantity":      {object: fmt.Sprintf(deployment, `{"name":"a","resources":{"limits":{"cpu":"much"}}}`), want: "limits.cpu"},
		"a misspelt field": {object: fmt.Sprintf(deployment, `{"name":"a","imgae":"a"}`), unknown: "spec.template.spec.containers[0].imgae"},
		// Kubernetes takes this. See the generator's documentation.
		"a fraction that is not a string": {object: fmt.Sprintf(deployment, `{"name":"a","resources":{"limits":{"cpu":0.5}}}`), want: "limits.cpu"},
	} {
		t.Run(name, func(t *testing.T) {
			var object map[string]any
			if err := json.Unmarshal([]byte(c.object), &object); err != nil {
				t.Fatal(err)
			}
			unknown, err := admit(t, all, object)
			if got := strings.Join(unknown, " "); got != c.unknown {
				t.Errorf("unknown fields %q, not %q", got, c.unknown)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, not %q", err, c.want)
			}
		})
	}
}

// admit does what the API server does to an object that is created: prune, set defaults, drop nulls, validate. It returns
// the paths of what was pruned, and why the object is refused.
func admit(t *testing.T, all map[string]*v1alpha1.APIResourceSchema, object map[string]any) (unknown []string, err error) {
	t.Helper()
	for _, s := range all {
		if s.Spec.Names.Kind != object["kind"] {
			continue
		}
		structural, err := schema.NewStructural(props(t, s))
		if err != nil {
			t.Fatal(err)
		}
		validator, _, err := validation.NewSchemaValidator(props(t, s))
		if err != nil {
			t.Fatal(err)
		}
		unknown := pruning.PruneWithOptions(object, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
		defaulting.Default(object, structural)
		defaulting.PruneNonNullableNullsWithoutDefaults(object, structural)
		errs := validation.ValidateCustomResource(nil, object, validator)
		return unknown, append(errs, listtype.ValidateListSetsAndMaps(nil, structural, object)...).ToAggregate()
	}
	t.Fatalf("there is no schema for %v", object["kind"])
	return nil, nil
}

// compare returns the paths of what is in one value and not, or otherwise, in the other, both in order.
func compare(path string, before, after any) (lost, added []string) {
	switch before := before.(type) {
	case map[string]any:
		after, _ := after.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(before)) {
			if _, ok := after[key]; !ok {
				lost = append(lost, path+"."+key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(after)) {
			if _, ok := before[key]; !ok {
				added = append(added, fmt.Sprintf("%s.%s=%v", path, key, after[key]))
				continue
			}
			l, a := compare(path+"."+key, before[key], after[key])
			lost, added = append(lost, l...), append(added, a...)
		}
	case []any:
		after, _ := after.([]any)
		if len(after) != len(before) {
			return []string{path}, nil
		}
		for i := range before {
			l, a := compare(fmt.Sprintf("%s[%d]", path, i), before[i], after[i])
			lost, added = append(lost, l...), append(added, a...)
		}
	default:
		if !cmp.Equal(before, after) {
			lost = append(lost, path)
		}
	}
	return lost, added
}

// schemas are the generated APIResourceSchemas by their files.
func schemas(t *testing.T) map[string]*v1alpha1.APIResourceSchema {
	t.Helper()
	files, err := filepath.Glob("apiresourceschema-*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	all := map[string]*v1alpha1.APIResourceSchema{}
	for _, file := range files {
		all[file] = &v1alpha1.APIResourceSchema{}
		read(t, file, all[file])
	}
	return all
}

// props is the schema of the only version.
func props(t *testing.T, s *v1alpha1.APIResourceSchema) *apiextensions.JSONSchemaProps {
	t.Helper()
	v1, err := s.Spec.Versions[0].GetSchema()
	if err != nil {
		t.Fatal(err)
	}
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v1, internal, nil); err != nil {
		t.Fatal(err)
	}
	return internal
}

// read decodes YAML with the numbers that the API server decodes: int64 where there is no fraction.
func read(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if data, err = yaml.YAMLToJSON(data); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}
