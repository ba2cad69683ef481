package transform

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestAllocated(t *testing.T) {
	tests := map[string]struct {
		reason        string
		live, desired string
		want          map[string]string
	}{
		"Service": {
			reason:  "The cluster chose each of them.",
			desired: "{apiVersion: v1, kind: Service, spec: {type: LoadBalancer, ports: [{name: http, port: 80}]}}",
			live: `{apiVersion: v1, kind: Service, spec: {clusterIP: 10.0.0.7, clusterIPs: [10.0.0.7], healthCheckNodePort: 31000,
				ports: [{name: http, port: 80, nodePort: 30080}]}}`,
			want: map[string]string{
				"spec.clusterIP": "10.0.0.7", "spec.healthCheckNodePort": "31000", "spec.ports[http].nodePort": "30080",
			},
		},
		"Service of two families": {
			reason:  "The second address is nowhere else.",
			desired: "{apiVersion: v1, kind: Service, spec: {}}",
			live:    "{apiVersion: v1, kind: Service, spec: {clusterIP: 10.0.0.7, clusterIPs: [10.0.0.7, 'fd00::7']}}",
			want:    map[string]string{"spec.clusterIP": "10.0.0.7", "spec.clusterIPs[1]": "fd00::7"},
		},
		"Service with the user's values": {
			reason: "The user knows them.",
			desired: `{apiVersion: v1, kind: Service, spec: {clusterIP: 10.0.0.7, clusterIPs: [10.0.0.7, 'fd00::7'], healthCheckNodePort: 31000,
				ports: [{name: http, port: 80, nodePort: 30080}, {name: dns, port: 53}]}}`,
			live: `{apiVersion: v1, kind: Service, spec: {clusterIP: 10.0.0.7, clusterIPs: [10.0.0.7, 'fd00::7'], healthCheckNodePort: 31000,
				ports: [{name: dns, port: 53, nodePort: 30053}, {name: http, port: 80, nodePort: 30080}]}}`,
			want: map[string]string{"spec.ports[dns].nodePort": "30053"},
		},
		"zero values": {
			reason:  "They ask for an allocation.",
			desired: "{apiVersion: v1, kind: Service, spec: {clusterIP: '', ports: [{port: 80, nodePort: 0}]}}",
			live:    "{apiVersion: v1, kind: Service, spec: {clusterIP: 10.0.0.7, ports: [{port: 80, nodePort: 30080}]}}",
			want:    map[string]string{"spec.clusterIP": "10.0.0.7", "spec.ports[80].nodePort": "30080"},
		},
		"headless Service": {
			reason:  "None is no address.",
			desired: "{apiVersion: v1, kind: Service, spec: {}}",
			live:    "{apiVersion: v1, kind: Service, spec: {clusterIP: None, clusterIPs: [None], ports: [{port: 80}]}}",
		},
		"claim": {
			reason:  "The cluster bound it.",
			desired: "{apiVersion: v1, kind: PersistentVolumeClaim, spec: {}}",
			live:    "{apiVersion: v1, kind: PersistentVolumeClaim, spec: {volumeName: pvc-123}}",
			want:    map[string]string{"spec.volumeName": "pvc-123"},
		},
		"claim with the user's volume": {
			reason:  "The user knows it.",
			desired: "{apiVersion: v1, kind: PersistentVolumeClaim, spec: {volumeName: pv-7}}",
			live:    "{apiVersion: v1, kind: PersistentVolumeClaim, spec: {volumeName: pv-7}}",
		},
		"claim that is not bound": {
			desired: "{apiVersion: v1, kind: PersistentVolumeClaim, spec: {}}",
			live:    "{apiVersion: v1, kind: PersistentVolumeClaim, spec: {}}",
		},
		"another kind": {
			reason:  "A field of the same name means something else.",
			desired: "{apiVersion: example.com/v1, kind: Service, spec: {}}",
			live:    "{apiVersion: example.com/v1, kind: Service, spec: {clusterIP: 10.0.0.7}}",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Allocated(parse(t, tc.live), parse(t, tc.desired))); diff != "" {
				t.Errorf("%s\n(-want +got)\n%s", tc.reason, diff)
			}
		})
	}
}

func TestAllocatedWithoutObjects(t *testing.T) {
	if got := Allocated(nil, nil); got != nil {
		t.Errorf("without a copy: %v", got)
	}
	if got := Allocated(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Service"}}, nil); got != nil {
		t.Errorf("without a spec: %v", got)
	}
}
