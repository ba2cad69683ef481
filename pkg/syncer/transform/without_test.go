package transform

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// TestWithout: the paths are as the API server prints them; in and want are what follows apiVersion, kind and name in
// YAML.
func TestWithout(t *testing.T) {
	tests := map[string]struct {
		reason   string
		in, want string
		fields   []string
		missing  []string
	}{
		"none":   {"", `spec: {replicas: 2}`, `spec: {replicas: 2}`, nil, nil},
		"scalar": {"", `spec: {replicas: 2, paused: true}`, `spec: {paused: true}`, []string{".spec.replicas"}, nil},
		"map":    {"", `spec: {selector: {a: b}, paused: true}`, `spec: {paused: true}`, []string{".spec.selector"}, nil},
		"list":   {"", `spec: {args: [a, b], paused: true}`, `spec: {paused: true}`, []string{".spec.args"}, nil},
		"dots and slashes": {"A key is not escaped.", `spec: {template: {metadata: {annotations: {kubectl.kubernetes.io/restartedAt: now, kubectl: x}}}}`,
			`spec: {template: {metadata: {annotations: {kubectl: x}}}}`, []string{".spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt"}, nil},
		"brackets in a key": {"", `data: {'a[0].b': x, a: y}`, `data: {a: y}`, []string{".data.a[0].b"}, nil},
		"longest key first": {"", `data: {a: x, a.b: y}`, `data: {a: x}`, []string{".data.a.b"}, nil},
		"two readings":      {"The longest key is the most likely one.", `data: {a: {b: x}, a.b: y}`, `data: {a: {b: x}}`, []string{".data.a.b"}, nil},
		"names elsewhere":   {"They identify nothing.", `spec: {name: a, labels: {workload.kcp.io/key: b}, c: d}`, `spec: {c: d}`, []string{".spec.name", ".spec.labels"}, nil},
		"no key at all":     {"Nothing speaks for the item.", `spec: {x: [{b: 1}]}`, `spec: {x: [{b: 1}]}`, []string{`.spec.x[name="a"].b`}, []string{`.spec.x[name="a"].b`}},
		"shorter key":       {"", `data: {a: x, a.b: y}`, `data: {a.b: y}`, []string{".data.a"}, nil},
		"backtracking":      {"The longest key leads nowhere.", `spec: {a.b: {x: 1}, a: {b.c: 2, d: 3}}`, `spec: {a.b: {x: 1}, a: {d: 3}}`, []string{".spec.a.b.c"}, nil},
		"part of a key":     {"A key is taken as a whole.", `spec: {replicas: 2}`, `spec: {replicas: 2}`, []string{".spec.replicasMax", ".spec.rep"}, []string{".spec.replicasMax", ".spec.rep"}},
		"not there": {"In the order in which they were named.", `spec: {replicas: 2, args: [a]}`, `spec: {args: [a]}`, []string{".spec.paused", ".spec.replicas", ".spec.args.a", ".spec[0]", ".spec.replicas.x", "", "spec", "."},
			[]string{".spec.paused", ".spec.args.a", ".spec[0]", ".spec.replicas.x", "", "spec", "."}},
		"empty parents":    {"Nothing is left to apply of them.", `{spec: {a: {b: {c: 1}}, d: {}}, data: {e: f}}`, `spec: {d: {}}`, []string{".spec.a.b.c", ".data.e"}, nil},
		"parent and child": {"Whichever comes first.", `spec: {a: {b: {c: 1}}, d: 2}`, `spec: {d: 2}`, []string{".spec.a", ".spec.a.b.c", ".spec.a.b"}, nil},
		"item by key": {"", `spec: {containers: [{name: web, image: nginx}, {name: sidecar, image: busybox}]}`,
			`spec: {containers: [{name: web}, {name: sidecar, image: busybox}]}`, []string{`.spec.containers[name="web"].image`}, nil},
		"whole item":   {"", `spec: {containers: [{name: web, image: nginx}, {name: sidecar, image: busybox}]}`, `spec: {containers: [{name: sidecar, image: busybox}]}`, []string{`.spec.containers[name="web"]`}, nil},
		"only item":    {"", `spec: {containers: [{name: web}], paused: true}`, `spec: {paused: true}`, []string{`.spec.containers[name="web"]`}, nil},
		"key of item":  {"Without it the item is another.", `spec: {containers: [{name: web}]}`, `spec: {containers: [{name: web}]}`, []string{`.spec.containers[name="web"].name`}, []string{`.spec.containers[name="web"].name`}},
		"nested items": {"", `spec: {c: [{name: web, env: [{name: X, value: "1"}, {name: Z, value: "2"}]}]}`, `spec: {c: [{name: web, env: [{name: X, value: "1"}, {name: Z}]}]}`, []string{`.spec.c[name="web"].env[name="Z"].value`}, nil},
		"several keys": {"Ports of one number and two protocols.", `spec: {ports: [{containerPort: 53, protocol: UDP, name: u}, {containerPort: 53, protocol: TCP, name: t}]}`,
			`spec: {ports: [{containerPort: 53, protocol: UDP, name: u}, {containerPort: 53, protocol: TCP}]}`, []string{`.spec.ports[containerPort=53,protocol="TCP"].name`}, nil},
		"defaulted key": {"The server has a default where the object says nothing.", `spec: {ports: [{containerPort: 80, name: http}, {containerPort: 81, name: other}]}`,
			`spec: {ports: [{containerPort: 80}, {containerPort: 81, name: other}]}`, []string{`.spec.ports[containerPort=80,protocol="TCP"].name`}, nil},
		"full match first": {"Before an item that lacks a key.", `spec: {ports: [{port: 53, name: a}, {port: 53, protocol: UDP, name: b}]}`, `spec: {ports: [{port: 53, name: a}, {port: 53, protocol: UDP}]}`, []string{`.spec.ports[port=53,protocol="UDP"].name`}, nil},
		"ambiguous":        {"It is not guessed.", `spec: {ports: [{port: 53, name: a}, {port: 53, name: b}]}`, `spec: {ports: [{port: 53, name: a}, {port: 53, name: b}]}`, []string{`.spec.ports[port=53,protocol="TCP"].name`}, []string{`.spec.ports[port=53,protocol="TCP"].name`}},
		"another item":     {"", `spec: {ports: [{port: 53, protocol: UDP, name: a}]}`, `spec: {ports: [{port: 53, protocol: UDP, name: a}]}`, []string{`.spec.ports[port=53,protocol="TCP"].name`}, []string{`.spec.ports[port=53,protocol="TCP"].name`}},
		"odd key values":   {"A value is quoted as in Go.", `spec: {c: [{name: 'a"],b=.c', x: 1, y: 2}]}`, `spec: {c: [{name: 'a"],b=.c', y: 2}]}`, []string{`.spec.c[name="a\"],b=.c"].x`}, nil},
		"set":              {"", `spec: {finalizers: [a, 'b]', c]}`, `spec: {finalizers: [a, c]}`, []string{`.spec.finalizers[="b]"]`}, nil},
		"whole set":        {"", `spec: {finalizers: [a, b], x: 1}`, `spec: {x: 1}`, []string{`.spec.finalizers[="a"]`, `.spec.finalizers[="b"]`}, nil},
		"set of others":    {"", `spec: {x: [1, true, 1.5, null, "1"]}`, `spec: {x: [1]}`, []string{`.spec.x[=true]`, `.spec.x[=1.5]`, `.spec.x[=null]`, `.spec.x[="1"]`}, nil},
		"not in the set":   {"", `spec: {x: [a]}`, `spec: {x: [a]}`, []string{`.spec.x[="b"]`, `.spec.x[=a]`}, []string{`.spec.x[="b"]`, `.spec.x[=a]`}},
		"indexes":          {"They are those of the object as it is.", `spec: {x: [a, b, c, d]}`, `spec: {x: [b, d]}`, []string{".spec.x[0]", ".spec.x[2]"}, nil},
		"field at index":   {"An item that is left empty stays, or the next ones would move up.", `spec: {x: [{a: 1}, {b: 2}]}`, `spec: {x: [{}, {b: 2}]}`, []string{".spec.x[0].a"}, nil},
		"no such index":    {"", `spec: {x: [a]}`, `spec: {x: [a]}`, []string{".spec.x[1]", ".spec.x[-1]", ".spec.x[]", ".spec.x[", ".spec.x[a", `.spec.x[a="b"`, `.spec.x[a="b";]`}, []string{".spec.x[1]", ".spec.x[-1]", ".spec.x[]", ".spec.x[", ".spec.x[a", `.spec.x[a="b"`, `.spec.x[a="b";]`}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			desired := withMetadata(t, "{name: web, namespace: kcp-1}", tc.in)
			out, missing := Without(desired, tc.fields)
			if diff := cmp.Diff(withMetadata(t, "{name: web, namespace: kcp-1}", tc.want), out); diff != "" {
				t.Errorf("%s\nWithout(): -want +got\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.missing, missing); diff != "" {
				t.Errorf("%s\nmissing: -want +got\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(withMetadata(t, "{name: web, namespace: kcp-1}", tc.in), desired); diff != "" {
				t.Errorf("the argument was changed:\n%s", diff)
			}
		})
	}
}

// TestWithoutProtected: what a copy needs stays, whatever is named.
func TestWithoutProtected(t *testing.T) {
	const metadata = `{name: web, namespace: kcp-1, labels: {app: web, workload.kcp.io/key: k}, annotations: {a: b, workload.kcp.io/applied-hash: h}}`
	protected := []string{".apiVersion", ".kind", ".metadata", ".metadata.name", ".metadata.namespace", ".metadata.labels", ".metadata.annotations",
		".metadata.labels.workload.kcp.io/key", ".metadata.annotations.workload.kcp.io/applied-hash"}
	desired := withMetadata(t, metadata, "")
	out, missing := Without(desired, protected)
	if diff := cmp.Diff(desired, out); diff != "" {
		t.Errorf("Without(): -want +got\n%s", diff)
	}
	if diff := cmp.Diff(protected, missing); diff != "" {
		t.Errorf("missing: -want +got\n%s", diff)
	}
	out, missing = Without(desired, []string{".metadata.labels.app", ".metadata.annotations.a"})
	want := withMetadata(t, `{name: web, namespace: kcp-1, labels: {workload.kcp.io/key: k}, annotations: {workload.kcp.io/applied-hash: h}}`, "")
	if diff := cmp.Diff(want, out); diff != "" || missing != nil {
		t.Errorf("Without() the user's own, missing %q: -want +got\n%s", missing, diff)
	}
	out, missing = Without(withMetadata(t, `{name: web, labels: {app: web}}`, ""), []string{".metadata.labels"})
	if diff := cmp.Diff(withMetadata(t, `{name: web}`, ""), out); diff != "" || missing != nil {
		t.Errorf("Without() labels that are all the user's, missing %q: -want +got\n%s", missing, diff)
	}
}

func withMetadata(t *testing.T, metadata, rest string) *unstructured.Unstructured {
	t.Helper()
	content := map[string]any{}
	if err := yaml.Unmarshal([]byte(rest), &content); err != nil {
		t.Fatal(err)
	}
	var meta map[string]any
	if err := yaml.Unmarshal([]byte(metadata), &meta); err != nil {
		t.Fatal(err)
	}
	if content == nil {
		content = map[string]any{}
	}
	content["apiVersion"], content["kind"], content["metadata"] = "example.com/v1", "Example", meta
	data, err := (&unstructured.Unstructured{Object: content}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var object unstructured.Unstructured // with integers as the API server's JSON gives them
	if err := object.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return &object
}
