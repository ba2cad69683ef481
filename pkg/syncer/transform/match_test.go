package transform

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// deployment is a Deployment with the fields of a Pod, of which the container "web" has those of container.
func deployment(pod, container string) string {
	return fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {%s containers: [{name: web, %s}]}}}}`, pod, container)
}

func TestDifferences(t *testing.T) {
	const web = "spec.template.spec.containers[name=web]"
	tests := map[string]struct {
		reason        string
		desired, live string
		want          []string
	}{
		// Removed by hand.
		"false of a pointer": {
			reason:  "Absent means true for a ServiceAccount.",
			desired: "{apiVersion: v1, kind: ServiceAccount, automountServiceAccountToken: false}",
			live:    "{apiVersion: v1, kind: ServiceAccount}",
			want:    []string{"automountServiceAccountToken"},
		},
		"false of a pointer in a container": {
			reason:  "Absent means true.",
			desired: deployment("", "securityContext: {allowPrivilegeEscalation: false}"),
			live:    deployment("", "securityContext: {}"),
			want:    []string{web + ".securityContext.allowPrivilegeEscalation"},
		},
		"zero of a pointer": {
			reason:  "Absent means one.",
			desired: "{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 0}}",
			live:    "{apiVersion: apps/v1, kind: Deployment, spec: {}}",
			want:    []string{"spec.replicas"},
		},
		"empty key of a ConfigMap": {
			reason:  "A Pod that mounts it finds no file.",
			desired: "{apiVersion: v1, kind: ConfigMap, data: {empty: '', full: x}}",
			live:    "{apiVersion: v1, kind: ConfigMap, data: {full: x}}",
			want:    []string{"data.empty"},
		},
		"label with an empty value": {
			reason:  "A selector may ask for its existence.",
			desired: "{apiVersion: v1, kind: ConfigMap, metadata: {labels: {example.com/edge: ''}}}",
			live:    "{apiVersion: v1, kind: ConfigMap, metadata: {labels: {app: x}}}",
			want:    []string{"metadata.labels[example.com/edge]"},
		},
		"annotation of the syncer": {
			reason:  "The syncer finds the object by it.",
			desired: "{apiVersion: v1, kind: ConfigMap, metadata: {annotations: {workload.kcp.io/source-name: a}}}",
			live:    "{apiVersion: v1, kind: ConfigMap, metadata: {annotations: {note: x}}}",
			want:    []string{"metadata.annotations[workload.kcp.io/source-name]"},
		},
		"emptyDir": {
			reason:  "An empty struct behind a pointer is stored, and chooses the kind of the volume.",
			desired: deployment("volumes: [{name: cache, emptyDir: {}}],", "image: web"),
			live:    deployment("volumes: [{name: cache, hostPath: {path: /}}],", "image: web"),
			want:    []string{"spec.template.spec.volumes[name=cache].emptyDir"},
		},
		"selector of all": {
			reason:  "An empty struct behind a pointer means all, an absent one none.",
			desired: "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {ingress: [{from: [{podSelector: {}}]}]}}",
			live:    "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {ingress: [{from: [{namespaceSelector: {}}]}]}}",
			want:    []string{"spec.ingress[0].from[0].podSelector"},
		},

		// Not stored by the API server.
		"zero values that are omitted": {
			reason:  "They have no pointer in Go.",
			desired: deployment("hostNetwork: false, hostPID: false, priorityClassName: '', nodeSelector: {}, tolerations: [],", "env: [{name: A, value: ''}], command: []"),
			live:    deployment("", "env: [{name: A}]"),
		},
		"what Go clients write": {
			reason:  "They cannot omit a struct or a time.",
			desired: "{apiVersion: apps/v1, kind: Deployment, spec: {strategy: {}, template: {metadata: {creationTimestamp: null}, spec: {containers: [{name: web, resources: {}}]}}}}",
			live:    "{apiVersion: apps/v1, kind: Deployment, spec: {strategy: {type: RollingUpdate}, template: {metadata: {}, spec: {containers: [{name: web, resources: {}}]}}}}",
		},
		"what the typed form adds": {
			reason:  "The desired object has no status, strategy or resources.",
			desired: deployment("hostNetwork: false,", "image: web"),
			live:    deployment("", "image: web"),
		},
		"zero values that are defaulted": {
			reason:  "A server takes them for absent, and sets the fields.",
			desired: "{apiVersion: v1, kind: Service, spec: {type: '', clusterIP: '', ports: [{port: 80, targetPort: 0, nodePort: 0, protocol: ''}]}}",
			live:    "{apiVersion: v1, kind: Service, spec: {type: NodePort, clusterIP: 10.0.0.7, ports: [{port: 80, targetPort: 80, nodePort: 30080, protocol: TCP}]}}",
		},
		"policy types": {
			reason:  "An empty list of them is defaulted.",
			desired: "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {policyTypes: []}}",
			live:    "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {policyTypes: [Ingress]}}",
		},

		// Not stored, but set by hand.
		"true for false": {
			reason:  "A server defaults no such field to true.",
			desired: deployment("hostNetwork: false,", "image: web"),
			live:    deployment("hostNetwork: true,", "image: web"),
			want:    []string{"spec.template.spec.hostNetwork"},
		},
		"value for an empty string": {
			reason:  "",
			desired: deployment("", "env: [{name: A, value: ''}]"),
			live:    deployment("", "env: [{name: A, value: x}]"),
			want:    []string{web + ".env[name=A].value"},
		},
		"items for an empty list": {
			reason:  "A rule lets traffic in.",
			desired: "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {ingress: []}}",
			live:    "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {ingress: [{}]}}",
			want:    []string{"spec.ingress"},
		},

		// Rewritten by the API server.
		"quantity": {
			reason:  "1000m is 1.",
			desired: deployment("", "resources: {limits: {cpu: 1000m, memory: 1024Mi}, requests: {cpu: 1}}"),
			live:    deployment("", "resources: {limits: {cpu: '1', memory: 1Gi}, requests: {cpu: '1'}}"),
		},
		"size of an emptyDir": {
			desired: deployment("volumes: [{name: tmp, emptyDir: {sizeLimit: 1024Mi}}],", "image: web"),
			live:    deployment("volumes: [{name: tmp, emptyDir: {sizeLimit: 1Gi}}],", "image: web"),
		},
		"another quantity": {
			desired: deployment("", "resources: {limits: {cpu: 1000m, memory: 1024Mi}}"),
			live:    deployment("", "resources: {limits: {cpu: '2', memory: 1Gi}}"),
			want:    []string{web + ".resources.limits.cpu"},
		},
		"string like a quantity": {
			reason:  "A version is none, even under a key that elsewhere holds one.",
			desired: "{apiVersion: v1, kind: ConfigMap, data: {limits: '1.10'}}",
			live:    "{apiVersion: v1, kind: ConfigMap, data: {limits: '1.1'}}",
			want:    []string{"data.limits"},
		},
		"time": {
			reason:  "A server writes it in UTC.",
			desired: "{apiVersion: apps/v1, kind: Deployment, spec: {template: {metadata: {creationTimestamp: '2026-01-01T01:00:00+01:00'}}}}",
			live:    "{apiVersion: apps/v1, kind: Deployment, spec: {template: {metadata: {creationTimestamp: '2026-01-01T00:00:00Z'}}}}",
		},
		"encoded bytes": {
			reason:  "base64 writes 76 characters to a line, a server all of them.",
			desired: "{apiVersion: v1, kind: Secret, data: {p: \"eHg=\\n\"}}",
			live:    "{apiVersion: v1, kind: Secret, data: {p: eHg=}}",
		},

		// Fields that our Go types do not know.
		"unknown field": {
			reason:  "A newer API may store its zero value.",
			desired: deployment("hostNetwork: false, newField: false, newList: [],", "newField: ''"),
			live:    deployment("", "image: web"),
			want:    []string{web + ".newField", "spec.template.spec.newField", "spec.template.spec.newList"},
		},
		"unknown field that is there": {
			desired: deployment("hostNetwork: false, newField: {a: 1000m},", "image: web"),
			live:    deployment("newField: {a: 1000m},", "image: web"),
		},
		"unknown field with another value": {
			desired: deployment("hostNetwork: false, newField: {a: 1000m},", "image: web"),
			live:    deployment("newField: {a: '1'},", "image: web"),
			want:    []string{"spec.template.spec.newField.a"},
		},
		"not convertible": {
			reason:  "A server refuses it; it is compared as it was written.",
			desired: "{apiVersion: apps/v1, kind: Deployment, spec: {paused: false, replicas: two}}",
			live:    "{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 2}}",
			want:    []string{"spec.paused", "spec.replicas"},
		},

		// Custom kinds: their server stores what was written.
		"zero values of a custom kind": {
			desired: "{apiVersion: example.com/v1, kind: Widget, spec: {a: false, b: 0, c: '', d: {}, e: []}}",
			live:    "{apiVersion: example.com/v1, kind: Widget, spec: {}}",
			want:    []string{"spec.a", "spec.b", "spec.c", "spec.d", "spec.e"},
		},
		"quantity of a custom kind": {
			desired: "{apiVersion: example.com/v1, kind: Widget, spec: {limits: {cpu: 1000m}}}",
			live:    "{apiVersion: example.com/v1, kind: Widget, spec: {limits: {cpu: '1'}}}",
			want:    []string{"spec.limits.cpu"},
		},
		"null of a custom kind": {
			reason:  "It asks for nothing.",
			desired: "{apiVersion: example.com/v1, kind: Widget, spec: {a: null, b: null}}",
			live:    "{apiVersion: example.com/v1, kind: Widget, spec: {b: null}}",
		},
		"number": {
			reason:  "JSON has one kind of number.",
			desired: "{apiVersion: example.com/v1, kind: Widget, spec: {a: 3, b: 3.5}}",
			live:    "{apiVersion: example.com/v1, kind: Widget, spec: {a: 3.0, b: 3.5}}",
		},
		"number for a string": {
			desired: "{apiVersion: example.com/v1, kind: Widget, spec: {a: 3}}",
			live:    "{apiVersion: example.com/v1, kind: Widget, spec: {a: '3'}}",
			want:    []string{"spec.a"},
		},
		"string for a map": {
			desired: "{apiVersion: example.com/v1, kind: Widget, spec: {a: {b: c}, d: [e]}}",
			live:    "{apiVersion: example.com/v1, kind: Widget, spec: {a: b, d: e}}",
			want:    []string{"spec.a", "spec.d"},
		},

		// What others add.
		"defaults": {
			reason:  "A server adds them.",
			desired: deployment("", "image: web"),
			live:    deployment("restartPolicy: Always,", "image: web, imagePullPolicy: Always"),
		},
		"image": {
			desired: deployment("", "image: web:v1"),
			live:    deployment("", "image: web:v2"),
			want:    []string{web + ".image"},
		},

		// Lists.
		"items in another order": {
			reason:  "A server may merge lists.",
			desired: "{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{name: a}, {name: b}]}}}}",
			live:    "{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{name: b}, {name: a}]}}}}",
		},
		"item more": {
			reason:  "A sidecar may stay, a rule that lets more in may not; the server knows.",
			desired: deployment("", "image: web"),
			live:    "{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{name: z}, {name: web, image: web}]}}}}",
			want:    []string{"spec.template.spec.containers"},
		},
		"argument more": {
			reason:  "It does something else.",
			desired: deployment("", "args: [a]"),
			live:    deployment("", "args: [a, b]"),
			want:    []string{web + ".args"},
		},
		"pull Secret of the cluster": {
			reason:  "Some clusters give every account the Secrets of their registry.",
			desired: "{apiVersion: v1, kind: ServiceAccount, imagePullSecrets: [{name: a}]}",
			live:    "{apiVersion: v1, kind: ServiceAccount, imagePullSecrets: [{name: z}, {name: a}]}",
		},
		"pull Secret gone": {
			desired: "{apiVersion: v1, kind: ServiceAccount, imagePullSecrets: [{name: a}]}",
			live:    "{apiVersion: v1, kind: ServiceAccount, imagePullSecrets: [{name: z}]}",
			want:    []string{"imagePullSecrets[name=a]"},
		},
		"items without a name": {
			desired: "{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {rules: [{host: a}, {host: b}]}}",
			live:    "{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {rules: [{host: a}]}}",
			want:    []string{"spec.rules[1]"},
		},
		"item without a name that differs": {
			desired: "{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {rules: [{host: a}, {host: b}]}}",
			live:    "{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {rules: [{host: a}, {host: c}]}}",
			want:    []string{"spec.rules[1].host"},
		},
		"scalars": {
			desired: deployment("", "args: [a, b]"),
			live:    deployment("", "args: [a, c]"),
			want:    []string{web + ".args[1]"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			live, desired := parse(t, tc.live), parse(t, tc.desired)
			before := desired.DeepCopy()
			if diff := cmp.Diff(tc.want, Differences(live, desired)); diff != "" {
				t.Errorf("%s\n(-want +got)\n%s", tc.reason, diff)
			}
			if Matches(live, desired) != (len(tc.want) == 0) {
				t.Errorf("%s\nMatches() = %t", tc.reason, len(tc.want) != 0)
			}
			if diff := cmp.Diff(before, desired); diff != "" {
				t.Errorf("the desired object was changed:\n%s", diff)
			}
		})
	}
}

func TestDifferencesAreFew(t *testing.T) {
	desired, live := &unstructured.Unstructured{Object: map[string]any{}}, &unstructured.Unstructured{Object: map[string]any{}}
	for i := range 50 {
		desired.Object[fmt.Sprintf("field%02d", i)] = "x"
	}
	found := Differences(live, desired)
	if len(found) != 20 || !slices.IsSorted(found) || found[0] != "field00" || found[19] != "field19" {
		t.Errorf("not the first twenty: %q", found)
	}
}

func TestMatchesComparesTheHash(t *testing.T) {
	object := func(hash string) *unstructured.Unstructured {
		o := parse(t, "{apiVersion: v1, kind: ConfigMap}")
		o.SetAnnotations(map[string]string{workloadv1alpha1.AnnotationAppliedHash: hash})
		return o
	}
	if Matches(object("a"), object("b")) || !Matches(object("a"), object("a")) {
		t.Error("A field that was applied last, and is desired no more, is known by the hash alone.")
	}
}
