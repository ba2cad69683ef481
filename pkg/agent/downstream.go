package agent

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

// Downstream returns what is installed in the physical cluster, in the order to apply it.
func Downstream(c Config) []client.Object {
	name := c.namespace()
	namespace := &corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: c.meta("", name)}
	enforcePodSecurity(namespace, cmp.Or(c.podSecurity().Syncer, workloadv1alpha1.PodSecurityRestricted))
	subject := rbacv1.Subject{Kind: "ServiceAccount", Name: DeploymentName, Namespace: name}
	rbac := rbacv1.SchemeGroupVersion.String()
	objects := []client.Object{
		namespace,
		&corev1.ServiceAccount{
			TypeMeta: typeMeta("v1", "ServiceAccount"), ObjectMeta: c.meta(name, DeploymentName),
			AutomountServiceAccountToken: ptr.To(false),
		},
		c.clusterRole(),
		&rbacv1.ClusterRoleBinding{
			TypeMeta: typeMeta(rbac, "ClusterRoleBinding"), ObjectMeta: c.meta("", name),
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{subject},
		},
		c.downstreamRole(),
		c.role(),
		&rbacv1.RoleBinding{
			TypeMeta: typeMeta(rbac, "RoleBinding"), ObjectMeta: c.meta(name, DeploymentName),
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: DeploymentName},
			Subjects: []rbacv1.Subject{subject},
		},
		c.credentials(),
	}
	return append(append(objects, c.pullSecretCopies()...), c.deployment())
}

// podSecurity is that of the SyncTarget.
func (c *Config) podSecurity() workloadv1alpha1.PodSecuritySpec {
	if spec := c.Target.Spec.Syncer; spec != nil && spec.PodSecurity != nil {
		return *spec.PodSecurity
	}
	return workloadv1alpha1.PodSecuritySpec{}
}

// enforcePodSecurity has a Namespace enforce a Pod Security Standard; none if level is empty.
func enforcePodSecurity(namespace *corev1.Namespace, level workloadv1alpha1.PodSecurityLevel) {
	if level != "" {
		namespace.Labels["pod-security.kubernetes.io/enforce"] = string(level)
	}
}

// credentials is the Secret by which the syncer reaches its workspace.
func (c *Config) credentials() *corev1.Secret {
	return &corev1.Secret{
		TypeMeta: typeMeta("v1", "Secret"), ObjectMeta: c.meta(c.namespace(), credentialsName),
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"kubeconfig": c.kubeconfig(), tokenField: c.Token},
	}
}

// clusterRole is what the syncer may do in the whole cluster.
func (c *Config) clusterRole() *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "ClusterRole"), ObjectMeta: c.meta("", c.namespace()),
		Rules: append([]rbacv1.PolicyRule{
			// Its UID identifies the cluster, and reading it proves that the cluster's API answers.
			{APIGroups: []string{""}, Resources: []string{"namespaces"}, ResourceNames: []string{metav1.NamespaceSystem}, Verbs: []string{"get"}},
			// Capacity is measured.
			{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"list", "watch"}},
		}, c.observationRules(c.installedIn("")...)...),
	}
}

// role is what the syncer may do in its own Namespace.
func (c *Config) role() *rbacv1.Role {
	return &rbacv1.Role{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion.String(), "Role"), ObjectMeta: c.meta(c.namespace(), DeploymentName),
		Rules: append([]rbacv1.PolicyRule{
			// Replicas elect a leader.
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{options.LeaseName}, Verbs: []string{"get", "update"}},
		}, c.observationRules(c.installedIn(c.namespace())...)...),
	}
}

// kubeconfig leads to the workspace. The token stands in a file of its own beside it, which client-go reads again
// when it is rotated.
func (c *Config) kubeconfig() []byte {
	out, err := yaml.Marshal(clientcmdapi.Config{
		APIVersion:     "v1",
		Kind:           "Config",
		CurrentContext: "workspace",
		Contexts:       []clientcmdapi.NamedContext{{Name: "workspace", Context: clientcmdapi.Context{Cluster: "workspace", AuthInfo: "syncer"}}},
		Clusters:       []clientcmdapi.NamedCluster{{Name: "workspace", Cluster: clientcmdapi.Cluster{Server: c.KcpURL, CertificateAuthorityData: c.KcpCA}}},
		AuthInfos:      []clientcmdapi.NamedAuthInfo{{Name: "syncer", AuthInfo: clientcmdapi.AuthInfo{TokenFile: credentialsDir + "/" + tokenField}}},
	})
	if err != nil {
		panic(err) // a fixed struct of strings always marshals
	}
	return out
}
