package transform

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
)

var secretKind = schema.GroupKind{Kind: "Secret"}

// IsWanted tells whether an object of an assigned Namespace is to have a copy.
func IsWanted(object *unstructured.Unstructured) bool {
	return object.GetDeletionTimestamp() == nil && NotSynced(object) == ""
}

// NotSynced returns why an object of an assigned Namespace is not synced, as a sentence for its user: that it never is, or that
// it is opted out. It is empty for an object that is to be synced.
func NotSynced(object *unstructured.Unstructured) (reason string) {
	if reason := NeverSynced(object); reason != "" {
		return reason
	}
	if object.GetLabels()[workloadv1alpha1.LabelSync] == "false" {
		return fmt.Sprintf("the label %s=false keeps this object from being synced; remove the label to sync it", workloadv1alpha1.LabelSync)
	}
	return ""
}

// NeverSynced returns why an object is never synced, whatever its label workload.kcp.io/sync says, as a sentence for its user.
// Such an object has a meaning on its own side only, or gives access to a cluster. It is empty for any other object.
func NeverSynced(object *unstructured.Unstructured) (reason string) {
	gk := object.GroupVersionKind().GroupKind()
	switch {
	case gk == secretKind:
		return neverSyncedSecret(object)
	case gk.Group == "" && naming.IsClusterDefault(gk.Kind, object.GetName()):
		return neverSyncedDefault(object)
	}
	return ""
}

// neverSyncedSecret returns why a Secret is never synced, empty for one that may be.
func neverSyncedSecret(secret *unstructured.Unstructured) (reason string) {
	kind, _, _ := unstructured.NestedString(secret.Object, "type")
	isHold := func(finalizer string) bool {
		return strings.HasPrefix(finalizer, workloadv1alpha1.SyncTargetFinalizerPrefix)
	}
	switch {
	case kind == string(corev1.SecretTypeServiceAccountToken):
		return "this Secret is the token of a ServiceAccount and valid in its workspace only; the physical cluster issues its own tokens"
	case slices.ContainsFunc(secret.GetFinalizers(), isHold):
		return "a SyncTarget uses this Secret to connect to its physical cluster; such a Secret does not leave the workspace"
	case secret.GetLabels()[workloadv1alpha1.LabelVisible] == "true":
		// Before a SyncTarget refers to it, and after.
		return fmt.Sprintf("the label %s=true marks this Secret as the kubeconfig of a physical cluster, which does not leave the workspace; "+
			"remove the label if it is none", workloadv1alpha1.LabelVisible)
	}
	return ""
}

// neverSyncedDefault returns why an object is never synced that the cluster itself puts into every Namespace, empty for one that
// somebody has changed.
func neverSyncedDefault(object *unstructured.Unstructured) (reason string) {
	switch {
	case object.GetKind() != "ServiceAccount":
		return fmt.Sprintf("each cluster puts its own %s %q into every Namespace", object.GetKind(), object.GetName())
	case isCustomized(object):
		return ""
	}
	return fmt.Sprintf("each cluster puts its own ServiceAccount %q into every Namespace, and this one has not been changed; it is synced once it has "+
		"imagePullSecrets, automountServiceAccountToken, or labels or annotations of its own", object.GetName())
}

// isCustomized tells a ServiceAccount "default" to which somebody has given something that Pods want to find, such as
// the Secrets for their images, from one as every Namespace has it.
func isCustomized(account *unstructured.Unstructured) bool {
	pullSecrets, _, _ := unstructured.NestedSlice(account.Object, "imagePullSecrets")
	_, mounts := account.Object["automountServiceAccountToken"]
	return len(pullSecrets) > 0 || mounts || len(withoutLocal(account.GetLabels())) > 0 || len(withoutLocal(account.GetAnnotations())) > 0
}
