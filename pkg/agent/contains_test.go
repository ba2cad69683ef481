package agent

import (
	"testing"

	"sigs.k8s.io/yaml"
)

func TestContains(t *testing.T) {
	tests := map[string]struct {
		reason string
		want   string
		have   string
		ok     bool
	}{
		"the same":                 {"", `{a: {b: 1}}`, `{a: {b: 1}}`, true},
		"server default":           {"What nobody asked for is the server's or somebody else's.", `{a: {b: 1}}`, `{a: {b: 1, c: 2}, d: 3}`, true},
		"other value":              {"Drift.", `{a: {b: 1}}`, `{a: {b: 2}}`, false},
		"missing":                  {"Drift.", `{a: {b: 1}}`, `{a: {}}`, false},
		"missing map":              {"Drift.", `{a: {b: 1}}`, `{}`, false},
		"other type":               {"Drift, and no panic.", `{a: 1}`, `{a: {b: 1}}`, false},
		"zero is a value":          {"replicas: 0 is wanted, not absent.", `{replicas: 0}`, `{replicas: 1}`, false},
		"false is a value":         {"So is a switch that is off.", `{automount: false}`, `{automount: true}`, false},
		"false is not absent":      {"", `{automount: false}`, `{}`, false},
		"list longer":              {"A verb or a subject more is a right more.", `{verbs: [get]}`, `{verbs: [get, delete]}`, false},
		"list shorter":             {"", `{verbs: [get, list]}`, `{verbs: [get]}`, false},
		"list order":               {"An argument list is one value.", `{args: [a, b]}`, `{args: [b, a]}`, false},
		"list default":             {"Servers fill in the elements of lists, too.", `{subjects: [{name: a}]}`, `{subjects: [{name: a, apiGroup: ""}]}`, true},
		"subject added":            {"A binding of ours binds ours only.", `{subjects: [{name: a}]}`, `{subjects: [{name: a}, {name: b}]}`, false},
		"sidecar":                  {"An apply leaves what others merged in, so it is no difference.", `{containers: [{name: a, image: i}]}`, `{containers: [{name: x}, {name: a, image: i}]}`, true},
		"container changed":        {"", `{containers: [{name: a, image: i}]}`, `{containers: [{name: a, image: j}, {name: b, image: i}]}`, false},
		"container gone":           {"", `{containers: [{name: a}]}`, `{containers: []}`, false},
		"finalizer of others":      {"", `{finalizers: [a]}`, `{finalizers: [b, a]}`, true},
		"finalizer gone":           {"", `{finalizers: [a]}`, `{finalizers: [b]}`, false},
		"quantity in another form": {"Servers may print 1000m as 1.", `{limits: {cpu: 1000m}}`, `{limits: {cpu: "1"}}`, true},
		"quantity changed":         {"", `{limits: {cpu: 1000m}}`, `{limits: {cpu: "2"}}`, false},
		"quantity gone":            {"", `{requests: {cpu: 1000m}}`, `{requests: {}}`, false},
		"not a quantity":           {"", `{data: {cpu: 1000m}}`, `{data: {cpu: "1"}}`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var want, have map[string]any
			for text, into := range map[string]*map[string]any{test.want: &want, test.have: &have} {
				if err := yaml.Unmarshal([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			if test.want == test.have {
				have = want
			}
			if got := contains(have, want, ""); got != test.ok {
				t.Errorf("%s\n%s contains %s: %t, want %t", test.reason, test.have, test.want, got, test.ok)
			}
		})
	}
}
