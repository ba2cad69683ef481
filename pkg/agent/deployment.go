package agent

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

func (c *Config) deployment() *appsv1.Deployment {
	spec := c.Target.Spec.Syncer
	if spec == nil {
		spec = &workloadv1alpha1.SyncerSpec{}
	}
	selector := map[string]string{"app.kubernetes.io/name": "syncer", workloadv1alpha1.LabelKey: c.key()}
	pod := c.meta("", "")
	pod.Annotations[credentialsHashAnnotation] = c.credentialsHash()
	if c.AccountUID != "" {
		pod.Annotations["workload.kcp.io/service-account-uid"] = string(c.AccountUID)
	}
	return &appsv1.Deployment{
		TypeMeta: typeMeta("apps/v1", "Deployment"), ObjectMeta: c.deploymentMeta(),
		Spec: appsv1.DeploymentSpec{
			Replicas:                ptr.To(ptr.Deref(spec.Replicas, 1)),
			Selector:                &metav1.LabelSelector{MatchLabels: selector},
			RevisionHistoryLimit:    ptr.To[int32](2),
			ProgressDeadlineSeconds: ptr.To[int32](120),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: ptr.To(intstr.FromInt32(0)), MaxSurge: ptr.To(intstr.FromInt32(1))},
			},
			Template: corev1.PodTemplateSpec{ObjectMeta: pod, Spec: c.podSpec(spec)},
		},
	}
}

// credentialsHashAnnotation is an annotation of the Pods. With it another address of kcp is rolled out, and another token too: kcp may
// no longer accept the one before, and a running Pod gets a changed Secret up to 90 s later.
const credentialsHashAnnotation = "workload.kcp.io/credentials-hash"

func (c *Config) credentialsHash() string {
	sum := sha256.Sum256(slices.Concat(c.kubeconfig(), c.Token))
	return fmt.Sprintf("%x", sum[:8])
}

func (c *Config) podSpec(spec *workloadv1alpha1.SyncerSpec) corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName:            DeploymentName,
		AutomountServiceAccountToken:  ptr.To(true),
		TerminationGracePeriodSeconds: ptr.To[int64](10),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](syncerUser), RunAsGroup: ptr.To[int64](syncerUser), FSGroup: ptr.To[int64](syncerUser),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		NodeSelector:     nodeSelector(spec.NodeSelector),
		Tolerations:      tolerations(spec.Tolerations),
		ImagePullSecrets: pullSecrets(spec.ImagePullSecrets),
		Containers:       []corev1.Container{c.container(spec)},
		Volumes: []corev1.Volume{{Name: "kcp", VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: credentialsName, DefaultMode: ptr.To[int32](0o440)},
		}}},
	}
}

func nodeSelector(labels map[string]workloadv1alpha1.LabelValue) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	selector := make(map[string]string, len(labels))
	for name, value := range labels {
		selector[name] = string(value)
	}
	return selector
}

func (c *Config) container(spec *workloadv1alpha1.SyncerSpec) corev1.Container {
	opts := options.New()
	opts.SyncTargetName = c.Target.Name
	opts.SyncTargetUID = string(c.Target.UID)
	opts.Key = c.key()
	opts.Namespace = c.namespace()
	opts.LogLevel = int(ptr.Deref(spec.LogLevel, 0))
	opts.QPS = float32(ptr.Deref(spec.KubeAPIQPS, options.DefaultQPS))
	opts.Burst = int(ptr.Deref(spec.KubeAPIBurst, 0))
	opts.HeartbeatInterval = cmp.Or(c.HeartbeatInterval, opts.HeartbeatInterval)
	probe := func(path string, period int32) *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("health")}},
			PeriodSeconds: period, TimeoutSeconds: 2,
		}
	}
	return corev1.Container{
		Name:            syncerContainer,
		Image:           cmp.Or(spec.Image, c.Image),
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
		// What the syncer last said is in its status when it crashes; Rollout tells it.
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		VolumeMounts:             []corev1.VolumeMount{{Name: "kcp", MountPath: credentialsDir, ReadOnly: true}},
	}
}

func (c *Config) environment() []corev1.EnvVar {
	env := []corev1.EnvVar{
		{Name: "POD_UID", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.uid"}}},
		// Go would let the heap grow to twice of what is in use, also beyond the limit of the container.
		{Name: "GOMEMLIMIT", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory"}}},
	}
	proxy := c.syncerProxy()
	noProxy := proxy.NoProxy
	if proxy.HTTPProxy != "" || proxy.HTTPSProxy != "" {
		// The proxy leads to kcp, not to the pod's own cluster; kubelet expands the address of that one.
		noProxy = strings.TrimPrefix(noProxy+",$(KUBERNETES_SERVICE_HOST)", ",")
	}
	for _, variable := range []corev1.EnvVar{
		{Name: "HTTP_PROXY", Value: proxy.HTTPProxy}, {Name: "HTTPS_PROXY", Value: proxy.HTTPSProxy}, {Name: "NO_PROXY", Value: noProxy},
	} {
		if variable.Value != "" {
			env = append(env, variable)
		}
	}
	return env
}

// syncerProxy is the proxy that the SyncTarget names for its syncer, or else that of the service.
func (c *Config) syncerProxy() Proxy {
	if !hasOwnProxy(c.Target) {
		return c.Proxy
	}
	own := c.Target.Spec.Syncer.Proxy
	return Proxy{HTTPProxy: own.HTTPProxy, HTTPSProxy: own.HTTPSProxy, NoProxy: own.NoProxy}
}

// resources are the user's, entirely: a request of theirs beside a limit of ours might be no valid pair.
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

func pullSecrets(in []workloadv1alpha1.ImagePullSecret) []corev1.LocalObjectReference {
	var out []corev1.LocalObjectReference
	for _, ref := range in {
		out = append(out, corev1.LocalObjectReference{Name: ref.Name})
	}
	return out
}
