package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kcp-dev/logicalcluster/v3"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// published is the part of a Config that the controller alone knows. It stands in the annotation workload.kcp.io/install-settings
// of the syncer's token, so that in pull mode the user's manifests are made from the same values.
type published struct {
	Image             string          `json:"image"`
	KcpURL            string          `json:"kcpURL"`
	KcpCA             []byte          `json:"kcpCA,omitempty"`
	Proxy             Proxy           `json:"proxy,omitzero"`
	HeartbeatInterval metav1.Duration `json:"heartbeatInterval,omitzero"`
}

// publish returns the value of the annotation.
func (c *Config) publish() string {
	out, err := json.Marshal(published{
		Image: c.Image, KcpURL: c.KcpURL, KcpCA: c.KcpCA, Proxy: c.Proxy, HeartbeatInterval: metav1.Duration{Duration: c.HeartbeatInterval},
	})
	if err != nil {
		panic(err) // a fixed struct of strings always marshals
	}
	return string(out)
}

// NotPublishedError says that the controller has not yet prepared the workspace for the syncer.
type NotPublishedError struct {
	// Missing says in a clause what is not there yet.
	Missing string
}

func (e *NotPublishedError) Error() string { return e.Missing }

// ReadConfig reads from the workspace what the manifests of a SyncTarget follow from: the syncer's token, what the
// controller has published with it, the assigned Namespaces with their labels, the pull secrets, and which resources the syncer has
// yet to leave.
//
// Errors: *PullSecretError; *NotPublishedError while the controller has not prepared the workspace, or what kcp answered.
func ReadConfig(ctx context.Context, upstream client.Client, target *workloadv1alpha1.SyncTarget) (Config, error) {
	c := Config{Target: target, ClusterName: logicalcluster.From(target).String()}
	secrets, err := readTokenSecrets(ctx, upstream, c.namespace())
	if err != nil {
		return Config{}, err
	}
	if len(secrets) == 0 {
		name := client.ObjectKey{Namespace: c.namespace(), Name: TokenSecretName}
		return Config{}, &NotPublishedError{Missing: fmt.Sprintf("the controller has not created Secret %q yet", name)}
	}
	if err := c.readPublished(newestIssued(secrets)); err != nil {
		return Config{}, err
	}
	if c.Retained, err = Retain(ctx, upstream, target.Name, c.key(), target.Leaving()); err != nil {
		return Config{}, err
	}
	if c.PullSecrets, err = ReadPullSecrets(ctx, upstream, target); err != nil {
		return Config{}, err
	}
	return c, c.readAssigned(ctx, upstream)
}

// newestIssued is the first of the Secrets, sorted by age, in which kcp has put a token; the first of all if there is none.
func newestIssued(secrets []corev1.Secret) *corev1.Secret {
	issued := slices.IndexFunc(secrets, func(secret corev1.Secret) bool { return len(secret.Data[corev1.ServiceAccountTokenKey]) > 0 })
	return &secrets[max(issued, 0)]
}

func (c *Config) readPublished(secret *corev1.Secret) error {
	name := client.ObjectKeyFromObject(secret)
	if got := secret.Labels[workloadv1alpha1.LabelUID]; got != string(c.Target.UID) {
		return &NotPublishedError{Missing: fmt.Sprintf("Secret %q belongs to an earlier SyncTarget of the same name, and is yet to be replaced", name)}
	}
	text, ok := secret.Annotations[workloadv1alpha1.AnnotationInstallSettings]
	if !ok {
		return &NotPublishedError{Missing: fmt.Sprintf("the controller has not set annotation %q on Secret %q yet: a controller of an earlier version does not",
			workloadv1alpha1.AnnotationInstallSettings, name)}
	}
	if c.Token = secret.Data[corev1.ServiceAccountTokenKey]; len(c.Token) == 0 {
		return &NotPublishedError{Missing: fmt.Sprintf("kcp has not put a token into Secret %q yet", name)}
	}
	var p published
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return fmt.Errorf("annotation %q of Secret %q: %w", workloadv1alpha1.AnnotationInstallSettings, name, err)
	}
	c.Image, c.KcpURL, c.KcpCA, c.Proxy, c.HeartbeatInterval = p.Image, p.KcpURL, p.KcpCA, p.Proxy, p.HeartbeatInterval.Duration
	return nil
}
