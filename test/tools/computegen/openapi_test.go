package main

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestResolve(t *testing.T) {
	for name, c := range map[string]struct{ reason, in, want string }{
		"reference with text beside it": {
			reason: "what stands beside a reference is about this use, and an empty default says nothing",
			in:     `{a: {properties: {b: {allOf: [{$ref: '#/components/schemas/b'}], description: Mine., default: {}}}}, b: {type: object, description: Its., x-kubernetes-map-type: atomic}}`,
			want:   `{properties: {b: {type: object, description: Mine., x-kubernetes-map-type: atomic}}}`,
		},
		"bare reference in items and values": {
			reason: "a default there is one of null, which says nothing either",
			in:     `{a: {properties: {l: {type: array, items: {$ref: '#/components/schemas/b'}}, m: {type: object, additionalProperties: {type: string, default: ""}}}}, b: {type: integer, default: 0}}`,
			want:   `{properties: {l: {type: array, items: {type: integer}}, m: {type: object, additionalProperties: {type: string}}}}`,
		},
		"defaults": {
			reason: "one of a required field is Go's zero value; one of another is meant, also the empty name, which a list-map key needs",
			in:     `{a: {required: [r], properties: {r: {type: string, default: ""}, p: {type: string, default: TCP}, n: {type: string, default: ""}}}}`,
			want:   `{required: [r], properties: {r: {type: string}, p: {type: string, default: TCP}, n: {type: string, default: ""}}}`,
		},
		"lists": {
			reason: "server-side apply merges by these",
			in:     `{a: {type: array, items: {type: object}, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], x-kubernetes-patch-merge-key: name}}`,
			want:   `{type: array, items: {type: object}, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name]}`,
		},
		"time": {
			reason: "Go writes null for no time",
			in:     `{a: {properties: {t: {$ref: '#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.Time'}}}}`,
			want:   `{properties: {t: {type: string, format: date-time, nullable: true}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(t, c.in).component("a", nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := asJSON(t, got), asJSON(t, parse(t, "{a: "+c.want+"}")["a"]); got != want {
				t.Errorf("%s:\ngot  %s\nwant %s", c.reason, got, want)
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"a type in itself":       {`{a: {properties: {b: {$ref: '#/components/schemas/b'}}}, b: {items: {$ref: '#/components/schemas/a'}}}`, "a contains itself"},
		"a type that is not":     {`{a: {properties: {b: {$ref: '#/components/schemas/b'}}}}`, "there is no b"},
		"a choice of schemas":    {`{a: {oneOf: [{type: string}, {type: boolean}]}}`, "combines schemas"},
		"several things at once": {`{a: {allOf: [{$ref: '#/components/schemas/b'}, {$ref: '#/components/schemas/c'}]}}`, "combines schemas"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(t, c.in).component("a", nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, not %q", err, c.want)
			}
		})
	}
}

func TestAddDefaults(t *testing.T) {
	const component = "io.k8s.api.batch.v1.PodFailurePolicyOnPodConditionsPattern"
	got, err := parse(t, "{"+component+`: {required: [type, status], properties: {type: {type: string}, status: {type: string}}}}`).component(component, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, `{a: {required: [type], properties: {type: {type: string}, status: {type: string, default: "True"}}}}`)["a"]
	if got, want := asJSON(t, got), asJSON(t, want); got != want {
		t.Errorf("what has a default is not required:\ngot  %s\nwant %s", got, want)
	}
}

func TestFirstSentence(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		"Replicas is the number":             "Replicas is the number",
		"One. Two.":                          "One.",
		"For v1.2 and v1.3. Not others.":     "For v1.2 and v1.3.",
		"Names, e.g. web and i.e. db. More.": "Names, e.g. web and i.e. db.",
		"A line\nand another.":               "A line",
	} {
		if got := firstSentence(in); got != want {
			t.Errorf("firstSentence(%q) = %q, want %q", in, got, want)
		}
	}
}

func parse(t *testing.T, in string) components {
	t.Helper()
	var c components
	if err := yaml.Unmarshal([]byte(in), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func asJSON(t *testing.T, schema any) string {
	t.Helper()
	out, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
