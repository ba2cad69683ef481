package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SyncerSpec overrides how the syncer is run. What is absent is chosen by the service.
type SyncerSpec struct {
	// image of the syncer.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`
	// replicas of the syncer: one acts, the others stand by. Default 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	Replicas *int32 `json:"replicas,omitempty"`
	// logLevel is the verbosity of the syncer's log, from 0 (what changes the world) to 7. Default 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=7
	LogLevel *int32 `json:"logLevel,omitempty"`
	// kubeAPIQPS is the limit of requests per second that the syncer sends to each side, the workspace and the
	// physical cluster, to sync objects. Default 200. The lists of its informers have a limit of their own, which is
	// 50 per second or kubeAPIQPS if that is lower.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	KubeAPIQPS *int32 `json:"kubeAPIQPS,omitempty"`
	// kubeAPIBurst is how many requests the syncer may send to each side at once, before kubeAPIQPS limits them.
	// Default: twice kubeAPIQPS. The lists of its informers have a limit of their own, which is 100 or kubeAPIBurst
	// if that is lower.
	// +optional
	// +kubebuilder:validation:Minimum=1
	KubeAPIBurst *int32 `json:"kubeAPIBurst,omitempty"`
	// resources of the syncer's container.
	// +optional
	Resources *ResourceRequirements `json:"resources,omitempty"`
	// nodeSelector of the syncer's pods.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=64
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`
	// tolerations of the syncer's pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Tolerations []Toleration `json:"tolerations,omitempty"`
	// imagePullSecrets are the Secrets with which the syncer's image is pulled.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []ImagePullSecret `json:"imagePullSecrets,omitempty"`
	// proxy replaces, for the syncer's requests to kcp, the proxy of the service. An empty object means no proxy.
	// +optional
	Proxy *ProxySpec `json:"proxy,omitempty"`
	// podSecurity sets the Pod Security Standards of the Namespaces that the service makes in the physical cluster.
	// +optional
	PodSecurity *PodSecuritySpec `json:"podSecurity,omitempty"`
}

// ProxySpec names proxies, as the environment variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY do. A URL may hold no credentials.
type ProxySpec struct {
	// httpProxy is the URL of the proxy for requests to http URLs.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^https?://[^@/]+/?$`
	HTTPProxy string `json:"httpProxy,omitempty"`
	// httpsProxy is the URL of the proxy for requests to https URLs.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^https?://[^@/]+/?$`
	HTTPSProxy string `json:"httpsProxy,omitempty"`
	// noProxy are the hosts, domains and networks that are reached without a proxy, separated by commas. The API server of the
	// physical cluster is one of them in any case.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	NoProxy string `json:"noProxy,omitempty"`
}

// PodSecuritySpec names the Pod Security Standards that Namespaces enforce, by the label pod-security.kubernetes.io/enforce.
type PodSecuritySpec struct {
	// syncer is the standard of the Namespace in which the syncer runs. Default restricted.
	// +optional
	Syncer PodSecurityLevel `json:"syncer,omitempty"`
	// workloads is the standard of the downstream Namespaces. Without it they have no such label, and the cluster's own default
	// counts.
	// +optional
	Workloads PodSecurityLevel `json:"workloads,omitempty"`
}

// PodSecurityLevel is a Pod Security Standard.
// +kubebuilder:validation:Enum=privileged;baseline;restricted
type PodSecurityLevel string

const (
	// PodSecurityPrivileged restricts nothing.
	PodSecurityPrivileged PodSecurityLevel = "privileged"
	// PodSecurityBaseline forbids what is known to gain privileges.
	PodSecurityBaseline PodSecurityLevel = "baseline"
	// PodSecurityRestricted also requires what hardens a Pod.
	PodSecurityRestricted PodSecurityLevel = "restricted"
)

// LabelValue is the value of a label.
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// ResourceRequirements are the compute resources of a container.
type ResourceRequirements struct {
	// requests are what the container is guaranteed.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(name, type(self[name]) != string || size(self[name]) <= 64)",message="a quantity may have at most 64 characters"
	Requests map[string]resource.Quantity `json:"requests,omitempty"`
	// limits are what the container may use at most.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(name, type(self[name]) != string || size(self[name]) <= 64)",message="a quantity may have at most 64 characters"
	Limits map[string]resource.Quantity `json:"limits,omitempty"`
}

// Toleration lets a pod run on a node with a matching taint.
type Toleration struct {
	// key of the taint. Empty matches every key, with operator Exists.
	// +optional
	// +kubebuilder:validation:MaxLength=316
	Key string `json:"key,omitempty"`
	// operator relates the key to the value.
	// +optional
	// +kubebuilder:validation:Enum=Exists;Equal
	Operator string `json:"operator,omitempty"`
	// value of the taint.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Value string `json:"value,omitempty"`
	// effect of the taint. Empty matches every effect.
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
	Effect string `json:"effect,omitempty"`
	// tolerationSeconds bounds how long a NoExecute taint is tolerated, in seconds.
	// +optional
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// ImagePullSecret names a Secret with the credentials for a registry of images.
type ImagePullSecret struct {
	// name of the Secret in the syncer's Namespace in the physical cluster.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// namespace is a Namespace of the workspace with a Secret of this name, which has the label workload.kcp.io/visible=true. The
	// service copies it into the syncer's Namespace, and keeps the copy up to date; in pull mode it is among the manifests that
	// you apply. Without a namespace, you create the Secret in the syncer's Namespace yourself.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// SyncerStatus is what the syncer reports of itself and of its cluster.
type SyncerStatus struct {
	// version of the syncer.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Version string `json:"version,omitempty"`
	// instance is the pod that acts.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Instance string `json:"instance,omitempty"`
	// tokenSecret is the Secret, in the syncer's Namespace in the workspace, that kcp issued the token in which the syncer uses.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	TokenSecret string `json:"tokenSecret,omitempty"`
	// clusterID is the UID of the Namespace kube-system of the cluster that the syncer runs in.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ClusterID string `json:"clusterID,omitempty"`
	// kubernetesVersion of the physical cluster.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	// nodes is how many nodes are ready and schedulable or cordoned.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Nodes int32 `json:"nodes"`
	// capacity is the sum over the ready nodes, by resource name.
	// +optional
	// +mapType=granular
	Capacity map[string]resource.Quantity `json:"capacity,omitempty"`
	// allocatable is the sum over the ready nodes, by resource name.
	// +optional
	// +mapType=granular
	Allocatable map[string]resource.Quantity `json:"allocatable,omitempty"`
}

// CredentialsStatus says which token the syncer uses in the workspace, and when it gets another.
type CredentialsStatus struct {
	// secret is the Secret with the newest token, in the syncer's Namespace in the workspace.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Secret string `json:"secret,omitempty"`
	// issuedAt is when this Secret was created.
	// +optional
	IssuedAt *metav1.Time `json:"issuedAt,omitempty"`
	// inUse is the Secret with the token that the syncer uses. As long as it is another one, that one is kept. It is absent where
	// the syncer does not report it, as that of an earlier release.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	InUse string `json:"inUse,omitempty"`
	// nextRotation is when the newest token is replaced. It is absent where tokens are not replaced at intervals.
	// +optional
	NextRotation *metav1.Time `json:"nextRotation,omitempty"`
}
