package transform

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// TestWithDefaults: what a server has derived at the creation is applied too, and nothing that others have added.
func TestWithDefaults(t *testing.T) {
	desired := parse(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {a: b}}
spec:
  strategy: {type: Recreate}
  template:
    spec:
      containers:
      - name: web
        image: web:1
        resources: {requests: {cpu: 1000m}}
      - name: log
        image: log:1
`)
	fresh := parse(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: dry-run-1, uid: other}
spec:
  replicas: 1
  paused: true
  strategy: {type: Recreate}
  template:
    spec:
      dnsPolicy: ClusterFirst
      containers:
      - name: web
        image: web:1
        terminationMessagePath: /dev/termination-log
        resources: {requests: {cpu: "1"}}
        env: [{name: INJECTED, value: x}]
      - name: sidecar
        image: sidecar:1
      - name: log
        image: log:1
        terminationMessagePath: /dev/termination-log
status: {}
`)
	fresh.SetManagedFields([]metav1.ManagedFieldsEntry{
		{Manager: "other", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:paused":{}}}`)}},
		{Manager: workloadv1alpha1.FieldOwnerSyncer, Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:annotations":{"f:a":{}}},"f:spec":{"f:replicas":{},"f:strategy":{"f:type":{}},"f:template":{"f:spec":{"f:dnsPolicy":{},"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:name":{},"f:image":{},"f:terminationMessagePath":{},"f:resources":{".":{},"f:requests":{".":{},"f:cpu":{}}}},"k:{\"name\":\"log\"}":{".":{},"f:image":{},"f:terminationMessagePath":{}}}}}}}`)}},
	})
	got, err := WithDefaults(desired, fresh)
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {a: b}}
spec:
  replicas: 1
  strategy: {type: Recreate}
  template:
    spec:
      dnsPolicy: ClusterFirst
      containers:
      - name: web
        image: web:1
        terminationMessagePath: /dev/termination-log
        resources: {requests: {cpu: 1000m}}
      - name: log
        image: log:1
        terminationMessagePath: /dev/termination-log
`)
	if diff := cmp.Diff(want.Object, got.Object); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	fresh.SetManagedFields(nil)
	if _, err := WithDefaults(desired, fresh); err == nil {
		t.Error("an answer without managedFields is no error")
	}
}

// TestForDryRun: a second object beside the copy claims nothing that a cluster gives only once.
func TestForDryRun(t *testing.T) {
	service := parse(t, `
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {workload.kcp.io/applied-hash: 0123456789abcdef}}
spec: {clusterIP: 10.0.0.7, clusterIPs: [10.0.0.7], healthCheckNodePort: 31000, ports: [{port: 80, nodePort: 30080}]}
`)
	got := ForDryRun(service)
	want := parse(t, `
apiVersion: v1
kind: Service
metadata: {name: dry-run-01234567, annotations: {workload.kcp.io/applied-hash: 0123456789abcdef}}
spec: {ports: [{port: 80}]}
`)
	if diff := cmp.Diff(want.Object, got.Object); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	headless := parse(t, `{apiVersion: v1, kind: Service, metadata: {name: db, annotations: {workload.kcp.io/applied-hash: 0123456789abcdef}}, spec: {clusterIP: None}}`)
	if ip, _, _ := unstructured.NestedString(ForDryRun(headless).Object, "spec", "clusterIP"); ip != "None" {
		t.Errorf("the clusterIP of a headless Service is %q", ip)
	}
}

// TestPropagation: the annotation decides, then the finalizers that are there, then those that were seen.
func TestPropagation(t *testing.T) {
	for name, tc := range map[string]struct {
		annotation string
		finalizers []string
		seen       metav1.DeletionPropagation
		want       metav1.DeletionPropagation
	}{
		"plain":                    {"", nil, "", metav1.DeletePropagationBackground},
		"--cascade=orphan":         {"", []string{"orphan"}, "", metav1.DeletePropagationOrphan},
		"--cascade=foreground":     {"", []string{"foregroundDeletion"}, "", metav1.DeletePropagationForeground},
		"the finalizer has gone":   {"", nil, metav1.DeletePropagationOrphan, metav1.DeletePropagationOrphan},
		"annotated":                {"orphan", nil, "", metav1.DeletePropagationOrphan},
		"annotated, and otherwise": {"Background", []string{"orphan"}, "", metav1.DeletePropagationBackground},
		"annotated with nonsense":  {"yes", nil, "", metav1.DeletePropagationBackground},
	} {
		t.Run(name, func(t *testing.T) {
			o := &metav1.ObjectMeta{Finalizers: tc.finalizers, Annotations: map[string]string{workloadv1alpha1.AnnotationCascade: tc.annotation}}
			if got := Propagation(o, tc.seen); got != tc.want {
				t.Errorf("Propagation() = %s, want %s", got, tc.want)
			}
		})
	}
}
