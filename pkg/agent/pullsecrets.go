package agent

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// PullSecret is the content of a Secret of the workspace that is copied into the syncer's Namespace, under the same name.
type PullSecret struct {
	Name string
	Type corev1.SecretType
	Data map[string][]byte
}

// PullSecretError says what the user must correct about a Secret that spec.syncer.imagePullSecrets names.
type PullSecretError struct{ message string }

func (e *PullSecretError) Error() string { return e.message }

// ReadPullSecrets reads the Secrets of the workspace that spec.syncer.imagePullSecrets names. Only what holds credentials for a
// registry is accepted: a SyncTarget copies no other Secret to a cluster.
//
// Errors: *PullSecretError, or what kcp answered.
func ReadPullSecrets(ctx context.Context, upstream client.Reader, target *workloadv1alpha1.SyncTarget) ([]PullSecret, error) {
	if target.Spec.Syncer == nil {
		return nil, nil
	}
	var secrets []PullSecret
	for _, ref := range target.Spec.Syncer.ImagePullSecrets {
		if ref.Namespace == "" {
			continue
		}
		secret, err := readPullSecret(ctx, upstream, ref)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

func readPullSecret(ctx context.Context, upstream client.Reader, ref workloadv1alpha1.ImagePullSecret) (PullSecret, error) {
	name := ref.Namespace + "/" + ref.Name
	refused := func(format string, args ...any) (PullSecret, error) {
		return PullSecret{}, &PullSecretError{fmt.Sprintf("spec.syncer.imagePullSecrets: Secret %q ", name) + fmt.Sprintf(format, args...)}
	}
	if ref.Name == credentialsName {
		return refused("has the name of the Secret with the syncer's own credentials; choose another name")
	}
	var secret corev1.Secret
	err := upstream.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return refused("is not found; create it, with the label %s=true that shows it to this service", workloadv1alpha1.LabelVisible)
	case apierrors.IsForbidden(err):
		return refused("may not be read: %s", err)
	case err != nil:
		return PullSecret{}, fmt.Errorf("reading Secret %q: %w", name, err)
	case secret.Type != corev1.SecretTypeDockerConfigJson && secret.Type != corev1.SecretTypeDockercfg:
		return refused("has type %q; it must have type %q or %q", secret.Type, corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg)
	}
	return PullSecret{Name: ref.Name, Type: secret.Type, Data: secret.Data}, nil
}

// pullSecretCopies are the copies in the syncer's Namespace.
func (c *Config) pullSecretCopies() []client.Object {
	var copies []client.Object
	for _, secret := range c.PullSecrets {
		meta := c.meta(c.namespace(), secret.Name)
		meta.Labels[workloadv1alpha1.LabelPullSecret] = "true"
		copies = append(copies, &corev1.Secret{TypeMeta: typeMeta("v1", "Secret"), ObjectMeta: meta, Type: secret.Type, Data: secret.Data})
	}
	return copies
}

// deleteUnreferencedPullSecrets deletes copies that the SyncTarget no longer names, and returns how many there were. Where the
// service may not list Secrets, they are left until the syncer is removed.
func deleteUnreferencedPullSecrets(ctx context.Context, c client.Client, cfg Config) (deleted int, err error) {
	copies := &metav1.PartialObjectMetadataList{}
	copies.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err = c.List(ctx, copies, client.InNamespace(cfg.namespace()),
		client.MatchingLabels{workloadv1alpha1.LabelPullSecret: "true", workloadv1alpha1.LabelUID: string(cfg.Target.UID)})
	if apierrors.IsForbidden(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("listing the Secrets of Namespace %q: %w", cfg.namespace(), err)
	}
	referenced := map[string]bool{}
	if cfg.Target.Spec.Syncer != nil {
		for _, ref := range cfg.Target.Spec.Syncer.ImagePullSecrets {
			referenced[ref.Name] = true // also without a namespace: the Pods need it, and it may be the user's from now on
		}
	}
	for i := range copies.Items {
		object := &copies.Items[i]
		if referenced[object.Name] {
			continue
		}
		object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		if err := c.Delete(ctx, object, client.Preconditions{UID: &object.UID}); client.IgnoreNotFound(err) != nil {
			return deleted, fmt.Errorf("deleting %s: %w", describe(object), err)
		}
		deleted++
	}
	return deleted, nil
}
