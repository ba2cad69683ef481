// Package kubestatemetrics checks config.yaml: that it is in the format of kube-state-metrics, that what it reads is in the API, and which
// metrics come of it. kube-state-metrics itself does not run here.
package kubestatemetrics

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// configuration is the format that docs/metrics/extend/customresourcestate-metrics.md of kube-state-metrics v2 describes, as far as it
// is used here.
type configuration struct {
	Kind string `json:"kind"`
	Spec struct {
		Resources []resource `json:"resources"`
	} `json:"spec"`
}

type resource struct {
	GroupVersionKind struct{ Group, Version, Kind string } `json:"groupVersionKind"`
	ResourcePlural   string                                `json:"resourcePlural"`
	MetricNamePrefix string                                `json:"metricNamePrefix"`
	ErrorLogV        int                                   `json:"errorLogV"`
	LabelsFromPath   map[string][]string                   `json:"labelsFromPath"`
	Metrics          []metric                              `json:"metrics"`
}

type metric struct {
	Name string `json:"name"`
	Help string `json:"help"`
	Each struct {
		Type     string  `json:"type"`
		Gauge    *values `json:"gauge"`
		StateSet *values `json:"stateSet"`
		Info     *values `json:"info"`
	} `json:"each"`
}

// values are the fields of a Gauge, a StateSet and an Info. ValueFrom and LabelsFromPath are below Path.
type values struct {
	Path           []string            `json:"path"`
	ValueFrom      []string            `json:"valueFrom"`
	LabelsFromPath map[string][]string `json:"labelsFromPath"`
	NilIsZero      bool                `json:"nilIsZero"` // of a Gauge
	LabelName      string              `json:"labelName"` // of a StateSet
	List           []string            `json:"list"`      // of a StateSet
}

func (m metric) values(t *testing.T) *values {
	t.Helper()
	v := map[string]*values{"Gauge": m.Each.Gauge, "StateSet": m.Each.StateSet, "Info": m.Each.Info}[m.Each.Type]
	if v == nil {
		t.Fatalf("%s: no values for the type %q", m.Name, m.Each.Type)
	}
	return v
}

func readConfig(t *testing.T) []resource {
	t.Helper()
	var config configuration
	readYAML(t, "config.yaml", &config)
	if config.Kind != "CustomResourceStateMetrics" || len(config.Spec.Resources) == 0 {
		t.Fatalf("kind %q, %d resources", config.Kind, len(config.Spec.Resources))
	}
	return config.Spec.Resources
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(content, into); err != nil {
		t.Fatal(err)
	}
}

// TestPaths: every path is in the API, with a value that can be a label or a number, and each list has all values of its field.
func TestPaths(t *testing.T) {
	for _, r := range readConfig(t) {
		object := schemaOf(t, r)
		requireScalars(t, r.ResourcePlural, object, r.LabelsFromPath)
		for _, m := range r.Metrics {
			name, v := r.MetricNamePrefix+"_"+m.Name, m.values(t)
			each := find(t, name, object, v.Path)
			if each.Type == "array" {
				each = each.Items.Schema
			}
			requireScalars(t, name, each, v.LabelsFromPath)
			value := find(t, name, each, v.ValueFrom)
			switch m.Each.Type {
			case "Gauge":
				if value.Type != "integer" && value.Type != "boolean" && value.Format != "date-time" {
					t.Errorf("%s: %s %s is no number", name, value.Type, value.Format)
				}
			case "StateSet":
				if diff := cmp.Diff(enumOf(t, value), v.List); diff != "" {
					t.Errorf("%s: list (-API +list):\n%s", name, diff)
				}
			}
		}
	}
}

