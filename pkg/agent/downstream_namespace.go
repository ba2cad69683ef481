package agent

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/naming"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// DownstreamNamespace returns what a Namespace of the workspace becomes in the physical cluster, in the order to apply it.
func DownstreamNamespace(c Config, namespace string) []client.Object {
	name := naming.Namespace(c.key(), namespace)
	place := &corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: c.meta("", name)}
	place.Labels[workloadv1alpha1.LabelDownstreamNamespace] = c.key()
	maps.Copy(place.Labels, CarriedLabels(c.NamespaceLabels[namespace]))
	enforcePodSecurity(place, c.podSecurity().Workloads)
	binding := &rbacv1.RoleBinding{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "RoleBinding"), ObjectMeta: c.meta(name, DeploymentName),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: options.SyncRole(c.namespace())},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: DeploymentName, Namespace: c.namespace()}},
	}
	for _, object := range []client.Object{place, binding} {
		object.GetAnnotations()[workloadv1alpha1.AnnotationNamespace] = namespace
	}
	return []client.Object{place, binding}
}

// CarriedLabels returns the labels by which a downstream Namespace repeats these labels of its Namespace of the workspace.
func CarriedLabels(labels map[string]string) map[string]string { return naming.NamespaceLabels(labels) }

// KeepCarriedLabels adds to a Namespace that DownstreamNamespace has built the carried labels that it has in the physical cluster.
// An apply would otherwise remove them where nobody knows the labels in the workspace.
func KeepCarriedLabels(ctx context.Context, c client.Client, namespace client.Object) error {
	live, err := get(ctx, c, namespace)
	if err != nil || live == nil {
		return err
	}
	labels := namespace.GetLabels()
	for key, value := range live.GetLabels() {
		if naming.IsNamespaceLabel(key) {
			labels[key] = value
		}
	}
	namespace.SetLabels(labels)
	return nil
}

// isOfDownstreamNamespace tells what DownstreamNamespace builds from the rest of what is installed.
func isOfDownstreamNamespace(object metav1.Object) bool {
	return object.GetAnnotations()[workloadv1alpha1.AnnotationNamespace] != ""
}

// sameSource tells whether two downstream Namespaces stand for the same Namespace of the same workspace and SyncTarget.
func sameSource(live, desired metav1.Object) bool {
	for _, name := range []string{workloadv1alpha1.AnnotationNamespace, workloadv1alpha1.AnnotationWorkspace, workloadv1alpha1.AnnotationSyncTarget} {
		if live.GetAnnotations()[name] != desired.GetAnnotations()[name] {
			return false
		}
	}
	return true
}
