package credentials

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

func TestRefusalOf(t *testing.T) {
	target := func(name, namespace string) workloadv1alpha1.SyncTarget {
		target := workloadv1alpha1.SyncTarget{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if namespace != "" {
			target.Spec.KubeconfigSecretRef = &workloadv1alpha1.KubeconfigSecretReference{Namespace: namespace, Name: "kubeconfig"}
		}
		return target
	}
	targets := []workloadv1alpha1.SyncTarget{target("edge-1", ""), target("edge-2", "default")}
	targets[0].Status.Key = "0123456789abcdef"
	tests := map[string]struct {
		namespace metav1.ObjectMeta
		want      string
	}{
		"others":                                {metav1.ObjectMeta{Name: "shop"}, ""},
		"kubeconfig":                            {metav1.ObjectMeta{Name: "default"}, `it holds the kubeconfig of SyncTarget "edge-2", which is never synced; keep kubeconfigs in a Namespace of their own`},
		"identity without its label":            {metav1.ObjectMeta{Name: "kcp-syncer-edge-1-0123456789abcdef"}, "it holds the identity of a syncer, which is never synced"},
		"name of a syncer without a SyncTarget": {metav1.ObjectMeta{Name: "kcp-syncer-edge-9-0123456789abcdef"}, ""},
		"identity":                              {metav1.ObjectMeta{Name: "kcp-syncer", Labels: map[string]string{workloadv1alpha1.LabelKey: "k"}}, "it holds the identity of a syncer, which is never synced"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := RefusalOf(&tc.namespace, targets); got != tc.want {
				t.Errorf("RefusalOf() = %q, want %q", got, tc.want)
			}
		})
	}
}
