package compatibility

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

var widgets = apischema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}

// publish tells of a Widget with these fields, in YAML; further schemas may follow by name.
func publish(t testing.TB, fields string, others ...string) []byte {
	t.Helper()
	schemas := map[string]any{"widget": map[string]any{
		"type": "object", "properties": parse(t, fields),
		"x-kubernetes-group-version-kind": []any{map[string]any{"group": widgets.Group, "version": widgets.Version, "kind": widgets.Kind}},
	}}
	for i := 0; i < len(others); i += 2 {
		schemas[others[i]] = parse(t, others[i+1])
	}
	content, err := json.Marshal(map[string]any{"components": map[string]any{"schemas": schemas}})
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// TestCompare holds each rule from both sides: what it reports, and where it keeps silent. Most rows are about a field
// spec.
func TestCompare(t *testing.T) {
	const native = "metadata: {default: {}}\n"
	spec := func(of string) string { return "spec: " + of }
	of := func(fields string) string { return "spec: {type: object, properties: {" + fields + "}}" }
	tests := map[string]struct {
		workspace, cluster string
		want               []string
	}{
		"the same":             {of("a: {type: string}"), of("a: {type: string}"), nil},
		"type":                 {spec("{type: string}"), spec("{type: integer}"), []string{"spec: string in the workspace, integer in the physical cluster"}},
		"integer is a number":  {spec("{type: integer}"), spec("{type: number}"), nil},
		"number is no integer": {spec("{type: number}"), spec("{type: integer}"), []string{"spec: number in the workspace, integer in the physical cluster"}},
		"type is not told":     {spec("{}"), spec("{type: integer}"), nil},
		"int or string, in two spellings": {
			spec("{x-kubernetes-int-or-string: true}"), spec("{format: int-or-string, oneOf: [{type: integer}, {type: string}]}"), nil,
		},
		"quantity, in two spellings": {spec("{x-kubernetes-int-or-string: true}"), spec("{oneOf: [{type: string}, {type: number}]}"), nil},
		"a string is fine for both":  {spec("{type: string}"), spec("{x-kubernetes-int-or-string: true}"), nil},
		"one of two types":           {spec("{x-kubernetes-int-or-string: true}"), spec("{type: string}"), []string{"spec: integer or string in the workspace, string in the physical cluster"}},

		"unknown field":                 {of("a: {type: string}, b: {type: string}"), of("a: {type: string}"), []string{"spec.b: known in the workspace, unknown in the physical cluster, where it would be lost"}},
		"unknown to an older cluster":   {of("a: {type: string}, b: {type: string}"), native + of("a: {type: string}"), []string{"partial: spec.b: known in the workspace, unknown in the physical cluster, which refuses the objects that use it"}},
		"status of a newer cluster":     {"status: {type: object, properties: {a: {type: string}}}", native + "status: {type: object, properties: {a: {type: string}, b: {type: string}}}", []string{"partial: status.b: known in the physical cluster, unknown in the workspace, which does not show it"}},
		"further field":                 {of("a: {type: string}"), of("a: {type: string}, b: {type: string}"), nil},
		"unknown field is kept":         {of("a: {type: string}, b: {type: string}"), "spec: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {a: {type: string}}}", nil},
		"free form":                     {of("a: {type: string}"), spec("{type: object}"), nil},
		"a map takes fields":            {of("a: {type: string}"), spec("{type: object, additionalProperties: {type: string}}"), nil},
		"a map of something else":       {of("a: {type: string}"), spec("{type: object, additionalProperties: {type: integer}}"), []string{"spec.a: string in the workspace, integer in the physical cluster"}},
		"a map of everything":           {of("a: {type: string}"), spec("{type: object, additionalProperties: true}"), nil},
		"a map into fields":             {spec("{type: object, additionalProperties: {type: string}}"), of("a: {type: string}"), []string{"spec.*: any field in the workspace, certain fields only in the physical cluster, where others would be lost"}},
		"values of maps":                {spec("{type: object, additionalProperties: {type: string}}"), spec("{type: object, additionalProperties: {type: integer}}"), []string{"spec.*: string in the workspace, integer in the physical cluster"}},
		"no fields at all":              {of("a: {type: string}"), spec("{type: object, additionalProperties: false}"), []string{"spec.a: known in the workspace, unknown in the physical cluster, where it would be lost"}},
		"unknown at the top":            {"data: {type: string}", "spec: {type: string}", []string{"data: known in the workspace, unknown in the physical cluster, where it would be lost"}},
		"elements":                      {spec("{type: array, items: {type: string}}"), spec("{type: array, items: {type: integer}}"), []string{"spec[]: string in the workspace, integer in the physical cluster"}},
		"a name that is no plain one":   {of(`"a.b/c": {type: string}`), of(`"a.b/c": {type: integer}`), []string{`spec["a.b/c"]: string in the workspace, integer in the physical cluster`}},
		"metadata is the server's":      {"metadata: {type: object, properties: {a: {type: string}}}", "metadata: {type: string}", nil},
		"status travels up":             {"status: {type: object, properties: {a: {type: string}}}", "status: {type: object, properties: {a: {type: string}, b: {type: string}}}", []string{"status.b: known in the physical cluster, unknown in the workspace, where it would be lost"}},
		"status that nobody sends down": {"status: {type: object, properties: {a: {type: string}, b: {type: string}}}", "status: {type: object, properties: {a: {type: string}}}", nil},

		"required": {
			of("a: {type: string}"), "spec: {type: object, required: [a], properties: {a: {type: string}}}",
			[]string{"spec.a: optional in the workspace, required in the physical cluster"},
		},
		"required in both":          {"spec: {type: object, required: [a], properties: {a: {type: string}}}", "spec: {type: object, required: [a], properties: {a: {type: string}}}", nil},
		"required in the workspace": {"spec: {type: object, required: [a], properties: {a: {type: string}}}", of("a: {type: string}"), nil},
		"required, with a default":  {of("a: {type: string}"), "spec: {type: object, required: [a], properties: {a: {type: string, default: x}}}", nil},
		"defaulted upstream":        {of("a: {type: string, default: x}"), "spec: {type: object, required: [a], properties: {a: {type: string}}}", nil},
		"required and unknown": {
			of("b: {type: string}"), "spec: {type: object, required: [a], properties: {a: {type: string}, b: {type: string}}}",
			[]string{"spec.a: unknown in the workspace, required in the physical cluster"},
		},
		"the zero of a Go type is no default": {
			of("a: {type: string}"), native + "spec: {type: object, required: [a], properties: {a: {type: string, default: \"\"}}}",
			[]string{"spec.a: optional in the workspace, required in the physical cluster"},
		},

		"enum":                  {spec("{type: string, enum: [a, b, c]}"), spec("{type: string, enum: [a]}"), []string{`spec: "b", "c" allowed in the workspace, not allowed in the physical cluster`}},
		"enum that is wider":    {spec("{type: string, enum: [a]}"), spec("{type: string, enum: [b, a]}"), nil},
		"enum of one side":      {spec("{type: string}"), spec("{type: string, enum: [a]}"), []string{`spec: any value in the workspace, only "a" in the physical cluster`}},
		"enum upstream":         {spec("{type: string, enum: [a]}"), spec("{type: string}"), nil},
		"enum with null":        {spec("{type: string, enum: [a, null]}"), spec("{type: string, enum: [a]}"), nil},
		"enum against Go types": {native + spec("{type: string}"), spec("{type: string, enum: [a]}"), nil},

		"maximum":               {spec("{type: integer, maximum: 100}"), spec("{type: integer, maximum: 10}"), []string{"spec: maximum 100 in the workspace, maximum 10 in the physical cluster"}},
		"maximum that is wider": {spec("{type: integer, maximum: 10}"), spec("{type: integer, maximum: 100}"), nil},
		"maximum of one side":   {spec("{type: integer}"), spec("{type: integer, maximum: 10}"), []string{"spec: no maximum in the workspace, maximum 10 in the physical cluster"}},
		"exclusive maximum":     {spec("{type: integer, maximum: 10}"), spec("{type: integer, maximum: 10, exclusiveMaximum: true}"), []string{"spec: maximum 10 in the workspace, maximum 10, exclusive, in the physical cluster"}},
		"minimum":               {spec("{type: number, minimum: 1}"), spec("{type: number, minimum: 1.5}"), []string{"spec: minimum 1 in the workspace, minimum 1.5 in the physical cluster"}},
		"lengths":               {spec("{type: string, minLength: 1, maxLength: 9}"), spec("{type: string, minLength: 2, maxLength: 8}"), []string{"spec: maxLength 9 in the workspace, maxLength 8 in the physical cluster", "spec: minLength 1 in the workspace, minLength 2 in the physical cluster"}},
		"minLength of nothing":  {spec("{type: string}"), spec("{type: string, minLength: 0}"), nil},
		"numbers of items":      {spec("{type: array, items: {type: string}}"), spec("{type: array, maxItems: 3, items: {type: string}}"), []string{"spec: no maxItems in the workspace, maxItems 3 in the physical cluster"}},
		"numbers of fields":     {spec("{type: object, additionalProperties: {}}"), spec("{type: object, minProperties: 1, additionalProperties: {}}"), []string{"spec: no minProperties in the workspace, minProperties 1 in the physical cluster"}},
		"bounds of Go types":    {spec("{type: integer}"), native + spec("{type: integer, maximum: 10}"), nil},

		"pattern":               {spec("{type: string, pattern: ^a}"), spec("{type: string, pattern: ^b}"), []string{`spec: pattern "^a" in the workspace, pattern "^b" in the physical cluster`}},
		"pattern upstream":      {spec("{type: string, pattern: ^a}"), spec("{type: string}"), nil},
		"format":                {spec("{type: string}"), spec("{type: string, format: ipv4}"), []string{`spec: no format in the workspace, format "ipv4" in the physical cluster`}},
		"format of a time":      {spec("{type: string}"), spec("{type: string, format: date-time}"), nil},
		"size of a number":      {spec("{type: integer, format: int64}"), spec("{type: integer, format: int32}"), nil},
		"enum decides, not all": {spec("{type: string, enum: [a]}"), spec("{type: string, enum: [a], maxLength: 5}"), nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			found, err := Compare(widgets, publish(t, tc.workspace), publish(t, tc.cluster))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				text := f.Path + ": " + f.Reason
				if f.Partial {
					text = "partial: " + text
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestCompareFollowsReferences: by $ref and allOf, round in circles too.
func TestCompareFollowsReferences(t *testing.T) {
	ref := func(name string) string { return `{$ref: "#/components/schemas/` + name + `"}` }
	tree := func(leaf string) []byte {
		return publish(t, "spec: "+ref("node"), "node", "{type: object, properties: {value: {type: "+leaf+"}, children: {type: array, items: "+ref("node")+"}}}")
	}
	found, err := Compare(widgets, tree("string"), tree("integer"))
	if err != nil || len(found) != 1 || found[0].Path != "spec.children[].value" {
		t.Errorf("a schema within itself: %v, %v", found, err)
	}

	whole := publish(t, "spec: {allOf: ["+ref("a")+", "+ref("b")+"], default: {}}",
		"a", "{type: object, required: [u], properties: {u: {type: string}}}", "b", "{properties: {v: {type: string}}}")
	found, err = Compare(widgets, publish(t, "spec: {type: object, properties: {v: {type: integer}}}"), whole)
	want := []Incompatibility{
		{Path: "spec.u", Reason: "unknown in the workspace, required in the physical cluster"},
		{Path: "spec.v", Reason: "integer in the workspace, string in the physical cluster"},
	}
	if diff := cmp.Diff(want, found); diff != "" || err != nil {
		t.Errorf("allOf: %v\n-want +got\n%s", err, diff)
	}

	circle := publish(t, "spec: "+ref("a"), "a", ref("b"), "b", ref("a"))
	if found, err := Compare(widgets, circle, circle); err != nil || len(found) != 0 {
		t.Errorf("a circle of nothing: %v, %v", found, err)
	}
	// Ten fields at every level that refer to the next: 10^40 paths, but few schemas.
	var levels []string
	for i := range 40 {
		var fields []string
		for j := range 10 {
			fields = append(fields, fmt.Sprintf("f%d: %s", j, ref(fmt.Sprint("s", i+1))))
		}
		levels = append(levels, fmt.Sprint("s", i), "{type: object, properties: {"+strings.Join(fields, ", ")+"}}")
	}
	wide := publish(t, "spec: "+ref("s0"), levels...)
	if found, err := Compare(widgets, wide, wide); err != nil || len(found) != 0 {
		t.Errorf("many paths: %v, %v", found, err)
	}
	nowhere := publish(t, "spec: "+ref("absent"))
	if found, err := Compare(widgets, nowhere, publish(t, "spec: {type: string}")); err != nil || len(found) != 0 {
		t.Errorf("a reference to nowhere: %v, %v", found, err)
	}
}

// TestNoVerdict: what is too much, or no document, is an error that says on which side.
func TestNoVerdict(t *testing.T) {
	fine := publish(t, "spec: {type: string}")
	deep := strings.Repeat("{type: object, properties: {a: ", maxDepth+1) + "{}" + strings.Repeat("}}", maxDepth+1)
	// Two schemas for one field at every level, each of which refers to both of the next: 2^60 ways to read them.
	var laughs []string
	for i := range 60 {
		next := fmt.Sprintf(`{allOf: [{$ref: "#/components/schemas/a%d"}, {$ref: "#/components/schemas/b%d"}]}`, i+1, i+1)
		for _, half := range []string{"a", "b"} {
			laughs = append(laughs, fmt.Sprint(half, i), "{type: object, properties: {f: "+next+", g: "+next+"}}")
		}
	}
	laugh := publish(t, `spec: {allOf: [{$ref: "#/components/schemas/a0"}, {$ref: "#/components/schemas/b0"}]}`, laughs...)
	tests := map[string]struct {
		workspace, cluster []byte
		is                 error
		words              string
	}{
		"too large":             {fine, append(slices.Clone(fine), make([]byte, maxDocument)...), ErrTooComplex, "the physical cluster"},
		"too deep":              {publish(t, "spec: "+deep), publish(t, "spec: "+deep), ErrTooComplex, "levels"},
		"not there":             {[]byte(`{"components":{"schemas":{}}}`), fine, ErrKindNotFound, "Widget in the workspace"},
		"not there, downstream": {fine, []byte(`{}`), ErrKindNotFound, "Widget in the physical cluster"},
		"no JSON":               {[]byte(`<html>`), fine, nil, "Widget in the workspace"},
		"a schema that is none": {publish(t, "spec: {type: 7}"), fine, nil, "Widget in the workspace"},
		"intertwined":           {laugh, laugh, ErrTooComplex, "steps"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			found, err := Compare(widgets, tc.workspace, tc.cluster)
			if err == nil || len(found) != 0 || tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("Compare() = %v, %v; want %v with %q", found, err, tc.is, tc.words)
			}
		})
	}
}

func TestMessage(t *testing.T) {
	many := func(n int, reason string) (list []Incompatibility) {
		for i := range n {
			list = append(list, Incompatibility{Path: fmt.Sprintf("spec.f%d", i), Reason: reason})
		}
		return list
	}
	tests := map[string]struct {
		list           []Incompatibility
		begins, ends   string
		lines, atLeast int
	}{
		"none":      {nil, "", "", 0, 0},
		"one":       {many(1, "r"), "spec.f0: r", "spec.f0: r", 1, 0},
		"two":       {many(2, "r"), "spec.f0: r; spec.f1: r", "spec.f1: r", 1, 0},
		"ten":       {many(10, "r"), "spec.f0: r; ", "spec.f9: r", 1, 0},
		"too many":  {many(100, "r"), "spec.f0: r; ", "spec.f9: r; and 90 more", 1, 0},
		"long ones": {many(10, strings.Repeat("ü", 500)), "spec.f0: ü", " more", 1, 700},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := Message(tc.list)
			if !strings.HasPrefix(got, tc.begins) || !strings.HasSuffix(got, tc.ends) || len(got) > maxMessage || len(got) < tc.atLeast || !utf8.ValidString(got) || (got == "") != (len(tc.list) == 0) {
				t.Errorf("Message() = %d bytes %q", len(got), got)
			}
		})
	}
}

// FuzzCompare: whatever two sides publish, there is an answer, and everything travels between a side and itself.
func FuzzCompare(f *testing.F) {
	f.Add(publish(f, "spec: {type: object, required: [a], properties: {a: {enum: [a, null]}}}"), publish(f, "spec: {type: string}"))
	f.Add(publish(f, `spec: {$ref: "#/components/schemas/a"}`, "a", `{allOf: [{$ref: "#/components/schemas/a"}, {minimum: 1}]}`), []byte(`{}`))
	f.Add(publish(f, "status: {additionalProperties: {type: array, items: {pattern: a}}}"), publish(f, "status: {x-kubernetes-int-or-string: true}"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, side := range [][]byte{a, b} {
			if found, err := Compare(widgets, side, side); err == nil && len(found) != 0 {
				t.Errorf("not compatible with itself: %v", found)
			}
		}
		found, err := Compare(widgets, a, b)
		if err != nil && len(found) != 0 {
			t.Errorf("an error and findings: %v, %v", found, err)
		}
		for _, in := range found {
			if in.Path == "" || in.Reason == "" || len(in.Path) > maxPath || len(in.Reason) > maxReason {
				t.Errorf("%q: %q", in.Path, in.Reason)
			}
		}
		if message := Message(found); len(found) > maxFound || len(message) > maxMessage || !utf8.ValidString(message) {
			t.Errorf("%d findings: %q", len(found), message)
		}
	})
}
