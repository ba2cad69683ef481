package agent

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// Settings are what the controller decides for all syncers alike, by its flags and its release. The syncer's Deployment carries
// them as an annotation, so that they can be told from those of now, and kept.
type Settings struct {
	// Image of the syncer; empty where spec.syncer.image names one.
	Image string `json:"image,omitempty"`
	// KcpURL, KcpCA, Proxy and HeartbeatInterval are those of the Config; Proxy is empty where spec.syncer.proxy names another.
	KcpURL            string        `json:"kcpURL"`
	KcpCA             string        `json:"kcpCA,omitempty"`
	Proxy             Proxy         `json:"proxy"`
	HeartbeatInterval time.Duration `json:"heartbeatInterval,omitempty"`
	// Template is the hash of the Pod template that this release of the controller makes of an empty Config.
	Template string `json:"template"`
	// Spec is the hash of spec.syncer, which is the user's.
	Spec string `json:"spec"`
}

// Settings returns those of the Config.
func (c Config) Settings() Settings {
	s := Settings{
		Image: c.Image, KcpURL: c.KcpURL, KcpCA: string(c.KcpCA), Proxy: c.Proxy, HeartbeatInterval: c.HeartbeatInterval,
		Template: hashOf((&Config{Target: &workloadv1alpha1.SyncTarget{}}).deployment().Spec.Template),
		Spec:     hashOf(c.Target.Spec.Syncer),
	}
	if hasOwnImage(c.Target) {
		s.Image = ""
	}
	if hasOwnProxy(c.Target) {
		s.Proxy = Proxy{}
	}
	return s
}

// Version identifies the settings of the controller: all but Spec.
func (s Settings) Version() string {
	s.Spec = ""
	return hashOf(s)
}

// WithSettings returns the Config with settings from an earlier installation in place of its own.
func (c Config) WithSettings(s Settings) Config {
	if s.Image != "" {
		c.Image = s.Image
	}
	c.KcpURL, c.KcpCA, c.Proxy, c.HeartbeatInterval = s.KcpURL, []byte(s.KcpCA), s.Proxy, s.HeartbeatInterval
	return c
}

// Installed is what a syncer's Deployment tells of its installation.
type Installed struct {
	Settings
	// RolledOut is when it got the settings in a rollout; zero if it got them otherwise.
	RolledOut time.Time
	// ContainerImage is the image of the syncer's container.
	ContainerImage string
}

// ReadInstalled reads what is installed for a SyncTarget in its Namespace of the physical cluster; nil means that no Deployment of it
// is there. An installation by a controller that did not record its settings has empty ones.
func ReadInstalled(ctx context.Context, c client.Client, target *workloadv1alpha1.SyncTarget, namespace string) (*Installed, error) {
	live, err := get(ctx, c, reference(appsv1.SchemeGroupVersion.WithKind("Deployment"), namespace, DeploymentName))
	if err != nil || live == nil || live.GetLabels()[workloadv1alpha1.LabelUID] != string(target.UID) {
		return nil, err
	}
	installed := &Installed{}
	annotations := live.GetAnnotations()
	if err := json.Unmarshal([]byte(annotations[workloadv1alpha1.AnnotationSettings]), &installed.Settings); err != nil {
		installed.Settings = Settings{} // somebody changed it; it is written anew
	}
	if at, err := time.Parse(time.RFC3339, annotations[workloadv1alpha1.AnnotationRolledOut]); err == nil {
		installed.RolledOut = at
	}
	containers, _, _ := unstructured.NestedSlice(live.Object, "spec", "template", "spec", "containers")
	for _, container := range containers {
		if container, ok := container.(map[string]any); ok && container["name"] == syncerContainer {
			installed.ContainerImage, _ = container["image"].(string)
		}
	}
	return installed, nil
}

// deploymentMeta records the settings, except in pull mode, where the user decides when they are applied.
func (c *Config) deploymentMeta() metav1.ObjectMeta {
	meta := c.meta(c.namespace(), DeploymentName)
	if c.Target.Spec.KubeconfigSecretRef == nil {
		return meta
	}
	settings, err := json.Marshal(c.Settings())
	if err != nil {
		panic(err) // a struct of strings always marshals
	}
	meta.Annotations[workloadv1alpha1.AnnotationSettings] = string(settings)
	if !c.RolledOut.IsZero() {
		meta.Annotations[workloadv1alpha1.AnnotationRolledOut] = c.RolledOut.UTC().Format(time.RFC3339)
	}
	return meta
}

func hasOwnImage(target *workloadv1alpha1.SyncTarget) bool {
	return target.Spec.Syncer != nil && target.Spec.Syncer.Image != ""
}

func hasOwnProxy(target *workloadv1alpha1.SyncTarget) bool {
	return target.Spec.Syncer != nil && target.Spec.Syncer.Proxy != nil
}

// hashOf identifies a value by its JSON.
func hashOf(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // values of Kubernetes' API always marshal
	}
	sum := sha256.Sum256(data)
	return fmt.Sprintf("%x", sum[:8])
}
