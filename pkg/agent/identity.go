package agent

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Identity returns the syncer's identity in the workspace, in the order to apply it: a ServiceAccount that may read its
// own SyncTarget and its Assignments and write their status, and, where Grant lets it in, sync. A Namespace of its own keeps it from
// whatever is synced.
func Identity(c Config) []client.Object {
	name := c.namespace()
	rbac := rbacv1.SchemeGroupVersion.String()
	// kcp accepts no token of a ServiceAccount that is being deleted, so holding it would gain nothing. Once it is gone, kcp
	// deletes the token, which is held and watched: so the controller learns of it at once.
	account := &corev1.ServiceAccount{TypeMeta: typeMeta("v1", "ServiceAccount"), ObjectMeta: c.heldMeta(name, DeploymentName)}
	account.Finalizers = nil
	// The Namespace is not held: what is in it is.
	namespace := &corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: c.heldMeta("", name)}
	namespace.Finalizers = nil
	identity := []client.Object{
		namespace,
		&rbacv1.ClusterRole{
			TypeMeta: typeMeta(rbac, "ClusterRole"), ObjectMeta: c.heldMeta("", name),
			Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets"}, ResourceNames: []string{c.Target.Name}, Verbs: []string{"get", "list", "watch"}},
				{APIGroups: []string{workloadv1alpha1.GroupName}, Resources: []string{"synctargets/status"}, ResourceNames: []string{c.Target.Name}, Verbs: []string{"patch"}},
			},
		},
		c.upstreamRole(),
		&rbacv1.ClusterRoleBinding{
			TypeMeta: typeMeta(rbac, "ClusterRoleBinding"), ObjectMeta: c.heldMeta("", name),
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: DeploymentName, Namespace: name}},
		},
	}
	identity = append(identity, c.assignmentRights()...)
	return append(append(identity, account), c.tokenSecrets()...)
}

// tokenSecrets are the Secrets that kcp fills with tokens of the syncer.
func (c *Config) tokenSecrets() []client.Object {
	names := c.TokenSecrets
	if len(names) == 0 {
		names = []string{TokenSecretName}
	}
	var secrets []client.Object
	for _, name := range names {
		meta := c.heldMeta(c.namespace(), name)
		meta.Annotations[corev1.ServiceAccountNameKey] = DeploymentName
		meta.Annotations[workloadv1alpha1.AnnotationInstallSettings] = c.publish()
		secrets = append(secrets, &corev1.Secret{TypeMeta: typeMeta("v1", "Secret"), ObjectMeta: meta, Type: corev1.SecretTypeServiceAccountToken})
	}
	return secrets
}

// visibleMeta is meta for the workspace: visible through the permission claims.
func (c *Config) visibleMeta(namespace, name string) metav1.ObjectMeta {
	meta := c.meta(namespace, name)
	meta.Labels[workloadv1alpha1.LabelVisible] = "true"
	return meta
}

// heldMeta is visibleMeta of what is held until we let go.
func (c *Config) heldMeta(namespace, name string) metav1.ObjectMeta {
	meta := c.visibleMeta(namespace, name)
	meta.Finalizers = []string{workloadv1alpha1.SyncTargetFinalizer(c.key())}
	return meta
}
