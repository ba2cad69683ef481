package agent

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
	"github.com/synctarget/synctarget/pkg/syncer/options"
)

const (
	// DeploymentName is the syncer's Deployment, ServiceAccount, Role and RoleBinding.
	DeploymentName = options.InstalledName
	// syncerContainer is the container of its Pods.
	syncerContainer = "syncer"
	// credentialsName is the Secret with the syncer's kubeconfig of its workspace.
	credentialsName = options.CredentialsName
	// tokenField is its field with the token.
	tokenField = "token"
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
	// Retained are resources that the spec no longer names, but that the syncer has yet to leave.
	Retained []workloadv1alpha1.GroupResource
	// Withheld are synced resources on which the syncer gets no rights in the physical cluster: see Ungrantable.
	Withheld []workloadv1alpha1.GroupResource
	// AccountUID is the UID of the syncer's ServiceAccount in the physical cluster; empty if unknown. A Pod that runs with an
	// earlier ServiceAccount of the same name has a token that is not accepted, and gets no other.
	AccountUID types.UID
	// Unobserved: the syncer gets no rights in the physical cluster to watch its own installation: see MayObserve.
	Unobserved bool
	// Namespaces are those that are assigned to the SyncTarget, sorted. Manifests alone needs them.
	Namespaces []string
	// NamespaceLabels are the labels of the assigned Namespaces of the workspace, by the names of these.
	NamespaceLabels map[string]map[string]string
	// TokenSecrets are the names of the Secrets that kcp fills with tokens of the syncer; TokenSecretName if there are none. Identity
	// alone needs them.
	TokenSecrets []string
	// Token is the syncer's, of its own ServiceAccount in the workspace.
	Token []byte
	// PullSecrets are copied into the syncer's Namespace: see ReadPullSecrets.
	PullSecrets []PullSecret
	// Proxy is handed on to the syncer.
	Proxy Proxy
	// HeartbeatInterval is the mean time between two heartbeats; zero for the syncer's default.
	HeartbeatInterval time.Duration
	// RolledOut is when the syncer got its Settings in a rollout; zero if it got them otherwise.
	RolledOut time.Time
	// KeepSyncer leaves the syncer's Deployment and its Secret as they are, except for the token: see ApplyDownstream.
	KeepSyncer bool
}

// Proxy is the proxy part of an environment.
type Proxy struct {
	HTTPProxy  string `json:"httpProxy,omitempty"`
	HTTPSProxy string `json:"httpsProxy,omitempty"`
	NoProxy    string `json:"noProxy,omitempty"`
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

func typeMeta(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

// manifestOf is the object as it is applied, with the hash of itself as an annotation.
func manifestOf(object client.Object) (*unstructured.Unstructured, error) {
	manifest, err := toMap(object)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", describe(object), err)
	}
	sum := sha256.Sum256(data)
	desired := &unstructured.Unstructured{Object: manifest}
	annotations := desired.GetAnnotations()
	annotations[workloadv1alpha1.AnnotationAppliedHash] = fmt.Sprintf("%x", sum[:16])
	desired.SetAnnotations(annotations)
	return desired, nil
}

// toMap is the object without what typed structs print although nobody set it: a server-side apply would own that.
func toMap(object client.Object) (map[string]any, error) {
	manifest, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", describe(object), err)
	}
	prune(manifest)
	return manifest, nil
}

// prune drops nulls and empty maps at every depth; no manifest of ours means anything by them.
func prune(manifest map[string]any) {
	for key, value := range manifest {
		switch value := value.(type) {
		case nil:
			delete(manifest, key)
		case map[string]any:
			if prune(value); len(value) == 0 {
				delete(manifest, key)
			}
		case []any:
			for _, element := range value {
				if element, ok := element.(map[string]any); ok {
					prune(element)
				}
			}
		}
	}
}

// describe names an object in messages: Deployment "namespace/name".
func describe(object client.Object) string {
	kind := object.GetObjectKind().GroupVersionKind().Kind
	name := strings.TrimPrefix(object.GetNamespace()+"/"+object.GetName(), "/")
	return fmt.Sprintf("%s %q", kind, name)
}
