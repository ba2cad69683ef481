package agent

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

const (
	// DeploymentName is the syncer's Deployment, ServiceAccount, Role and RoleBinding.
	DeploymentName = "syncer"
	// leaseName is the Lease by which the syncer's replicas elect a leader.
	leaseName = "syncer"
	// credentialsName is the Secret with the syncer's kubeconfig of its workspace.
	credentialsName = "kcp"
	// credentialsDir is where it is mounted; options.DefaultKcpKubeconfig lies in it.
	credentialsDir = "/var/run/synctarget"

	// syncerUser is the conventional nonroot user.
	syncerUser = 65532
)

// Config is what the manifests follow from.
type Config struct {
	// Target is the SyncTarget; its name, UID and spec.syncer count.
	Target *workloadv1alpha1.SyncTarget
	// ClusterName is the logical cluster of the target.
	ClusterName string
	// Image of the syncer, where spec.syncer.image names no other.
	Image string
	// KcpURL is the URL of the workspace that the syncer uses: <kcp>/clusters/<logical cluster>.
	KcpURL string
	// KcpCA is the PEM bundle that verifies it; empty for the system's roots.
	KcpCA []byte
	// Token is the syncer's, of its own ServiceAccount in the workspace.
	Token []byte
	// Proxy is handed on to the syncer.
	Proxy Proxy
}

// Proxy is the proxy part of an environment.
type Proxy struct {
	HTTPProxy, HTTPSProxy, NoProxy string
}

func (c *Config) key() string { return workloadv1alpha1.Key(c.ClusterName, c.Target.Name) }

func (c *Config) namespace() string {
	return workloadv1alpha1.SyncerNamespace(c.Target.Name, c.key())
}

// meta is the metadata that every object of ours carries, on both sides.
func (c *Config) meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace,
		Name:      name,
		Labels: map[string]string{
			"app.kubernetes.io/name":       "syncer",
			"app.kubernetes.io/instance":   c.key(),
			"app.kubernetes.io/managed-by": "synctarget-controller",
			"app.kubernetes.io/part-of":    "synctarget",
			workloadv1alpha1.LabelKey:      c.key(),
			workloadv1alpha1.LabelUID:      string(c.Target.UID),
		},
		Annotations: map[string]string{
			workloadv1alpha1.AnnotationWorkspace:  c.ClusterName,
			workloadv1alpha1.AnnotationSyncTarget: c.Target.Name,
		},
	}
}

// Downstream returns what is installed in the physical cluster, in the order to apply it.
func Downstream(c Config) []client.Object {
	name := c.namespace()
	namespace := &corev1.Namespace{TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: c.meta("", name)}
	namespace.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	subject := rbacv1.Subject{Kind: "ServiceAccount", Name: DeploymentName, Namespace: name}
	rbac := rbacv1.SchemeGroupVersion.String()
	return []client.Object{
		namespace,
		&corev1.ServiceAccount{
			TypeMeta: typeMeta("v1", "ServiceAccount"), ObjectMeta: c.meta(name, DeploymentName),
			AutomountServiceAccountToken: ptr.To(false),
		},
		&rbacv1.ClusterRole{
			TypeMeta: typeMeta(rbac, "ClusterRole"), ObjectMeta: c.meta("", name),
			Rules: []rbacv1.PolicyRule{
				// Its UID identifies the cluster, and reading it proves that the cluster's API answers.
				{APIGroups: []string{""}, Resources: []string{"namespaces"}, ResourceNames: []string{metav1.NamespaceSystem}, Verbs: []string{"get"}},
				// Capacity is measured.
				{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "watch"}},
			},
		},
		&rbacv1.ClusterRoleBinding{
			TypeMeta: typeMeta(rbac, "ClusterRoleBinding"), ObjectMeta: c.meta("", name),
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{subject},
		},
		&rbacv1.Role{
			TypeMeta: typeMeta(rbac, "Role"), ObjectMeta: c.meta(name, DeploymentName),
			Rules: []rbacv1.PolicyRule{
				// Replicas elect a leader, and say so in an Event.
				{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
				{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{leaseName}, Verbs: []string{"get", "update", "patch"}},
				{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
			},
		},
		&rbacv1.RoleBinding{
			TypeMeta: typeMeta(rbac, "RoleBinding"), ObjectMeta: c.meta(name, DeploymentName),
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: DeploymentName},
			Subjects: []rbacv1.Subject{subject},
		},
		&corev1.Secret{
			TypeMeta: typeMeta("v1", "Secret"), ObjectMeta: c.meta(name, credentialsName),
			Type: corev1.SecretTypeOpaque,
			Data: map[string][]byte{"kubeconfig": c.kubeconfig(), "token": c.Token},
		},
		c.deployment(),
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
		AuthInfos:      []clientcmdapi.NamedAuthInfo{{Name: "syncer", AuthInfo: clientcmdapi.AuthInfo{TokenFile: credentialsDir + "/token"}}},
	})
	if err != nil {
		panic(err) // a fixed struct of strings always marshals
	}
	return out
}