// schemaOf is the schema of a kind in its CRD.
func schemaOf(t *testing.T, r resource) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	readYAML(t, "../crd/bases/workload.kcp.io_"+r.ResourcePlural+".yaml", &crd)
	gvk, version := r.GroupVersionKind, crd.Spec.Versions[0]
	if crd.Spec.Group != gvk.Group || version.Name != gvk.Version || crd.Spec.Names.Kind != gvk.Kind {
		t.Fatalf("%s is %s/%s %s, not %v", r.ResourcePlural, crd.Spec.Group, version.Name, crd.Spec.Names.Kind, gvk)
	}
	schema := version.Schema.OpenAPIV3Schema
	// A CRD leaves the schema of the metadata to the API server.
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	texts := apiextensionsv1.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &text}}
	schema.Properties["metadata"] = apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"name": text, "annotations": texts}}
	return schema
}

// find returns the schema of a field.
func find(t *testing.T, name string, schema *apiextensionsv1.JSONSchemaProps, path []string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	for _, part := range path {
		property, ok := schema.Properties[part]
		switch {
		case ok:
			schema = &property
		case schema.AdditionalProperties != nil:
			schema = schema.AdditionalProperties.Schema
		default:
			t.Fatalf("%s: the API has no field %s of %v", name, part, path)
		}
	}
	return schema
}

func requireScalars(t *testing.T, name string, schema *apiextensionsv1.JSONSchemaProps, labels map[string][]string) {
	t.Helper()
	for label, path := range labels {
		if kind := find(t, name, schema, path).Type; kind != "string" && kind != "integer" {
			t.Errorf("%s: label %s is of type %s", name, label, kind)
		}
	}
}

