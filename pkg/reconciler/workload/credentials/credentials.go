// Package credentials tells which Namespaces of a workspace hold credentials of SyncTargets, and so are never synced.
package credentials

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// RefusalOf says why a Namespace of a workspace with these SyncTargets is not synced: what is in it would give somebody's
// credentials away. It is empty for no reason. The Namespace of an identity is known by its name, too, since users can take the
// label off.
func RefusalOf(namespace metav1.Object, targets []workloadv1alpha1.SyncTarget) string {
	const identity = "it holds the identity of a syncer, which is never synced"
	if namespace.GetLabels()[workloadv1alpha1.LabelKey] != "" {
		return identity
	}
	for i := range targets {
		if key := targets[i].Status.Key; key != "" && namespace.GetName() == workloadv1alpha1.SyncerNamespace(targets[i].Name, key) {
			return identity
		}
		if ref := targets[i].Spec.KubeconfigSecretRef; ref != nil && ref.Namespace == namespace.GetName() {
			return fmt.Sprintf("it holds the kubeconfig of SyncTarget %q, which is never synced; keep kubeconfigs in a Namespace of their own", targets[i].Name)
		}
	}
	return ""
}
