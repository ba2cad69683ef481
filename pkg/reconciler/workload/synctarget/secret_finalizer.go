package synctarget

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	workloadv1alpha1 "github.com/synctarget/synctarget/pkg/apis/workload/v1alpha1"
)

// ensureSecretFinalizer puts this target's finalizer on the referenced Secret, without which the syncer could not be removed
// later, and takes it off every other Secret, such as one that was referenced before.
func (r *Reconciler) ensureSecretFinalizer(ctx context.Context, s *scope) error {
	if s.pullMode() {
		return r.releaseSecrets(ctx, s, client.ObjectKey{})
	}
	ref := s.target.Spec.KubeconfigSecretRef
	name := client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
	secret := secretMeta()
	if err := s.cached.Get(ctx, name, secret); err == nil && controllerutil.ContainsFinalizer(secret, workloadv1alpha1.SyncTargetFinalizer(s.key)) {
		return r.releaseSecrets(ctx, s, name)
	}
	// The cache may lag behind what validate just read live.
	secret = secretMeta()
	if err := s.upstream.Get(ctx, name, secret); err != nil {
		return fmt.Errorf("reading Secret %q: %w", name, err)
	}
	if secret.DeletionTimestamp.IsZero() {
		if err := patchSecretFinalizer(ctx, s.upstream, secret, controllerutil.AddFinalizer, s.key); err != nil {
			return err
		}
	}
	return r.releaseSecrets(ctx, s, name)
}

// releaseSecrets takes this target's finalizer off every Secret but one.
func (r *Reconciler) releaseSecrets(ctx context.Context, s *scope, keep client.ObjectKey) error {
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(secretMeta().GroupVersionKind())
	if err := s.cached.List(ctx, secrets, client.MatchingFields{indexSecretFinalizer: s.key}); err != nil {
		return fmt.Errorf("listing the Secrets with the finalizer of SyncTarget %q: %w", s.target.Name, err)
	}
	namespace := workloadv1alpha1.SyncerNamespace(s.target.Name, s.key)
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		secret.SetGroupVersionKind(secretMeta().GroupVersionKind())
		// The token Secret of the identity goes with the identity.
		if client.ObjectKeyFromObject(secret) == keep || secret.Namespace == namespace {
			continue
		}
		if err := patchSecretFinalizer(ctx, s.upstream, secret, controllerutil.RemoveFinalizer, s.key); err != nil {
			return err
		}
	}
	return nil
}

// releaseReferenced takes this target's finalizer off the referenced Secret, should the cache not show it yet: after
// the target nobody would. One that has lost the label by which the service sees it looks like one that does not exist.
func releaseReferenced(ctx context.Context, s *scope) error {
	if s.pullMode() {
		return nil
	}
	ref := s.target.Spec.KubeconfigSecretRef
	name := client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
	secret := secretMeta()
	err := s.upstream.Get(ctx, name, secret)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading Secret %q: %w", name, err)
	}
	return patchSecretFinalizer(ctx, s.upstream, secret, controllerutil.RemoveFinalizer, s.key)
}

// patchSecretFinalizer changes the finalizers of a Secret; where somebody was faster, again on what is there now.
func patchSecretFinalizer(ctx context.Context, upstream client.Client, secret *metav1.PartialObjectMetadata, mutate func(client.Object, string) bool, key string) error {
	name := client.ObjectKeyFromObject(secret)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		changed := secret.DeepCopy()
		if !mutate(changed, workloadv1alpha1.SyncTargetFinalizer(key)) {
			return nil
		}
		err := upstream.Patch(ctx, changed, client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{}))
		if apierrors.IsConflict(err) {
			secret = secretMeta()
			if err := upstream.Get(ctx, name, secret); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("patching the finalizers of Secret %q: %w", name, err)
	}
	return nil
}