func enumOf(t *testing.T, schema *apiextensionsv1.JSONSchemaProps) (list []string) {
	t.Helper()
	for _, value := range schema.Enum {
		var text string
		if err := yaml.Unmarshal(value.Raw, &text); err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	return list
}

// TestMetrics computes the metrics of objects, by the rules of kube-state-metrics.
func TestMetrics(t *testing.T) {
	const metadata = "metadata: {name: a, annotations: {kcp.io/cluster: 1x}}\n"
	for name, test := range map[string]struct {
		plural, object string
		want           []string
	}{
		"a SyncTarget": {"synctargets", metadata + `
spec: {cluster: cluster-1, unschedulable: true}
status:
  phase: NotReady
  clusterID: c1
  lastHeartbeatTime: "2026-01-01T00:00:00Z"
  syncer: {version: v0.2.0, kubernetesVersion: v1.34.0, nodes: 3}
  conditions: [{type: Ready, status: "False"}, {type: Synced, status: Unknown}]
  syncedResources: [{group: apps, resource: deployments, failing: 2}, {group: "", resource: pods}]
`, []string{
			`kube_synctarget_info{cluster="cluster-1",cluster_id="c1",kubernetes_version="v1.34.0",logicalcluster="1x",name="a",syncer_version="v0.2.0"} 1`,
			`kube_synctarget_spec_unschedulable{logicalcluster="1x",name="a"} 1`,
			`kube_synctarget_status_condition{condition="Ready",logicalcluster="1x",name="a",status="False"} 1`,
			`kube_synctarget_status_condition{condition="Ready",logicalcluster="1x",name="a",status="True"} 0`,
			`kube_synctarget_status_condition{condition="Ready",logicalcluster="1x",name="a",status="Unknown"} 0`,
			`kube_synctarget_status_condition{condition="Synced",logicalcluster="1x",name="a",status="False"} 0`,
			`kube_synctarget_status_condition{condition="Synced",logicalcluster="1x",name="a",status="True"} 0`,
			`kube_synctarget_status_condition{condition="Synced",logicalcluster="1x",name="a",status="Unknown"} 1`,
			`kube_synctarget_status_failing_objects{group="apps",logicalcluster="1x",name="a",resource="deployments"} 2`,
			`kube_synctarget_status_last_heartbeat_timestamp_seconds{logicalcluster="1x",name="a"} 1767225600`,
			`kube_synctarget_status_nodes{logicalcluster="1x",name="a"} 3`,
			`kube_synctarget_status_phase{logicalcluster="1x",name="a",phase="NotReady"} 1`,
			`kube_synctarget_status_phase{logicalcluster="1x",name="a",phase="Pending"} 0`,
			`kube_synctarget_status_phase{logicalcluster="1x",name="a",phase="Ready"} 0`,
			`kube_synctarget_status_phase{logicalcluster="1x",name="a",phase="Terminating"} 0`,
		}},
		"a new SyncTarget": {"synctargets", metadata, []string{
			`kube_synctarget_spec_unschedulable{logicalcluster="1x",name="a"} 0`,
		}},
		"a Placement": {"placements", metadata + `status: {summary: {namespaces: 3, placed: 2, pending: 1}, conditions: [{type: Scheduled, status: "True"}]}`, []string{
			`kube_placement_status_condition{condition="Scheduled",logicalcluster="1x",name="a",status="False"} 0`,
			`kube_placement_status_condition{condition="Scheduled",logicalcluster="1x",name="a",status="True"} 1`,
			`kube_placement_status_condition{condition="Scheduled",logicalcluster="1x",name="a",status="Unknown"} 0`,
			`kube_placement_status_namespaces_pending{logicalcluster="1x",name="a"} 1`,
			`kube_placement_status_namespaces_placed{logicalcluster="1x",name="a"} 2`,
			`kube_placement_status_namespaces{logicalcluster="1x",name="a"} 3`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(test.object), &object); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range readConfig(t) {
				if r.ResourcePlural == test.plural {
					got = append(got, r.evaluate(t, object)...)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// evaluate returns the metrics of an object.
func (r resource) evaluate(t *testing.T, object map[string]any) (lines []string) {
	t.Helper()
	common := labelsOf(object, r.LabelsFromPath)
	for _, m := range r.Metrics {
		v := m.values(t)
		found := lookup(object, v.Path)
		items, ok := found.([]any)
		if !ok {
			items = []any{found}
		}
		for _, item := range items {
			labels := labelsOf(item, v.LabelsFromPath)
			write := func(value any, more map[string]string) {
				lines = append(lines, line(r.MetricNamePrefix+"_"+m.Name, value, common, labels, more))
			}
			value := lookup(item, v.ValueFrom)
			switch {
			case m.Each.Type == "Info":
				if len(labels) > 0 {
					write(1, nil)
				}
			case m.Each.Type == "StateSet" && value != nil:
				for _, state := range v.List {
					write(number(state == value), map[string]string{v.LabelName: state})
				}
			case m.Each.Type == "Gauge" && (value != nil || v.NilIsZero):
				write(number(value), nil)
			}
		}
	}
	return lines
}

func lookup(value any, path []string) any {
	for _, part := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[part]
	}
	return value
}

func labelsOf(value any, paths map[string][]string) map[string]string {
	labels := map[string]string{}
	for label, path := range paths {
		if found := lookup(value, path); found != nil {
			labels[label] = fmt.Sprint(found)
		}
	}
	return labels
}

func number(value any) any {
	switch value := value.(type) {
	case nil:
		return 0
	case bool:
		return map[bool]int{true: 1}[value]
	case string:
		if at, err := time.Parse(time.RFC3339, value); err == nil {
			return at.Unix()
		}
	}
	return value
}

func line(name string, value any, labels ...map[string]string) string {
	all := map[string]string{}
	for _, some := range labels {
		maps.Copy(all, some)
	}
	var pairs []string
	for _, label := range slices.Sorted(maps.Keys(all)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", label, all[label]))
	}
	return fmt.Sprintf("%s{%s} %v", name, strings.Join(pairs, ","), value)
}

// TestDocumented: docs/operate.md lists the metrics.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readConfig(t) {
		for _, m := range r.Metrics {
			name := r.MetricNamePrefix + "_" + m.Name
			if m.Help == "" || !strings.Contains(string(page), "`"+name+"`") && !strings.Contains(string(page), "`"+name+"{") {
				t.Errorf("%s has no help, or is not in docs/operate.md", name)
			}
		}
	}
}