func (c *Config) deployment() *appsv1.Deployment {
	spec := c.Target.Spec.Syncer
	if spec == nil {
		spec = &workloadv1alpha1.SyncerSpec{}
	}
	opts := options.New()
	opts.SyncTargetName = c.Target.Name
	opts.SyncTargetUID = string(c.Target.UID)
	opts.Key = c.key()
	opts.Namespace = c.namespace()
	opts.LogLevel = int(ptr.Deref(spec.LogLevel, 0))

	selector := map[string]string{"app.kubernetes.io/name": "syncer", workloadv1alpha1.LabelKey: c.key()}
	pod := c.meta("", "")
	// A changed address of kcp rolls out; a rotated token does not, for the syncer reads it again.
	address := sha256.Sum256(c.kubeconfig())
	pod.Annotations["workload.kcp.io/kubeconfig-hash"] = fmt.Sprintf("%x", address[:8])

	image := spec.Image
	if image == "" {
		image = c.Image
	}
	probe := func(path string, period int32) *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("health")}},
			PeriodSeconds: period, TimeoutSeconds: 2,
		}
	}
	return &appsv1.Deployment{
		TypeMeta: typeMeta("apps/v1", "Deployment"), ObjectMeta: c.meta(c.namespace(), DeploymentName),
		Spec: appsv1.DeploymentSpec{
			Replicas:                ptr.To(ptr.Deref(spec.Replicas, 1)),
			Selector:                &metav1.LabelSelector{MatchLabels: selector},
			RevisionHistoryLimit:    ptr.To[int32](2),
			ProgressDeadlineSeconds: ptr.To[int32](120),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: ptr.To(intstr.FromInt32(0)), MaxSurge: ptr.To(intstr.FromInt32(1))},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: pod,
				Spec: corev1.PodSpec{
					ServiceAccountName:            DeploymentName,
					AutomountServiceAccountToken:  ptr.To(true),
					TerminationGracePeriodSeconds: ptr.To[int64](10),
					SecurityContext: &corev1.PodSecurityContext{
						RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](syncerUser), RunAsGroup: ptr.To[int64](syncerUser), FSGroup: ptr.To[int64](syncerUser),
						SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
					},
					NodeSelector:     spec.NodeSelector,
					Tolerations:      tolerations(spec.Tolerations),
					ImagePullSecrets: pullSecrets(spec.ImagePullSecrets),
					Containers: []corev1.Container{{
						Name:            "syncer",
						Image:           image,
						ImagePullPolicy: corev1.PullIfNotPresent,
						Args:            opts.Args(),
						Env:             c.environment(),
						Ports: []corev1.ContainerPort{
							{Name: "metrics", ContainerPort: options.DefaultMetricsPort, Protocol: corev1.ProtocolTCP},
							{Name: "health", ContainerPort: options.DefaultHealthPort, Protocol: corev1.ProtocolTCP},
						},
						LivenessProbe:  probe("/healthz", 10),
						ReadinessProbe: probe("/readyz", 2),
						Resources:      resources(spec.Resources),
						SecurityContext: &corev1.SecurityContext{
							AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
							Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
						},
						VolumeMounts: []corev1.VolumeMount{{Name: "kcp", MountPath: credentialsDir, ReadOnly: true}},
					}},
					Volumes: []corev1.Volume{{Name: "kcp", VolumeSource: corev1.VolumeSource{
						Secret: &corev1.SecretVolumeSource{SecretName: credentialsName, DefaultMode: ptr.To[int32](0o440)},
					}}},
				},
			},
		},
	}
}

func (c *Config) environment() []corev1.EnvVar {
	env := []corev1.EnvVar{{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}}}
	for _, proxy := range []corev1.EnvVar{
		{Name: "HTTP_PROXY", Value: c.Proxy.HTTPProxy}, {Name: "HTTPS_PROXY", Value: c.Proxy.HTTPSProxy}, {Name: "NO_PROXY", Value: c.Proxy.NoProxy},
	} {
		if proxy.Value != "" {
			env = append(env, proxy)
		}
	}
	return env
}

func resources(spec *workloadv1alpha1.ResourceRequirements) corev1.ResourceRequirements {
	if spec == nil {
		return corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
		}
	}
	return corev1.ResourceRequirements{Requests: resourceList(spec.Requests), Limits: resourceList(spec.Limits)}
}

func resourceList(in map[string]resource.Quantity) corev1.ResourceList {
	if in == nil {
		return nil
	}
	out := corev1.ResourceList{}
	for name, quantity := range in {
		out[corev1.ResourceName(name)] = quantity
	}
	return out
}

func tolerations(in []workloadv1alpha1.Toleration) []corev1.Toleration {
	var out []corev1.Toleration
	for _, t := range in {
		out = append(out, corev1.Toleration{
			Key: t.Key, Operator: corev1.TolerationOperator(t.Operator), Value: t.Value,
			Effect: corev1.TaintEffect(t.Effect), TolerationSeconds: t.TolerationSeconds,
		})
	}
	return out
}

func pullSecrets(in []workloadv1alpha1.LocalObjectReference) []corev1.LocalObjectReference {
	var out []corev1.LocalObjectReference
	for _, ref := range in {
		out = append(out, corev1.LocalObjectReference{Name: ref.Name})
	}
	return out
}

func typeMeta(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

// Render prints what the user applies in pull mode: kubectl apply -f -.
func Render(w io.Writer, c Config) error {
	fmt.Fprintf(w, "# The syncer of SyncTarget %q in workspace %s, for `kubectl apply --server-side -f -` in the physical cluster.\n", c.Target.Name, c.ClusterName)
	fmt.Fprintf(w, "# It holds a credential: do not commit it.\n")
	for _, object := range Downstream(c) {
		manifest, err := toMap(object)
		if err != nil {
			return err
		}
		text, err := yaml.Marshal(manifest)
		if err != nil {
			return fmt.Errorf("printing %s: %w", describe(object), err)
		}
		if _, err := fmt.Fprintf(w, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}

func describe(object client.Object) string {
	kind := object.GetObjectKind().GroupVersionKind().Kind
	name := strings.TrimPrefix(object.GetNamespace()+"/"+object.GetName(), "/")
	return fmt.Sprintf("%s %q", kind, name)
}
