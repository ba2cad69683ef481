package downstream

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStrip(t *testing.T) {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")}
	identity := metav1.ObjectMeta{Name: "n-1", UID: "u-1", ResourceVersion: "7"}
	full := identity
	full.Labels = map[string]string{"a": "b"}
	full.Annotations = map[string]string{"a": "b"}
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}

	cases := map[string]struct {
		reason string
		object any
		want   any
	}{
		"Node": {
			reason: "What is measured stays, what is large goes.",
			object: &corev1.Node{
				ObjectMeta: full,
				Spec:       corev1.NodeSpec{ProviderID: "p", Unschedulable: true, Taints: []corev1.Taint{{Key: "k"}}},
				Status: corev1.NodeStatus{
					Capacity: list, Allocatable: list,
					Conditions: []corev1.NodeCondition{
						{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse},
						{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now()},
					},
					Images:   []corev1.ContainerImage{{Names: []string{"i"}}},
					NodeInfo: corev1.NodeSystemInfo{KernelVersion: "6"},
				},
			},
			want: &corev1.Node{
				ObjectMeta: identity,
				Status: corev1.NodeStatus{
					Capacity: list, Allocatable: list,
					Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
				},
			},
		},
		"SilentNode": {
			reason: "A node that never reported is not ready, and no condition is made up.",
			object: &corev1.Node{ObjectMeta: full},
			want:   &corev1.Node{ObjectMeta: identity},
		},
		"Other": {
			reason: "What is no Node is not its business.",
			object: &corev1.Pod{ObjectMeta: full},
			want:   &corev1.Pod{ObjectMeta: full},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := strip(tc.object)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("\n%s\nstrip(): -want, +got:\n%s", tc.reason, diff)
			}
			again, err := strip(got)
			if diff := cmp.Diff(got, again); diff != "" || err != nil {
				t.Errorf("want a second pass, which informers may do, to change nothing; got %v and:\n%s", err, diff)
			}
		})
	}
}

func TestMapperKnowsNodesOnly(t *testing.T) {
	mapping, err := Mapper().RESTMapping(corev1.SchemeGroupVersion.WithKind("Node").GroupKind(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	if mapping.Resource.Resource != "nodes" || mapping.Scope.Name() != meta.RESTScopeNameRoot {
		t.Errorf("want cluster-scoped nodes, got %v in scope %q", mapping.Resource, mapping.Scope.Name())
	}
	if _, err := Mapper().RESTMapping(corev1.SchemeGroupVersion.WithKind("Secret").GroupKind(), "v1"); !meta.IsNoMatchError(err) {
		t.Errorf("want no other kind to be cached by mistake, got %v", err)
	}
}
